"""Client habits that are no failures, recognised among the rows: `connect.pattern`.

Rule of this file: pure, column by column, and it looks at a row only where its kind could be a habit. It
looks back and around inside a batch, and never holds a row back: a habit that is told by what follows takes
microseconds, a batch gathers for 50 ms, so one in about a thousand is cut and stays without a name. A name is
given only where the rows prove it; what ends in another way than the habit does (refused by a policy, timed
out) never gets one.

Sources: getaddrinfo of glibc (sysdeps/posix/getaddrinfo.c: one socket, dissolved between addresses, a new one
for IPv6 after IPv4), of musl (network/lookup_name.c: port 65535) and of Go (net/addrselect.go: port 9); RFC
6724; RFC 8305 (happy eyeballs).
"""

from __future__ import annotations

import numpy as np

from callout.batch import Array, Batch, Coded, distinct
from callout.picked import (
    ABORTED,
    ASSOCIATED,
    DISSOLVED,
    ESTABLISHED,
    INVALID,
    MISSING,
    REFUSED,
    TCP,
    UDP,
    UNIX,
    UNREACHABLE,
    Rows,
    latest,
)

COLUMN = "connect.pattern"
NAMES = ("nscd", "address_sort_probe", "happy_eyeballs_loser", "confirm", "fallback")
NSCD, PROBE, LOSER, CONFIRM, FALLBACK = range(len(NAMES))

SECOND = 1_000_000_000
GAP = SECOND // 50  # between two calls of one loop: the thread may lose its CPU for a moment
CLOSING = SECOND // 10  # in which a client closes the attempts that it no longer needs
STEPS = 64  # UDP calls remembered between batches
WINNERS = 1024  # established TCP attempts remembered between batches

SOCKETS = ("/var/run/nscd/socket", "/run/nscd/socket")
LOCALHOST4 = ("127.0.0.1", "::ffff:127.0.0.1")
UDP_FIRST = (53, 88, 389)  # DNS, Kerberos, CLDAP: traffic over UDP, then TCP to the same port
GO_PORT, MUSL_PORT = 9, 65535

COLUMNS = {
    "tid": "process.thread.id",
    "fd": "connect.fd",
    "port": "destination.port",
    "began": "@timestamp",
}
STEP = np.dtype([(name, "i8") for name in (*COLUMNS, "family", "ended")])
WINNER = np.dtype([(name, "i8") for name in ("pid", "port", "family", "cookie", "began", "ended")])


class Patterns:
    """Gives each batch, in order, its column. Remembers STEPS and WINNERS rows from batch to batch."""

    def __init__(self) -> None:
        self._steps = np.empty(0, STEP)
        self._winners = np.empty(0, WINNER)

    def mark(self, batch: Batch) -> None:
        """Adds the column; a batch that has it already, or nothing to tell it by, stays as it is."""
        if COLUMN in batch or "network.transport" not in batch or "connect.verdict" not in batch:
            return
        rows = Rows(batch)
        codes = np.full(len(batch), -1, np.int32)
        lookups = rows.of(UNIX + UNREACHABLE, UNIX + REFUSED)
        codes[lookups[rows.among("destination.address", SOCKETS, lookups)]] = NSCD
        self._mark_probes(rows, codes)
        self._mark_tcp(rows, codes)
        batch.add(COLUMN, Coded(codes, NAMES))

    def _mark_probes(self, rows: Rows, codes: Array) -> None:
        asked = rows.of(UDP + ASSOCIATED, UDP + UNREACHABLE, UDP + DISSOLVED)
        if not len(asked):
            return
        port = rows.numbers("destination.port", asked)
        nonblocking = rows.numbers("connect.nonblocking", asked)
        dissolved = rows.kinds[asked] == UDP + DISSOLVED
        blocking = nonblocking == 0  # neither where it is unknown: a datagram sent without connect(2)
        probe = (port == 0) & (nonblocking != MISSING)
        probe |= ((port == GO_PORT) & (nonblocking == 1)) | ((port == MUSL_PORT) & blocking)
        codes[asked[probe & ~dissolved]] = PROBE
        calls = asked[blocking]
        if not len(calls):
            return
        codes[self._loop(rows, calls)] = PROBE
        single = blocking & ~dissolved & (codes[asked] < 0)
        if single.any():
            codes[followed(rows, asked[single], port[single])] = PROBE

    def _loop(self, rows: Rows, calls: Array) -> Array:
        """Calls of loops over addresses, one thread each: dissolved in between, or IPv4 and then IPv6."""
        thread = Thread(rows, calls, self._steps)
        # what a loop consists of must be there at all, before anything is sorted
        kinds = np.bincount(thread.families, minlength=7) > 0
        found = thread.loops() if kinds[0] or (kinds[4] and kinds[6]) else calls[:0]
        self._steps = thread.last(STEPS)
        return found

    def _mark_tcp(self, rows: Rows, codes: Array) -> None:
        established = rows.of(TCP + ESTABLISHED)
        closed, again = rows.of(TCP + ABORTED), rows.of(TCP + INVALID)
        closed = closed[rows.among("connect.cause", ("closed_by_application",), closed)]
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
    found: Array = column.codes >= 0
    if "connect.lost_before" in batch:
        found &= Rows(batch).numbers("connect.lost_before", np.arange(len(batch))) == MISSING
    return found


