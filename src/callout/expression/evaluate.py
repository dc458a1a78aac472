"""Evaluation over a batch: every leaf becomes one bool per row, then rows combine by and, or, not.

A dictionary-coded column costs one test per distinct value, a numeric one a NumPy comparison. Logic is
two-valued as in Falco: a comparison with a missing value is false, also `!=`, and so `not` of it is true. A
column that the batch does not have is missing in every row.
"""

from __future__ import annotations

import base64
import operator as bits
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from callout.batch import Coded, Plain, compact, distinct
from callout.expression.aliases import COMPUTED
from callout.expression.operators import ORDER, Test, address, either_of, predicate
from callout.expression.tree import And, Argument, Call, Compare, Exists, Field, Node, Not, Operand

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mask: TypeAlias = "NDArray[np.bool_]"
Column: TypeAlias = Plain | Coded

_NUMERIC = frozenset({"int", "time", "bool"})
_FEW = 8  # comparisons that cost less than sorting for np.isin


class Batch(Protocol):
    """What evaluation needs of a batch."""

    def __len__(self) -> int:
        """Rows."""
        ...

    def column(self, name: str) -> Plain | Coded:
        """Column of that dotted name; KeyError when the batch does not have it."""
        ...


class _Rows:
    """A batch and what has been derived from it during one evaluation."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.known: dict[Operand, Column | None] = {}

    def none(self) -> Mask:
        return np.zeros(len(self.batch), np.bool_)

    def stored(self, name: str) -> Column | None:
        try:
            return self.batch.column(name)
        except KeyError:
            return None

    def operand(self, operand: Operand) -> Column | None:
        """Column of an operand; None where nothing of it is in the batch."""
        if operand not in self.known:
            self.known[operand] = self.derive(operand)
        return self.known[operand]

    def derive(self, operand: Operand) -> Column | None:
        if isinstance(operand, Call):
            function = _FUNCTIONS[operand.function]
            sources: list[Operand] = []
            shape = [_place(argument, sources) for argument in operand.arguments]
            return self.combine(
                [self.operand(source) for source in sources],
                lambda *values: function(*(argument(values) for argument in shape)),
            )
        columns = [self.stored(name) for name in operand.columns]
        if operand.kind == "computed":
            of, index = COMPUTED[operand.name].function, operand.index
            if columns and all(column is None for column in columns):
                return None
            return self.combine(columns, lambda *values: of(index, *values))
        if operand.kind == "inside":
            path = operand.name[len(operand.columns[0]) + 1 :].split(".") if operand.index is None else []
            place = operand.index
            return columns[0] and self.combine(columns, lambda value: _inside(value, path, place))
        return columns[0]

    def combine(self, columns: Sequence[Column | None], function: Callable[..., Any]) -> Coded:
        """Column of `function` of the columns' values (None where null), once per distinct combination."""
        parts = [spread(column) for column in columns if column is not None]
        if len(parts) == 1:
            values, codes = parts[0]
            combinations: list[tuple[Any, ...]] = [(None,), *((value,) for value in values)]
            codes = codes + 1
        else:
            keys = np.zeros(len(self.batch), np.int64)
            for values, part in parts:  # numbered anew each time, so that products stay within 64 bits
                keys = distinct(keys * (len(values) + 1) + (part + 1))[0].astype(np.int64)
            codes, first = distinct(keys)
            rows = first.tolist()
            combinations = [tuple(None if c[row] < 0 else v[c[row]] for v, c in parts) for row in rows]
        results = []
        for combination in combinations:
            present = iter(combination)
            results.append(function(*(None if column is None else next(present) for column in columns)))
        return compact(codes, results)


def compile_tree(node: Node) -> Callable[[Batch], Mask]:
    """Prepare sets, networks and patterns of `node` once, and return its evaluation over batches."""
    evaluate = _compile(node)
    return lambda batch: evaluate(_Rows(batch))


_Evaluator: TypeAlias = Callable[[_Rows], Mask]


