"""Records that differ only in what is each attempt's own: the rest of them is kept and decoded once.

Rule of this file: it knows which bytes are an attempt's own, and nothing of what they mean. A client that does
the same again and again, which is what a flood is, makes records of one kind; the native side tells kinds apart
while it drains (``native/kinds.c``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from callout._native import ffi, lib
from callout.batch import Array

OWN = ("sport", "cookie")  # first and last of an attempt's own fields, which stand together (record.h)
HEAD = 4  # bytes before them
SHARE = 8  # rows of a kind for which a copy of the kinds is cheaper than keeping their buffer
ORDERED = 256  # kinds that are put in order
KEPT_BUFFERS = 8
UNSHARED = 3  # references to a buffer that is only in our list: the list, the loop, the question itself


@dataclass(frozen=True, slots=True)
class Kinds:
    """Attempts: ``own[i]`` has what is row i's own, ``records[codes[i]]`` the rest; codes None: ``records[i]``."""

    own: Array
    records: Array
    codes: Array | None = None

    def __len__(self) -> int:
        return len(self.own)

    def memory(self) -> int:
        """Bytes of the arrays; those that others share count too."""
        own = 0 if self.codes is None else self.own.nbytes + self.codes.nbytes
        return own + self.records.nbytes

    def whole(self, rows: slice | Array = slice(None)) -> Array:
        """The records themselves (all, or the numbers or the slice given), each with all that it has."""
        if self.codes is None:
            return self.records[rows]
        # as bytes: NumPy moves records field by field
        records, own = octets(self.records)[self.codes[rows]], octets(self.own[rows])
        records[:, : own.shape[1]] = own
        whole: Array = records.view(self.records.dtype)[:, 0]
        return whole


def octets(records: Array) -> Array:
    """The same memory as bytes, one row a record."""
    return records.view(np.uint8).reshape(len(records), records.dtype.itemsize)


def alone(part: Array) -> Array:
    """The same; a copy where it is part of a larger array, all of which it would keep."""
    return part if part.base is None or part.base.nbytes <= part.nbytes else part.copy()


def each(records: Array) -> Kinds:
    """Every record as it is."""
    return Kinds(records, records)


def in_order(kinds: Kinds) -> Kinds:
    """The same with the kinds in an order of their own, not that in which they came: few of them recur."""
    if kinds.codes is None or len(kinds.records) > ORDERED:
        return kinds
    begin = kinds.own.dtype.itemsize
    texts = [(kind[begin:].tobytes(), kind[:HEAD].tobytes()) for kind in octets(kinds.records)]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    if order == list(range(len(texts))):
        return kinds
    places = np.empty(len(order), np.intp)
    places[order] = np.arange(len(order))
    return Kinds(kinds.own, kinds.records[order], places[kinds.codes])


class Lane:
    """Where one drain puts its attempts. ``dtype``: that of the records; ``room``: how many fit."""

    def __init__(self, lane: Any, kind: int, dtype: np.dtype[Any], room: int) -> None:
        """``lane``: the ``struct co_lane`` to set up, which must live as long as this."""
        fields: Any = dtype.fields
        begin, end = fields[OWN[0]][1], fields[OWN[1]][1] + fields[OWN[1]][0].itemsize
        assert begin == HEAD, f"{OWN[0]} is at {begin}"
        names = [name for name in dtype.names or () if fields[name][1] < end]
        own = np.dtype(
            {
                "names": names,
                "formats": [fields[name][0] for name in names],
                "offsets": [fields[name][1] for name in names],
                "itemsize": end,
            }
        )
        self._lane, self._dtype, self._own_dtype = lane, dtype, own
        self._own = np.zeros((room, end), np.uint8)  # as bytes: NumPy copies records field by field
        self._codes = np.zeros(room, np.int32)
        self._buffers: list[Array] = []
        self._records = self._buffer(room)
        lane.kind, lane.size, lane.room = kind, dtype.itemsize, room
        lane.own_begin, lane.own_end = begin, end
        lane.own = ffi.cast("char *", self._own.ctypes.data)
        lane.codes = ffi.cast("int *", self._codes.ctypes.data)
        lane.buffer = ffi.cast("char *", self._records.ctypes.data)
        lib.co_begin(lane)

    def take(self) -> Kinds:
        """What the last drain brought; the lane is ready for the next one."""
        rows, kinds = self._lane.rows, self._lane.kinds
        own = self._own[:rows].copy().view(self._own_dtype)[:, 0]
        if kinds * SHARE <= rows:
            return Kinds(own, self._records[:kinds].copy(), self._codes[:rows].astype(np.intp))
        records = self._records[:kinds]
        self._records = self._buffer(len(self._own))
        self._lane.buffer = ffi.cast("char *", self._records.ctypes.data)
        return Kinds(own, records, self._codes[:rows].astype(np.intp)) if kinds < rows else each(records)

    def memory(self) -> int:
        """Bytes of the buffers that are kept."""
        return self._own.nbytes + self._codes.nbytes + sum([buffer.nbytes for buffer in self._buffers])

    def most(self) -> int:
        """The same at most."""
        return self._own.nbytes + self._codes.nbytes + KEPT_BUFFERS * self._records.nbytes

    def _buffer(self, room: int) -> Array:
        """A buffer that no batch refers to any more: fresh memory costs 400 ns a record in page faults."""
        for buffer in self._buffers:
            if sys.getrefcount(buffer) == UNSHARED:
                return buffer
        buffer = np.zeros(room, self._dtype)
        if len(self._buffers) < KEPT_BUFFERS:
            self._buffers.append(buffer)
        return buffer
