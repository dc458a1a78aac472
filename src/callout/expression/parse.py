"""The grammar: Falco's condition language (libsinsp filter/parser.h), by recursive descent, text to tree.

    expression := and_terms ("or" and_terms)*          and_terms := not_term ("and" not_term)*
    not_term   := "not"* ("(" expression ")" | macro | operand condition)
    operand    := field ["[" index "]"] | transformer "(" argument ("," argument)* ")"
    condition  := "exists" | order number | string value | string modifier list | member list
    list       := "(" [value ("," value)*] ")" | list_name

On the right, `val(field)` or a transformer compares with another field of the same row. What is written is
checked against the fields' types here, so that evaluation cannot fail. Beyond Falco: a field of type bool may
stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from callout.expression import check
from callout.expression.aliases import UnknownField, resolve
from callout.expression.scan import Scanner
from callout.expression.tree import (
    LIST_OPERATORS,
    And,
    Argument,
    Call,
    Compare,
    Exists,
    Expression,
    Field,
    Literal,
    Node,
    Not,
    Operand,
    Or,
    conjunction,
    disjunction,
    negation,
)

Environment: TypeAlias = Mapping[str, "Expression | Node | Sequence[str]"]
"""What identifiers mean: a macro's expression, or a list's values."""

_TEXT, _LIST = frozenset({"text"}), frozenset({"text_list"})
TRANSFORMERS = {  # name: types allowed for each argument, whether the last one may repeat, type of the result
    "tolower": ([_TEXT], False, "text"),
    "toupper": ([_TEXT], False, "text"),
    "b64": ([_TEXT], False, "text"),  # decodes
    "basename": ([_TEXT], False, "text"),
    "len": ([_TEXT | _LIST], False, "int"),  # bytes of a text, items of a list
    "join": ([_TEXT, _LIST], False, "text"),  # separator, then what it goes between
    "concat": ([_TEXT, _TEXT], True, "text"),
}

_AND, _OR, _NOT = (re.compile(word + r"(?=[ \t\b\r\n(]|\Z)") for word in ("and", "or", "not"))
_WORD = re.compile(r"[A-Za-z@][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?![A-Za-z0-9_.])")
_OPERATOR = re.compile(
    r"<=|>=|<|>|==|=|!="
    r"|(?:glob|iglob|contains|icontains|bcontains|startswith|bstartswith|endswith|regex)(?=[ \t\b\r\n])"
    r"|(?:intersects|in|pmatch)(?=[ \t\b\r\n(])|exists(?![A-Za-z0-9_.])"
)
_MODIFIER = re.compile(r"(oneof|anyof|allof)(?=[ \t\b\r\n]+(\(|(?!(?:and|or|not)\b)[A-Za-z]))")
_FUNCTION = re.compile(r"(tolower|toupper|b64|basename|len|join|concat|val)\(")
_INDEX = re.compile(r"\[([0-9]{1,6})\]")
_BARE = re.compile(r"[^()\"'=, \b\t\n\v\f\r]+")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[+-]?[0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?")
_FOREIGN = {"&&": "and", "||": "or", "!": "not", "AND": "and", "OR": "or", "NOT": "not"}


def parse(text: str, fields: Mapping[str, str], env: Environment | None = None) -> Expression:
    """Parse `text` over `fields` (name to type); `env` gives macros and lists their meaning.

    Raises `ExpressionError` with the column of the first mistake.
    """
    return Expression(_Parser(text, fields, env or {}).whole(), text)


class _Parser(Scanner):
    def __init__(self, text: str, fields: Mapping[str, str], env: Environment) -> None:
        super().__init__(text)
        self.fields, self.env = fields, env

    # -- structure

    def whole(self) -> Node:
        tree = self.any_of()
        if self.blank() < len(self.text):
            word = re.match(r"[&|!]+|\w+", self.text[self.at :])
            meant = _FOREIGN.get(word[0]) if word else None
            remedy = f"write '{meant}'" if meant else ""
            self.fail(f"expected 'and', 'or' or the end, {self.seen()}", remedy=remedy)
        return tree

    def any_of(self) -> Node:
        terms = [self.all_of()]
        while self.blank() < len(self.text) and self.take(_OR):
            terms.append(self.all_of())
        return disjunction(terms)

    def all_of(self) -> Node:
        terms = [self.maybe_not()]
        while self.blank() < len(self.text) and self.take(_AND):
            terms.append(self.maybe_not())
        return conjunction(terms)

    def maybe_not(self) -> Node:
        negated = False
        while self.blank() < len(self.text) and self.take(_NOT):
            negated = not negated
        term = self.term()
        return negation(term) if negated else term

    def term(self) -> Node:
        if self.symbol("("):
            self.deeper()
            inner = self.any_of()
            self.expect(")", "to close the parenthesis")
            self.depth -= 1
            return inner
        at = self.at
        if name := self.take(_NAME):
            if name[0] not in self.fields and not self.text.startswith("(", self.at):
                return self.macro(name[0], at)
            self.at = at
        return self.condition(self.operand())

    def macro(self, name: str, at: int) -> Node:
        meaning = self.env.get(name)
        if isinstance(meaning, Expression):
            return meaning.tree
        if isinstance(meaning, Compare | Exists | Not | And | Or):
            return meaning
        if meaning is not None:
            self.fail(f"'{name}' is a list, not a condition", at, f"write field in ({name})")
        if name in ("and", "or", "not"):
            self.fail(f"expected a condition, found '{name}'", at)
        if name in _FOREIGN:
            self.fail(f"unknown name '{name}'", at, f"write '{_FOREIGN[name]}'")
        self.fail(f"unknown name '{name}'", at, self.near(name))

    def near(self, name: str) -> str:
        import difflib  # only an error pays for it

        last = {field.rpartition(".")[2]: field for field in self.fields}
        found = [last.get(word, word) for word in difflib.get_close_matches(name, [*self.env, *last], n=3)]
        return f"near it: {', '.join(found)}" if found else "a field name has a dot, such as destination.port"

    # -- operands

    def operand(self) -> Operand:
        at = self.blank()
        if function := self.take(_FUNCTION):
            if function[1] == "val":
                self.fail("val() stands only on the right of an operator", at)
            return self.call(function[1], at)
        return self.field()

    def field(self) -> Field:
        at = self.blank()
        word = self.take(_WORD)
        if not word:
            meant = "write 'not'" if self.text.startswith("!", at) else ""
            self.fail(f"expected a condition, {self.seen()}", remedy=meant)
        if "." not in word[0] and word[0] not in self.fields:
            self.fail(f"'{word[0]}' is neither a field nor a transformer", at, self.near(word[0]))
        index = self.take(_INDEX)
        if not index and self.text.startswith("[", self.at):
            self.fail("expected a number in brackets, such as [1]")
        try:
            return resolve(word[0], int(index[1]) if index else None, self.fields)
        except UnknownField as unknown:
            self.fail(unknown.args[0], at, unknown.args[1])

    def call(self, function: str, at: int) -> Call:
        """The rest of a transformer after its parenthesis."""
        self.deeper()
        arguments = [self.argument()]
        while self.symbol(","):
            arguments.append(self.argument())
        self.expect(")", f"to close {function}(")
        self.depth -= 1
        wanted, repeats, result = TRANSFORMERS[function]
        least = len(wanted)
        if len(arguments) < least or (len(arguments) > least and not repeats):
            self.fail(f"{function}() takes {least}{' or more' if repeats else ''} argument(s)", at)
        for number, argument in enumerate(arguments):
            self.suits(function, wanted[min(number, least - 1)], argument, at)
        return Call(function, tuple(arguments), result)

    def suits(self, function: str, wanted: frozenset[str], argument: Argument, at: int) -> None:
        """Fail unless the argument is of a type that the transformer takes."""
        if isinstance(argument, tuple):
            for item in argument:
                self.suits(function, frozenset({"text", "int"}), item, at)
            type_ = "text_list"
        else:
            self.single(argument, at)
            type_ = argument.type if isinstance(argument, Field | Call) else "text"
        if type_ not in wanted:
            shown = "a list" if isinstance(argument, tuple) else f"{argument} ({type_})"
            self.fail(f"{function}() takes {' or '.join(sorted(wanted))} here, not {shown}", at)

    def single(self, side: Argument, at: int) -> None:
        """Fail when a row can have several values: there is no one to transform or compare with."""
        if isinstance(side, Field) and (side.many or side.kind == "ends"):
            self.fail(f"{side} has several values and cannot be transformed or compared with val()", at)

    def argument(self, *, listed: bool = False) -> Argument:
        at = self.blank()
        if self.text.startswith(('"', "'"), at):
            return self.quoted()
        if number := self.take(_NUMBER):
            return number[0]
        if not listed and self.symbol("("):
            items: list[Field | Call | str] = []
            while not self.symbol(")"):
                if items:
                    self.expect(",", "between the items")
                item = self.argument(listed=True)
                assert not isinstance(item, tuple)
                items.append(item)
            return tuple(items)
        return self.operand()

    # -- conditions

    def condition(self, left: Operand) -> Node:
        at = self.blank()
        match = self.take(_OPERATOR)
        if not match:
            if left.type == "bool" and isinstance(left, Field):
                return Compare(left, "=", (True,))
            self.fail(f"expected an operator after {left}, {self.seen()}", remedy=self.operators(left))
        operator = "=" if match[0] == "==" else match[0]
        if operator not in check.ALLOWED[left.type]:
            self.fail(f"'{operator}' does not apply to {left} ({left.type})", at, self.operators(left))
        if operator == "exists":
            return Exists(left)
        self.blank()
        if operator in check.STRING and (modifier := self.take(_MODIFIER)):
            return Compare(left, operator, self.values(left, operator), modifier[1])
        start = self.at
        if function := self.take(_FUNCTION):
            return Compare(left, operator, self.other(function[1], left, operator, start))
        if operator in LIST_OPERATORS:
            return Compare(left, operator, self.values(left, operator))
        return Compare(left, operator, (self.value(left, operator),))

    def operators(self, left: Operand) -> str:
        """Remedy for an operator that cannot stand here."""
        import difflib  # only an error pays for it

        usable = sorted(check.ALLOWED[left.type])
        word = re.match(r"\w+", self.text[self.at :])
        near = difflib.get_close_matches(word[0].lower(), usable, n=1) if word else []
        return f"write '{near[0]}'" if near else f"one of: {', '.join(usable)}"

    def other(self, function: str, left: Operand, operator: str, at: int) -> Operand:
        """The right side when it is another operand of the same row."""
        right: Operand
        if function == "val":
            right = self.field()
            self.expect(")", "to close val(")
        else:
            right = self.call(function, at)
        if operator in check.PATTERNS:
            self.fail(f"the right side of '{operator}' must be written out", at)
        self.single(left, at)
        self.single(right, at)
        member = operator in ("in", "intersects") and (left.type, right.type) == ("text", "text_list")
        if right.type != left.type and not member:
            self.fail(f"{left} is {left.type} and {right} is {right.type}: they cannot be compared", at)
        return right

    def values(self, left: Operand, operator: str) -> tuple[Literal, ...]:
        """A list in parentheses, with names of lists replaced by their values; or the name of a list."""
        at = self.blank()
        if not self.symbol("("):
            if name := self.take(_NAME):
                listed = self.listed(name[0])
                if listed is None:
                    self.fail(f"unknown list '{name[0]}'", at, f"for the word itself write ({name[0]})")
                return tuple(self.convert(item, left, operator, at) for item in listed)
            self.fail(f"expected a list in parentheses, {self.seen()}")
        values: list[Literal] = []
        first = True
        while not self.symbol(")"):
            if not first:
                self.expect(",", "between the values, or ')' after them")
            first = False
            at = self.blank()
            if (bare := _BARE.match(self.text, at)) and (listed := self.listed(bare[0])) is not None:
                self.at = bare.end()
                values += [self.convert(item, left, operator, at) for item in listed]
            else:
                values.append(self.value(left, operator))
        return tuple(values)

    def listed(self, name: str) -> Sequence[str] | None:
        meaning = self.env.get(name)
        return meaning if isinstance(meaning, Sequence) and not isinstance(meaning, str) else None

    def value(self, left: Operand, operator: str) -> Literal:
        at = self.blank()
        if self.text.startswith(('"', "'"), at):
            return self.convert(self.quoted(), left, operator, at)
        if bare := self.take(_BARE):
            return self.convert(bare[0], left, operator, at)
        remedy = "quote a value that has blanks or any of ( ) , = \" '"
        self.fail(f"expected a value, {self.seen()}", remedy=remedy)

    def convert(self, raw: str, left: Operand, operator: str, at: int) -> Literal:
        try:
            return check.literal(raw, "text" if left.type == "text_list" else left.type, operator)
        except ValueError as error:
            self.fail(f"'{raw}' for {left}: {error}", at)
