"""Records that differ only in what is each one's own: the rest of them is decoded once.

Rule of this file: it compares bytes and knows which fields are an attempt's own; a client that does the same
again and again, which is what a flood is, makes records of one kind.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from callout.batch import Array, distinct

# Not compared: an attempt's own, its CPU, and where its address lay in memory.
OWN = frozenset({"cpu", "lost", "id", "began", "ended", "cookie", "pointer", "sport", "spare"})
LEAST = 256  # records for which looking for kinds pays
SHARE = 8  # records of a kind for which decoding one of them pays


def alike(records: Array, flags: dict[str, int]) -> tuple[Array, Array] | None:
    """Numbers the kinds: ``(codes, first)``, where record ``first[codes[i]]`` is of the kind of record i.

    None where there are few records or many kinds, and where one shows what is its own: the pointer instead
    of an address, or an address that was changed.
    """
    count = len(records)
    if count < LEAST or len(_kinds(records[:LEAST])[1]) > LEAST // SHARE:
        return None
    codes, first = _kinds(records)
    if len(first) > count // SHARE:
        return None
    shown = records[first]
    set_, short = shown["flags"], shown["addrlen"] < 2
    pointed = short | ((set_ & flags["FLAG_UNREADABLE"]) != 0)
    own = (pointed & ((set_ & flags["FLAG_NO_ADDRESS"]) == 0)) | ((set_ & flags["FLAG_SWAPPED"]) != 0)
    return None if own.any() else (codes.astype(np.intp), first)


def _kinds(records: Array) -> tuple[Array, Array]:
    raw = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), -1)
    codes, first = np.zeros(len(records), np.int32), np.zeros(1, np.int32)
    for begin, end in _runs(records.dtype):
        more, found = distinct(raw[:, begin:end].view(f"V{end - begin}")[:, 0])
        if len(found) > 1:
            one = len(first) == 1
            codes, first = (more, found) if one else distinct(codes.astype(np.int64) * len(found) + more)
    return codes, first


@cache
def _runs(dtype: np.dtype[Any]) -> tuple[tuple[int, int], ...]:
    """The bytes that are compared: neighbouring fields together."""
    runs: list[tuple[int, int]] = []
    fields: Any = dtype.fields or {}
    for name in dtype.names or ():
        kind, begin = fields[name][:2]
        if name in OWN:
            continue
        if runs and runs[-1][1] == begin:
            begin = runs.pop()[0]
        runs.append((begin, fields[name][1] + kind.itemsize))
    return tuple(runs)
