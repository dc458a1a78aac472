"""JSON in which every value knows its line and column.

Rule of this file: RFC 8259 as Python's json module takes it, which also judges the syntax; here the places are added.
"""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass
from typing import TypeAlias

from callout.errors import InputError

_scanstring = json.decoder.scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
SPACE = re.compile(r"[ \t\n\r]*")
ATOM = re.compile(r"-?[0-9.eE+-]+|[A-Za-z]+")


@dataclass(frozen=True)
class Located:
    """A value and where it begins: ``line`` and ``column`` count from 1. ``file`` is the name to say."""

    value: Value
    file: str
    line: int
    column: int

    @property
    def place(self) -> str:
        """FILE:LINE:COLUMN."""
        return f"{self.file}:{self.line}:{self.column}"

    def wrong(self, what: str, remedy: str = "") -> InputError:
        """An error about this value."""
        return InputError(f"{self.place}: {what}", remedy)


Value: TypeAlias = "bool | int | float | str | list[Located] | dict[str, Located] | None"


def load(text: str, file: str) -> Located:
    """The value of a JSON text. Raises InputError, with line and column, for one that is none."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}:{error.lineno}:{error.colno}: not JSON: {error.msg[:1].lower()}{error.msg[1:]}",
            "a profile is a JSON object, without comments and without a comma behind the last element",
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from error
    except RecursionError as error:
        raise InputError(f"{file}: not a profile: nested too deeply") from error
    return _Reader(text, file).value(_space(text, 0))[0]


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    assert match is not None
    return match.end()


class _Reader:
    """Reads text whose syntax is known to be right."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def located(self, value: Value, at: int) -> Located:
        """A value that begins at an offset."""
        line = bisect.bisect_right(self.starts, at)
        return Located(value, self.file, line, at - self.starts[line - 1] + 1)

    def value(self, at: int) -> tuple[Located, int]:
        """The value at an offset, and the offset behind it."""
        head = self.text[at]
        if head == "{":
            return self.object(at)
        if head == "[":
            return self.array(at)
        if head == '"':
            string, end = _scanstring(self.text, at + 1)
            return self.located(string, at), end
        match = ATOM.match(self.text, at)
        assert match is not None
        return self.located(json.loads(match[0]), at), match.end()

    def object(self, begin: int) -> tuple[Located, int]:
        """An object; of a name that stands twice the last one counts, as in Go and Python."""
        members: dict[str, Located] = {}
        at = _space(self.text, begin + 1)
        while self.text[at] != "}":
            if self.text[at] == ",":
                at = _space(self.text, at + 1)
            name, at = _scanstring(self.text, at + 1)
            members[name], at = self.value(_space(self.text, _space(self.text, at) + 1))
            at = _space(self.text, at)
        return self.located(members, begin), at + 1

    def array(self, begin: int) -> tuple[Located, int]:
        """An array."""
        items: list[Located] = []
        at = _space(self.text, begin + 1)
        while self.text[at] != "]":
            if self.text[at] == ",":
                at = _space(self.text, at + 1)
            item, at = self.value(at)
            items.append(item)
            at = _space(self.text, at)
        return self.located(items, begin), at + 1
