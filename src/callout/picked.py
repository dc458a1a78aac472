"""Rows of a batch that are of a kind, their values as plain arrays, and rows that belong together in time.

Rule of this file: pure, and no work for rows that nobody asks about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

import numpy as np

from callout.batch import Array, Batch, Coded, Plain, distinct, same

SECOND = 1_000_000_000  # times are nanoseconds
MISSING = np.iinfo(np.int64).min
TICK, TICK_BITS = 10, 45  # of 1024 ns: 417 days in one batch

# Kind of a row: transport and verdict in one small number; without either of them it is none of those below.
UNIX, UDP, TCP = 8, 16, 24
TRANSPORTS = {"unix": UNIX, "udp": UDP, "tcp": TCP, "mptcp": TCP}
ASSOCIATED, UNREACHABLE, DISSOLVED, REFUSED, ESTABLISHED, ABORTED, INVALID = range(1, 8)
VERDICTS = {
    "associated": ASSOCIATED,
    "unreachable": UNREACHABLE,
    "dissolved": DISSOLVED,
    "refused": REFUSED,
    "established": ESTABLISHED,
    "aborted": ABORTED,
    "invalid": INVALID,
}
KINDS = 32
ATTEMPTS = frozenset({"connect", "attempt"})  # event.action; all others are calls of a socket beside them


class Rows:
    """A batch, read at chosen rows. ``few``: one row of each kind of rows, where they are known by kind."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.few: Rows | None = None
        self._present: Array
        shared = batch.few is not None and all(map(batch.shares, ("network.transport", "connect.verdict")))
        if batch.few is not None and shared and "event.action" in batch.few:
            self.few = Rows(batch.few)
            self._present = self.few._present
            return
        kinds = self._translated("network.transport", TRANSPORTS)
        kinds += self._translated("connect.verdict", VERDICTS)
        actions = batch.column("event.action") if "event.action" in batch else None
        if isinstance(actions, Coded) and not ATTEMPTS.issuperset(actions.values):
            kinds *= np.array([*[v in ATTEMPTS for v in actions.values], True])[actions.codes]
        self.kinds = kinds
        self._present = np.bincount(kinds, minlength=KINDS) > 0

    @cached_property
    def kinds(self) -> Array:
        """Transport and verdict of every row, as one number."""
        assert self.few is not None
        assert self.batch.codes is not None
        found: Array = self.few.kinds[self.batch.codes]
        return found

    def _translated(self, name: str, words: Mapping[str, int]) -> Array:
        column = self.batch.column(name)
        assert isinstance(column, Coded)
        # the last one is for code -1: no value
        return np.array([*[words.get(value, 0) for value in column.values], 0], np.uint8)[column.codes]

    def of(self, *kinds: int) -> Array:
        """Numbers of the rows of these kinds, in order."""
        wanted = np.zeros(KINDS, bool)
        wanted[list(kinds)] = True
        if not (wanted & self._present).any():
            return np.empty(0, np.intp)
        if not (self._present & ~wanted).any():
            return np.arange(len(self.batch))
        return np.flatnonzero(wanted[self.kinds])

    def numbers(self, name: str, rows: Array) -> Array:
        """Values of a column of numbers, times or booleans; MISSING where there is none."""
        column = self.batch.column(name) if name in self.batch else None
        if not isinstance(column, Plain):
            return np.full(len(rows), MISSING, np.int64)
        if same(column.data):
            values = np.full(len(rows), column.data[0], np.int64)
        else:
            values = column.data[rows].astype(np.int64)
        if column.valid is not None and not (same(column.valid) and column.valid[0]):
            values[~column.valid[rows]] = MISSING
        return values

    def times(self, rows: Array) -> tuple[Array, Array]:
        """When attempts began and ended (the same where that is not known), in nanoseconds."""
        began, took = self.numbers("@timestamp", rows), self.numbers("event.duration", rows)
        return began, began + np.where(took == MISSING, 0, took)

    def texts(self, name: str, rows: Array) -> list[str | None]:
        """Values of a column of text."""
        column = self.batch.column(name) if name in self.batch else None
        if not isinstance(column, Coded):
            return [None] * len(rows)
        values = [*column.values, None]
        return [values[code] for code in column.codes[rows].tolist()]

    def among(self, name: str, wanted: Collection[str], rows: Array) -> Array:
        """Where a column of text has one of a few values; costs the lesser of rows and distinct values."""
        column = self.batch.column(name) if len(rows) and name in self.batch else None
        if not isinstance(column, Coded):
            return np.zeros(len(rows), bool)
        if len(rows) < len(column.values):
            return np.array([value in wanted for value in self.texts(name, rows)])
        return np.array([*[value in wanted for value in column.values], False])[column.codes[rows]]

    def families(self, rows: Array) -> Array:
        """4 or 6; 0 where an association was dissolved."""
        version = np.where(self.among("network.type", ("ipv6",), rows), np.int8(6), np.int8(4))
        version[self.kinds[rows] == UDP + DISSOLVED] = 0
        return version


def present(batch: Batch, name: str) -> Array:
    """Where a column has a value; nowhere without the column."""
    column = batch.column(name) if name in batch else None
    if isinstance(column, Coded):
        return column.codes >= 0
    if isinstance(column, Plain):
        return np.ones(len(batch), bool) if column.valid is None else column.valid
    return np.zeros(len(batch), bool)


def target(rows: Rows, some: Array) -> Array:
    """Process and port of rows, as one number."""
    key: Array = rows.numbers("process.pid", some) << 16 | rows.numbers("destination.port", some)
    return key


def latest(
    keys: Array, times: Array, their_keys: Array, their_times: Array, before: int, after: int
) -> Array:
    """For each row the last of the others with its key and a time in [time - before, time + after].

    Times are nanoseconds; the answer is an index into the others, -1 where there is none.
    """
    if not len(their_keys) or not len(keys):
        return np.full(len(keys), -1)
    codes, _ = distinct(np.append(keys, their_keys))
    ours, others = codes[: len(keys)], codes[len(keys) :]
    start = min(int(times.min()), int(their_times.min()))

    def place(code: Array, time: Array) -> Array:
        ticks = np.minimum(time - start >> TICK, (1 << TICK_BITS) - 1)
        placed: Array = code.astype(np.int64) << TICK_BITS | ticks
        return placed

    theirs = place(others, their_times)
    order = np.argsort(theirs, kind="stable")
    found = order[np.searchsorted(theirs[order], place(ours, times + after), "right") - 1]
    fits = (others[found] == ours) & (times - their_times[found] <= before)
    return np.where(fits & (their_times[found] <= times + after), found, -1)
