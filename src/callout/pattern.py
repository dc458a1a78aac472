"""Client habits that are no failures, recognised among the rows: `connect.pattern`.

Rule of this file: pure, column by column, and it looks at a row only where its kind could be a habit. It
looks back and around inside a batch, and never holds a row back: a habit that is told by what follows takes
microseconds, a batch gathers for 170 ms, so one in some thousands is cut and stays without a name. A name is
given only where the rows prove it; what ends in another way than the habit does (refused by a policy, timed
out) never gets one.

Source: RFC 8305 (happy eyeballs); for the probes of resolvers see ``probes``.
"""

from __future__ import annotations

import numpy as np

from callout.batch import Array, Batch, Coded, repeated
from callout.picked import (
    ABORTED,
    ESTABLISHED,
    INVALID,
    MISSING,
    REFUSED,
    SECOND,
    TCP,
    UNIX,
    UNREACHABLE,
    Rows,
    latest,
    present,
    target,
)
from callout.probes import GAP, Probes

COLUMN = "connect.pattern"
NAMES = ("nscd", "address_sort_probe", "happy_eyeballs_loser", "confirm", "fallback")
NSCD, PROBE, LOSER, CONFIRM, FALLBACK = range(len(NAMES))

CLOSING = SECOND // 10  # in which a client closes the attempts that it no longer needs
WINNERS = 1024  # established TCP attempts remembered between batches

SOCKETS = ("/var/run/nscd/socket", "/run/nscd/socket")
LOCALHOST4 = ("127.0.0.1", "::ffff:127.0.0.1")
GIVEN_UP = ("closed_by_application", "process_died")  # causes

WINNER = np.dtype([(name, "i8") for name in ("pid", "port", "family", "cookie", "began", "ended")])


class Patterns:
    """Gives each batch, in order, its column. Remembers WINNERS rows from batch to batch, and the probes'."""

    def __init__(self) -> None:
        self._probes = Probes()
        self._winners = np.empty(0, WINNER)

    def mark(self, batch: Batch) -> None:
        """Adds the column; a batch that has it already, or nothing to tell it by, stays as it is."""
        if COLUMN in batch or "network.transport" not in batch or "connect.verdict" not in batch:
            return
        rows = Rows(batch)
        codes = np.full(len(batch), -1, np.int32)
        lookups = rows.of(UNIX + UNREACHABLE, UNIX + REFUSED)
        codes[lookups[rows.among("destination.address", SOCKETS, lookups)]] = NSCD
        codes[self._probes.found(rows)] = PROBE
        self._mark_tcp(rows, codes)
        batch.add(COLUMN, Coded(codes if (codes >= 0).any() else repeated(codes[:1], len(codes)), NAMES))

    def _mark_tcp(self, rows: Rows, codes: Array) -> None:
        established = rows.of(TCP + ESTABLISHED)
        closed, again = rows.of(TCP + ABORTED), rows.of(TCP + INVALID)
        closed = closed[rows.among("connect.cause", GIVEN_UP, closed)]
        again = again[rows.among("connect.errno", ("EISCONN",), again)]
        if len(established):
            result = rows.numbers("connect.return", established)
            once_more = established[(result == 0) & (rows.numbers("connect.nonblocking", established) == 1)]
            again = np.append(again, once_more)
            refused = rows.of(TCP + REFUSED)
            codes[fallen_back(rows, refused, established)] = FALLBACK
            # EINPROGRESS or EINTR: who waits in connect(2) neither races nor asks again
            established = established[(result < 0) & (result != MISSING)]
        if not len(closed) and not len(again):
            established = established[-WINNERS:]
        winners = np.concatenate([self._winners, winners_of(rows, established)])
        self._winners = winners[-WINNERS:]
        if len(winners) and len(closed):
            codes[lost_race(rows, closed, winners)] = LOSER
        if len(winners) and len(again):
            codes[confirming(rows, again, winners)] = CONFIRM


def habits(batch: Batch) -> Array | None:
    """Which rows have a pattern, or None where no row has; not those that tell of a loss, so that it is seen."""
    column = batch.column(COLUMN) if COLUMN in batch else None
    if not isinstance(column, Coded) or not (column.codes >= 0).any():
        return None
    found: Array = (column.codes >= 0) & ~present(batch, "connect.lost_before")
    return found


def fallen_back(rows: Rows, refused: Array, established: Array) -> Array:
    """Refusals by ::1 after which the same process reached 127.0.0.1 on the same port."""
    refused = refused[rows.among("destination.ip", ("::1",), refused)]
    if not len(refused):
        return refused
    home = established[rows.among("destination.ip", LOCALHOST4, established)]
    began = rows.times(refused)[0], rows.times(home)[0]
    return refused[latest(target(rows, refused), began[0], target(rows, home), began[1], 0, SECOND) >= 0]


def winners_of(rows: Rows, established: Array) -> Array:
    """What is remembered of established attempts."""
    winners = np.empty(len(established), WINNER)
    if len(established):
        winners["pid"] = rows.numbers("process.pid", established)
        winners["port"] = rows.numbers("destination.port", established)
        winners["family"] = rows.families(established)
        winners["cookie"] = rows.numbers("connect.cookie", established)
        winners["began"], winners["ended"] = rows.times(established)
    return winners


def lost_race(rows: Rows, closed: Array, winners: Array) -> Array:
    """Closed attempts whose process had just reached the other family's address, or did next; same port.

    The other family, and at once: who tries many hosts and gives up on some must not look like a race.
    """
    began, ended = rows.times(closed)
    keys = target(rows, closed) * 16 + rows.families(closed)
    theirs = (winners["pid"] << 16 | winners["port"]) * 16 + 10 - winners["family"]
    before = latest(keys, ended, theirs, winners["ended"], CLOSING, 0)
    lost = (before >= 0) & (np.abs(winners["began"][before] - began) <= SECOND)
    # Node closes the first before it tries the next
    lost |= latest(keys, ended, theirs, winners["began"], 0, GAP) >= 0
    losers: Array = closed[lost]
    return losers


def confirming(rows: Rows, again: Array, winners: Array) -> Array:
    """Calls on a socket whose attempt had succeeded, to the same port."""
    cookies, (began, _) = rows.numbers("connect.cookie", again), rows.times(again)
    earlier = latest(cookies, began, winners["cookie"], winners["ended"], 1 << 62, 0)
    same: Array = winners["port"][earlier] == rows.numbers("destination.port", again)
    confirmed: Array = again[(earlier >= 0) & (cookies != MISSING) & same]
    return confirmed
