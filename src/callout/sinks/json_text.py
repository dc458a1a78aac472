"""Pieces of JSON: values as text, and the text between the values of an object.

Rule of this file: pure, ASCII only, without blanks. Times are RFC 3339 in UTC with nine decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from callout.batch import Array, distinct
from callout.octets import encoder
from callout.schema import FIELDS

NONE = -1  # number of the leaf before the first


def once(values: Sequence[Any], is_time: bool) -> Callable[[int], str]:
    """The text of a value by its code, made when first asked for: not all values occur in each batch."""
    made: dict[int, str] = {}

    def text(code: int) -> str:
        found = made.get(code)
        if found is None:
            value = values[code]
            found = made[code] = texts([value], is_time)[0] if is_time else to_json(value)
        return found

    return text


def texts(values: Any, is_time: bool) -> list[str]:
    """Values as JSON: an array of numbers, booleans or times, or a list of anything."""
    if is_time:
        return timestamps(np.asarray(values).astype("datetime64[ns]").astype(np.int64))
    if not isinstance(values, np.ndarray):
        return [to_json(value) for value in values]
    if values.dtype.kind in "iu":
        return list(map(str, values.tolist()))
    return [to_json(value) for value in values.tolist()]


def _plain(value: Any) -> Any:
    """NumPy's numbers inside of values."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


to_json = encoder(_plain)

_THREE_DIGITS = np.array([f"{n:03}" for n in range(1000)], "U3").view(np.uint32).reshape(1000, 3)
_HEAD = len('"2026-01-01T00:00:00.')
_END = np.array(['Z"'], "U2").view(np.uint32)


def timestamps(ns: Array) -> list[str]:
    """Nanoseconds since 1970 (UTC) as quoted RFC 3339 with nine decimals."""
    seconds = ns // 1_000_000_000
    nanos = ns - seconds * 1_000_000_000
    codes, first = distinct(seconds)
    heads = [
        f'"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.' for second in seconds[first].tolist()
    ]
    text = np.empty((len(ns), _HEAD + 11), np.uint32)
    text[:, :_HEAD] = np.array(heads, f"U{_HEAD}").view(np.uint32).reshape(-1, _HEAD)[codes]
    for place, unit in ((0, 1_000_000), (3, 1_000), (6, 1)):
        text[:, _HEAD + place : _HEAD + place + 3] = _THREE_DIGITS[nanos // unit % 1000]
    text[:, _HEAD + 9 :] = _END
    found: list[str] = text.view(f"U{_HEAD + 11}").ravel().tolist()
    return found


class Layout:
    """The leaves of an object in order, and the text between any two of them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._paths = [_path(name, frozenset(names)) for name in names]
        self._between: dict[tuple[int, int], str] = {}

    def between(self, last: int, number: int) -> str:
        """From behind leaf ``last`` (NONE: the row's start) to before the value of ``number`` (its length:
        the end).
        """
        text = self._between.get((last, number))
        if text is None:
            text = self._between[last, number] = self._make(last, number)
        return text

    def _make(self, last: int, number: int) -> str:
        before = self._paths[last][:-1] if last != NONE else ()
        if number == len(self._paths):
            return "}" * len(before) + "}\n" if last != NONE else "{}\n"
        *parents, key = self._paths[number]
        same = 0
        while same < min(len(before), len(parents)) and before[same] == parents[same]:
            same += 1
        opened = "".join([f"{to_json(parent)}:{{" for parent in parents[same:]])
        return ("}" * (len(before) - same) + "," if last != NONE else "{") + f"{opened}{to_json(key)}:"


def _path(name: str, leaves: frozenset[str]) -> tuple[str, ...]:
    """Keys down to a leaf. Below a name that is a leaf itself there is no object: there the key has dots."""
    path: list[str] = []
    before = None
    for part in name.split("."):
        if before in leaves:
            path[-1] += f".{part}"
        else:
            path.append(part)
        before = part if before is None else f"{before}.{part}"
    return tuple(path)


@lru_cache(maxsize=64)
def layout(names: tuple[str, ...]) -> Layout:
    """Names in the schema's order; unknown ones last in the object that they belong to."""
    tree: dict[str | None, Any] = {}
    present = frozenset(names)
    for name in (*FIELDS, *names):
        place = tree
        for part in name.split("."):
            place = place.setdefault(part, {})
        if name in present:
            place[None] = {}  # a leaf; the same name may be an object too

    def walk(place: dict[str | None, Any], prefix: str) -> list[str]:
        found: list[str] = []
        for part, inner in place.items():
            found += [prefix[:-1]] if part is None else walk(inner, f"{prefix}{part}.")
        return found

    return Layout(walk(tree, ""))