class Thread:
    """UDP calls by thread, in order: those remembered from earlier batches, then those of this one.

    ``families``: 4, 6, or 0 for a call that dissolved the association.
    """

    def __init__(self, rows: Rows, calls: Array, before: Array) -> None:
        self.rows, self.calls, self.before = rows, calls, before
        self.families = np.append(before["family"], rows.families(calls))

    def column(self, name: str, at: Array) -> Array:
        """One of COLUMNS, or ``ended``, at some of the calls."""
        later = at >= len(self.before)
        row = self.calls[np.maximum(at - len(self.before), 0)]
        values = self.rows.times(row)[1] if name == "ended" else self.rows.numbers(COLUMNS[name], row)
        values[~later] = self.before[name][at[~later]]
        return values

    def last(self, count: int) -> Array:
        """The last calls, to be remembered."""
        at = np.arange(max(len(self.families) - count, 0), len(self.families))
        steps = np.empty(len(at), STEP)
        steps["family"] = self.families[at]
        for name in (*COLUMNS, "ended"):
            steps[name] = self.column(name, at)
        return steps

    def loops(self) -> Array:
        """Rows of the calls that belong to a loop."""
        threads, first = distinct(
            np.append(self.before["tid"], self.rows.numbers(COLUMNS["tid"], self.calls))
        )
        # 16 bits are sorted by radix
        order = np.argsort(threads.astype(np.uint16) if len(first) < 1 << 16 else threads, kind="stable")
        families, same = self.families[order], threads[order[1:]] == threads[order[:-1]]
        pair = np.flatnonzero(same & (families[:-1] == 4) & (families[1:] == 6))
        between = np.flatnonzero(families[1:-1] == 0)
        between = between[same[between] & same[between + 1]]
        between = between[(families[between] != 0) & (families[between + 2] != 0)]
        pair = pair[self.together(order[pair], order[pair + 1])]
        pair = pair[self.equal("port", order[pair], order[pair + 1])]
        a, b, c = (order[between + i] for i in range(3))
        between = between[self.together(a, b) & self.together(b, c) & self.equal("port", a, c)]
        part = order[np.concatenate([pair, pair + 1, between, between + 1, between + 2])]
        loops: Array = self.calls[part[part >= len(self.before)] - len(self.before)]
        return loops

    def equal(self, name: str, a: Array, b: Array) -> Array:
        """Where two calls have the same value."""
        same: Array = self.column(name, a) == self.column(name, b)
        return same

    def together(self, a: Array, b: Array) -> Array:
        """Where a call follows another on the same descriptor, at once."""
        soon: Array = self.column("began", b) - self.column("ended", a) <= GAP
        soon &= self.equal("fd", a, b)
        return soon


def followed(rows: Rows, calls: Array, ports: Array) -> Array:
    """UDP calls after which the same process began a TCP attempt to the same address and port."""
    tcp = rows.of(*range(TCP, TCP + 8))
    calls = calls[~np.isin(ports, UDP_FIRST)] if len(tcp) else calls[:0]
    if not len(calls):
        return calls
    keys, tcp_keys = target(rows, calls), target(rows, tcp)
    codes, first = distinct(np.append(keys, tcp_keys))
    both = np.zeros((2, len(first)), bool)
    both[0, codes[: len(calls)]], both[1, codes[len(calls) :]] = True, True
    shared = (both[0] & both[1])[codes]
    calls, tcp = calls[shared[: len(calls)]], tcp[shared[len(calls) :]]
    if not len(calls):
        return calls
    numbers: dict[tuple[int, str], int] = {}
    full = [
        np.array([numbers.setdefault((key, (ip or "").removeprefix("::ffff:")), len(numbers)) for key, ip in
                  zip(target(rows, some).tolist(), rows.texts("destination.ip", some), strict=True)])
        for some in (calls, tcp)
    ]  # fmt: skip
    found = latest(full[0], rows.times(calls)[0], full[1], rows.times(tcp)[0], 0, SECOND)
    return calls[found >= 0]


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


def target(rows: Rows, some: Array) -> Array:
    """Process and port of rows, as one number."""
    key: Array = rows.numbers("process.pid", some) << 16 | rows.numbers("destination.port", some)
    return key
