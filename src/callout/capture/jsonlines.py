"""NDJSON back into batches.

Rule of this file: each known field has the type that the schema gives it, or the line is refused with its
number and column; fields that the schema does not know are kept as they are. Absent, null and empty objects
are all no value.
"""

from __future__ import annotations

import json
import math
import re
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from time import strptime
from typing import Any, BinaryIO, NoReturn

from callout.batch import Batch
from callout.errors import InputError
from callout.octets import converted, inward
from callout.rows import UNSIGNED, from_rows
from callout.schema import FIELDS, flatten

LINES = 8192  # of one batch
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):?(\d\d))", re.ASCII
)


class Reader:
    """Batches from NDJSON. ``path`` is for messages; ``truncated`` tells of a last line cut short."""

    def __init__(self, path: str, stream: BinaryIO) -> None:
        self.path = path
        self.truncated: str | None = None
        self._stream = stream
        self._line = 0

    def batches(self) -> Iterator[Batch]:
        """Batches of at most LINES rows; a pipe that pauses delays the rows of its last batch. Raises
        InputError.
        """
        rows: list[dict[str, Any]] = []
        read_any = False
        for data in self._stream:
            self._line += 1
            if not data.strip():
                continue
            try:
                rows.append(self._row(data))
            except InputError:
                if data.endswith(b"\n") or not read_any or not data.startswith(b"{"):
                    raise
                self.truncated = f"{self.path} ends in the middle of line {self._line}: its writer was killed"
                break
            read_any = True
            if len(rows) == LINES:
                yield Batch(len(rows), from_rows(rows))
                rows = []
        if rows:
            yield Batch(len(rows), from_rows(rows))

    def _row(self, data: bytes) -> dict[str, Any]:
        try:
            text = data.decode("utf-8-sig" if self._line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            before = data[: error.start].decode()
            self._refuse(len(before) + 1, f"byte 0x{data[error.start]:02x} is not UTF-8")
        try:
            value = json.loads(text.rstrip("\r\n"), parse_float=_finite, parse_constant=_finite)
        except json.JSONDecodeError as error:
            self._refuse(error.colno, error.msg)
        except (ValueError, RecursionError) as error:
            self._refuse(1, str(error))
        if not isinstance(value, dict):
            self._refuse(1, "not an object")
        row = {}
        for name, found in flatten(value).items():
            if found is None:
                continue
            name, found = inward(name), converted(found, inward)
            field = FIELDS.get(name)
            if field is None:
                row[name] = found
                continue
            read, wanted = READERS[field.type]
            known = read(found)
            if known is None or (field.type == "int" and not _fits(known, name)):
                self._refuse(_column_of(text, name), f"{name}: {_shown(found)} where {wanted} belongs")
            row[name] = known
        return row

    def _refuse(self, column: int, message: str) -> NoReturn:
        raise InputError(f"{self.path}: line {self._line}, column {column}: {message}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number in JSON")
    return number


def _fits(number: int, name: str) -> bool:
    return 0 <= number < 1 << 64 if name in UNSIGNED else -(1 << 63) <= number < 1 << 63


def _column_of(text: str, name: str) -> int:
    """Where the key of a field stands in a line, counted from 1: behind the keys of the objects around it."""
    place = 0
    for part in name.split("."):
        found = text.find(json.dumps(part), place)
        place = found if found >= 0 else place
    return place + 1


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _time(value: Any) -> int | None:
    """RFC 3339, with any number of decimals, as nanoseconds since 1970."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    moment, fraction, sign, hours, minutes = found.groups()
    seconds = _seconds(moment)
    if seconds is None:
        return None
    shift = (int(hours) * 60 + int(minutes)) * 60 if sign else 0
    ns = (seconds + (shift if sign == "-" else -shift)) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    return ns if -(1 << 63) < ns < 1 << 63 else None


@lru_cache(maxsize=1024)
def _seconds(moment: str) -> int | None:
    try:
        return timegm(strptime(f"{moment[:10]} {moment[11:]}", "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return None


def _only(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if type(value) is kind else None


def _texts(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


# By type of the field: the value or None where it has another type, and what belongs there.
READERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "time": (_time, "a time (RFC 3339)"),
    "int": (_only(int), "a whole number"),
    "bool": (_only(bool), "true or false"),
    "text": (_only(str), "text"),
    "ip": (_only(str), "an address"),
    "text_list": (_texts, "a list of text"),
    "list": (_only(list), "a list"),
    "object": (_only(dict), "an object"),
}