def _compile(node: Node) -> _Evaluator:
    if isinstance(node, Not):
        inner = _compile(node.term)
        return lambda rows: ~inner(rows)
    if isinstance(node, Exists):
        return _exists(node.operand)
    if isinstance(node, Compare):
        return _comparison(node)
    terms = [_compile(term) for term in node.terms]
    every = isinstance(node, And)

    def evaluate(rows: _Rows) -> Mask:
        mask = terms[0](rows)
        for term in terms[1:]:
            if not mask.any() if every else mask.all():  # no row is still open
                break
            mask = mask & term(rows) if every else mask | term(rows)
        return mask

    return evaluate


def _exists(operand: Operand) -> _Evaluator:
    if isinstance(operand, Field):
        own = operand.kind == "computed" and COMPUTED[operand.name].own
        if own or operand.kind == "ends":
            names = operand.columns
            return lambda rows: reduce(bits.or_, (_present(rows, rows.stored(name)) for name in names))
    return lambda rows: _present(rows, rows.operand(operand))


def _present(rows: _Rows, column: Column | None) -> Mask:
    if column is None:
        return rows.none()
    if isinstance(column, Coded):
        return np.asarray(column.codes >= 0)
    return ~rows.none() if column.valid is None else column.valid.copy()  # a mask is the caller's own


def _comparison(node: Compare) -> _Evaluator:
    left, right = node.left, node.right
    if not isinstance(right, tuple):
        return _between(left, node.operator, right)
    if isinstance(left, Field) and left.kind == "ends":
        return _ends(left, node.operator, right, node.modifier)
    derived = isinstance(left, Field) and left.kind != "column"
    leaf = _leaf(left.type, node.operator, right, node.modifier, derived)
    return lambda rows: leaf(rows, rows.operand(left))


def _leaf(
    type_: str, operator: str, values: Sequence[Any], modifier: str = "", derived: bool = False
) -> Callable[[_Rows, Column | None], Mask]:
    test = predicate(type_, operator, values, modifier)
    if derived and type_ != "text_list":  # computed and inner fields can have several values in a row
        test = either_of(test)

    def evaluate(rows: _Rows, column: Column | None) -> Mask:
        if column is None:
            return rows.none()
        if isinstance(column, Plain) and type_ in _NUMERIC and not modifier:
            mask = _vector(_numbers(column), operator, values)
            return mask if column.valid is None else mask & column.valid
        return lookup(column, test)

    return evaluate


def _ends(field: Field, operator: str, values: Sequence[Any], modifier: str) -> _Evaluator:
    """Either end satisfies the comparison; for `!=`, some end is known and no known end is equal."""
    if modifier:
        parts = [_ends(field, operator, (value,), "") for value in values]

        def several(rows: _Rows) -> Mask:
            hits = sum((part(rows).astype(np.int32) for part in parts), np.zeros(len(rows.batch), np.int32))
            enough = {"oneof": hits == 1, "anyof": hits > 0, "allof": (hits == len(parts)) & (hits > 0)}
            return np.asarray(enough[modifier])

        return several
    leaf = _leaf(field.type, "=" if operator == "!=" else operator, values)

    def evaluate(rows: _Rows) -> Mask:
        ends = [rows.stored(name) for name in field.columns]
        hit = reduce(bits.or_, (leaf(rows, end) for end in ends))
        return ~hit & reduce(bits.or_, (_present(rows, end) for end in ends)) if operator == "!=" else hit

    return evaluate


def _between(left: Operand, operator: str, right: Operand) -> _Evaluator:
    """Comparison of two operands of the same row."""

    def test(one: Any, other: Any) -> bool | None:
        if one is None or other is None:
            return None
        if right.type == "text_list":
            return predicate(left.type, operator, other)(one)
        if left.type == "ip" and address(other) is None:
            return None
        return predicate(left.type, operator, (other,))(one)

    def evaluate(rows: _Rows) -> Mask:
        columns = rows.operand(left), rows.operand(right)
        if columns[0] is None or columns[1] is None:
            return rows.none()
        return lookup(rows.combine(columns, test), bool)

    return evaluate


