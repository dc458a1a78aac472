"""The abstract syntax tree of an expression, and its canonical text.

The tree is plain frozen data: no schema, no NumPy. Names are already resolved to callout's, values are
already of the field's type, macros and lists of rules are already put in their places. `conjunction`,
`disjunction` and `negation` build the normal form (no `and` directly inside `and`, no double `not`), which is
what makes `parse(str(tree)) == tree` hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from callout.expression.evaluate import Batch

Literal: TypeAlias = "str | int | float | bool"

LIST_OPERATORS = frozenset({"in", "intersects", "pmatch"})
"""Operators whose right side is a list in parentheses."""

_BARE = re.compile(r"[A-Za-z0-9_./:@%*?+-]+")
_NOT_BARE = frozenset({"oneof", "anyof", "allof"})
_ESCAPED = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]|\\\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """A field as an operand.

    `kind` is `column` (a column of the batch), `inside` (a member of an object or of each item of a list),
    `computed` (derived from columns by `aliases.COMPUTED`) or `ends` (both ends of the connection,
    `aliases.ENDS`). `columns` are the batch columns that it reads. `many` says that a row can hold several
    values, any of which satisfies a test. `index` is the number written in brackets.
    """

    name: str
    type: str
    columns: tuple[str, ...]
    kind: str = "column"
    index: int | None = None
    many: bool = False

    def __str__(self) -> str:
        """Name as written in an expression."""
        return self.name if self.index is None else f"{self.name}[{self.index}]"


@dataclass(frozen=True, slots=True)
class Call:
    """A transformer applied to arguments; a tuple among them is a list in parentheses (as join takes)."""

    function: str
    arguments: tuple[Argument, ...]
    type: str

    def __str__(self) -> str:
        """Call as written in an expression."""
        return f"{self.function}({', '.join(map(_argument, self.arguments))})"


Operand: TypeAlias = "Field | Call"
Argument: TypeAlias = "Field | Call | str | tuple[Field | Call | str, ...]"
"""Operand, constant text, or a list of these."""


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator [modifier] right`; right is the values written, or another operand."""

    left: Operand
    operator: str
    right: tuple[Literal, ...] | Operand
    modifier: str = ""

    def __str__(self) -> str:
        """Canonical text of the comparison."""
        operator = f"{self.operator} {self.modifier}" if self.modifier else self.operator
        if isinstance(self.right, Field):
            return f"{self.left} {operator} val({self.right})"
        if isinstance(self.right, Call):
            return f"{self.left} {operator} {self.right}"
        values = [_literal(value) for value in self.right]
        listed = self.modifier or self.operator in LIST_OPERATORS
        return f"{self.left} {operator} {'(' + ', '.join(values) + ')' if listed else values[0]}"


@dataclass(frozen=True, slots=True)
class Exists:
    """`operand exists`: the row has a value there."""

    operand: Operand

    def __str__(self) -> str:
        """Canonical text of the test."""
        return f"{self.operand} exists"


@dataclass(frozen=True, slots=True)
class Not:
    """Negation of what is true or false: `not` of a comparison with a missing value is true."""

    term: Node

    def __str__(self) -> str:
        """Canonical text; compound terms stand in parentheses."""
        return f"not {_inner(self.term)}"


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more terms."""

    terms: tuple[Node, ...]

    def __str__(self) -> str:
        """Canonical text; an `or` among the terms stands in parentheses."""
        return " and ".join(_inner(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of two or more terms."""

    terms: tuple[Node, ...]

    def __str__(self) -> str:
        """Canonical text; `and` among the terms stands in parentheses, for the reader."""
        return " or ".join(_inner(term) for term in self.terms)


Node: TypeAlias = "Compare | Exists | Not | And | Or"


@dataclass(frozen=True)
class Expression:
    """A parsed expression: `str()` is its canonical text, `mask()` evaluates it over a batch.

    Two expressions are equal when their trees are; `text` keeps what was written, for messages.
    """

    tree: Node
    text: str = field(default="", compare=False)

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the batch columns that the expression reads; aliases count as what they stand for."""
        return frozenset(column for operand in _operands(self.tree) for column in operand.columns)

    def mask(self, batch: Batch) -> NDArray[np.bool_]:
        """One bool per row of the batch: does the row satisfy the expression."""
        return self._evaluator(batch)

    @cached_property
    def _evaluator(self) -> Callable[[Batch], NDArray[np.bool_]]:
        from callout.expression.evaluate import compile_tree  # here: parsing must not import NumPy

        return compile_tree(self.tree)

    def __str__(self) -> str:
        """Canonical text, which parses to an equal expression."""
        return str(self.tree)


def conjunction(terms: list[Node]) -> Node:
    """All of `terms` (at least one), flattened."""
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, And) else (term,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def disjunction(terms: list[Node]) -> Node:
    """Any of `terms` (at least one), flattened."""
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, Or) else (term,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negation(term: Node) -> Node:
    """Opposite of `term`; evaluation is two-valued, so two negations are none."""
    return term.term if isinstance(term, Not) else Not(term)


def quoted(text: str) -> str:
    r"""`text` as a quoted string.

    A quote ends a string unless the one character before it is a backslash, so a final backslash must be
    written `\x5c`. `\xHH` is a byte of UTF-8; bytes that are not UTF-8 are lone surrogates, as `os.fsdecode`
    makes them.
    """
    body = text[:-1].replace("\\", "\\\\") + text[-1:]
    return '"' + _ESCAPED.sub(_hexadecimal, body.replace('"', '\\"')) + '"'


def _hexadecimal(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _literal(value: Literal) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and value not in _NOT_BARE else quoted(value)
    return repr(value)


def _argument(value: Argument) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_argument, value))})"
    return quoted(value) if isinstance(value, str) else str(value)


def _inner(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)


def _operands(node: Node) -> Iterator[Field]:
    if isinstance(node, And | Or):
        for term in node.terms:
            yield from _operands(term)
    elif isinstance(node, Not):
        yield from _operands(node.term)
    elif isinstance(node, Exists):
        yield from _leaves(node.operand)
    else:
        yield from _leaves(node.left)
        if not isinstance(node.right, tuple):
            yield from _leaves(node.right)


def _leaves(argument: Argument) -> Iterator[Field]:
    if isinstance(argument, Field):
        yield argument
    elif isinstance(argument, Call):
        for inner in argument.arguments:
            yield from _leaves(inner)
    elif isinstance(argument, tuple):
        for item in argument:
            yield from _leaves(item)