def lookup(column: Column, test: Test) -> Mask:
    """Test every distinct value once, then index by codes: -1, null, is the false at the table's end."""
    values, codes = spread(column)
    table = np.zeros(len(values) + 1, np.bool_)
    table[:-1] = [value is not None and test(value) for value in values]
    mask: Mask = table[codes]
    return mask


def spread(column: Column) -> tuple[Sequence[Any], NDArray[Any]]:
    """Values of a column, each distinct one at least once, and per row the place of its value, or -1."""
    if isinstance(column, Plain):
        valid = np.ones(len(column.data), np.bool_) if column.valid is None else column.valid
        data = _numbers(column)[valid]
        found, first = distinct(data)
        codes = np.full(len(valid), -1, np.int32)
        codes[valid] = found
        return data[first].tolist(), codes
    if len(column.values) <= len(column.codes):
        return column.values, column.codes
    codes, first = distinct(column.codes)  # a dictionary shared by many batches: look at this one's part
    used = column.codes[first].tolist()
    return [None if code < 0 else column.values[code] for code in used], np.where(column.codes < 0, -1, codes)


def _numbers(column: Plain) -> NDArray[Any]:
    """Data as numbers; times as nanoseconds."""
    return column.data.astype("M8[ns]").view(np.int64) if column.data.dtype.kind == "M" else column.data


def _vector(data: NDArray[Any], operator: str, values: Sequence[Any]) -> Mask:
    if operator in ORDER:
        return np.asarray(ORDER[operator](data, values[0]), np.bool_)
    if len(values) <= _FEW:
        none = np.zeros(len(data), np.bool_)
        return reduce(bits.or_, (np.asarray(data == value, np.bool_) for value in values), none)
    if data.dtype.kind in "iu":  # numbers that cannot be in the column would make NumPy compare as floats
        limits = np.iinfo(data.dtype)
        values = [value for value in values if limits.min <= value <= limits.max]
    return np.isin(data, np.array(values, data.dtype))


def _inside(value: Any, path: Sequence[str], index: int | None) -> Any:
    """Member of an object, of every object of a list (None when none has it), or item of a list."""
    if index is not None:
        return value[index] if value is not None and index < len(value) else None
    for key in path:
        if isinstance(value, list):
            members = (item.get(key) for item in value if isinstance(item, dict))
            value = [member for member in members if member is not None] or None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _place(argument: Argument, sources: list[Operand]) -> Callable[[tuple[Any, ...]], Any]:
    """How to get an argument from the values of `sources`, to which the argument's operands are added."""
    if isinstance(argument, str):
        return lambda _: argument
    if isinstance(argument, tuple):
        items = [_place(item, sources) for item in argument]
        return lambda values: [item(values) for item in items]
    place = len(sources)
    sources.append(argument)
    return lambda values: values[place]


def _decode(text: str | None) -> str | None:
    """Text that base64 stands for, with or without padding; None when it is not base64."""
    if text is None:
        return None
    bare = text.rstrip("=")
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        return None
    return decoded.decode("utf-8", "surrogateescape")


def _join(separator: str | None, items: list[Any] | None) -> str | None:
    return None if separator is None or items is None or None in items else separator.join(map(str, items))


def _length(value: str | list[Any] | None) -> int | None:
    if value is None:
        return None
    return len(value if isinstance(value, list) else value.encode("utf-8", "surrogateescape"))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tolower": lambda text: None if text is None else text.lower(),
    "toupper": lambda text: None if text is None else text.upper(),
    "basename": lambda text: None if text is None else text.rpartition("/")[2],
    "b64": _decode,
    "len": _length,
    "join": _join,
    "concat": lambda *texts: None if None in texts else "".join(texts),
}
