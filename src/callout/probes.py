"""Probes: UDP calls by which a resolver asks the kernel for the source address of each candidate (RFC 6724).

Rule of this file: pure; a call is a probe by its port where nothing else uses it, and else by the calls around it.

Sources: getaddrinfo of glibc (sysdeps/posix/getaddrinfo.c: one socket, dissolved between addresses, a new one for
IPv6 after IPv4), of musl (network/lookup_name.c: port 65535) and of Go (net/addrselect.go: port 9, now 53).
"""

from __future__ import annotations

import numpy as np

from callout.batch import Array, distinct
from callout.picked import ASSOCIATED, DISSOLVED, SECOND, TCP, UDP, UNREACHABLE, Rows, latest, target

GAP = SECOND // 50  # between two calls of one loop: the thread may lose its CPU for a moment
ANSWER = SECOND // 5000  # hardly a name server answers faster
STEPS = 64  # calls remembered between batches
UDP_FIRST = (53, 88, 389)  # DNS, Kerberos, CLDAP: traffic over UDP, then TCP to the same port
GO_PORT, GO_NEW_PORT, MUSL_PORT = 9, 53, 65535

NEVER = (0, GO_PORT, GO_NEW_PORT, MUSL_PORT)  # ports of calls that may be probes by themselves
ASKED = UDP + ASSOCIATED, UDP + UNREACHABLE, UDP + DISSOLVED

COLUMNS = {
    "tid": "process.thread.id",
    "fd": "connect.fd",
    "port": "destination.port",
    "began": "@timestamp",
}
STEP = np.dtype([(name, "i8") for name in (*COLUMNS, "family", "ended")])


class Probes:
    """Finds probes batch by batch; remembers STEPS calls in between."""

    def __init__(self) -> None:
        self._steps = np.empty(0, STEP)
        self._rest: tuple[Rows, Array] | None = None  # calls of the batch before, of which the last are those
        self._families: set[int] = set()  # of all of them

    def _none(self, rows: Rows, asked: Array) -> bool:
        """Whether it shows by their kinds that none is a probe: all blocking, to ports of services, and of the one
        family that those before them have. Their last are remembered when somebody asks.
        """
        few = rows.few
        if few is None or len(asked) < STEPS or len(few.of(UDP + DISSOLVED, *range(TCP, TCP + 8))):
            return False
        kinds = few.of(*ASKED)
        if (few.numbers("connect.nonblocking", kinds) != 0).any():
            return False
        if np.isin(few.numbers("destination.port", kinds), NEVER).any():
            return False
        families = {*few.families(kinds).tolist(), *self._families}
        if len(families) > 1:
            return False
        self._steps, self._rest, self._families = np.empty(0, STEP), (rows, asked), families
        return True

    def found(self, rows: Rows) -> Array:
        """Numbers of the rows that are probes."""
        asked = rows.of(*ASKED)
        if not len(asked):
            return asked
        if self._none(rows, asked):
            return asked[:0]
        port = rows.numbers("destination.port", asked)
        nonblocking = rows.numbers("connect.nonblocking", asked)
        # neither is 0 nor 1 where it is unknown: a datagram sent without connect(2)
        blocking, free = nonblocking == 0, nonblocking == 1
        associating = rows.kinds[asked] != UDP + DISSOLVED
        probe = (port == 0) & (blocking | free)
        probe |= ((port == GO_PORT) & free) | ((port == MUSL_PORT) & blocking)
        probe &= associating
        found = [asked[probe], unanswered(rows, asked[(port == GO_NEW_PORT) & free & associating])]
        if blocking.any():
            found.append(self._loops(rows, asked if blocking.all() else asked[blocking]))
            if len(tcp := rows.of(*range(TCP, TCP + 8))):
                single = blocking & associating & ~np.isin(port, UDP_FIRST)
                found.append(followed(rows, asked[single], tcp))
        return np.concatenate(found)

    def _loops(self, rows: Rows, blocking: Array) -> Array:
        """Calls of loops over addresses, one thread each: dissolved in between, or IPv4 and then IPv6."""
        if self._rest is not None:
            rest, calls_before = self._rest
            self._steps, self._rest = Calls(rest, calls_before, self._steps).last(STEPS), None
        calls = Calls(rows, blocking, self._steps)
        # what a loop consists of must be there at all, before anything is sorted
        found = calls.loops() if {0} <= (kinds := calls.kinds()) or {4, 6} <= kinds else blocking[:0]
        self._steps = calls.last(STEPS)
        self._families = set(self._steps["family"].tolist())
        return found


class Calls:
    """UDP calls of several threads, in order: those remembered from earlier batches, then those of this one.

    ``families``: 4, 6, or 0 for a call that dissolved the association.
    """

    def __init__(self, rows: Rows, calls: Array, before: Array) -> None:
        self.rows, self.calls, self.before = rows, calls, before
        self.families = np.append(before["family"].astype(np.int8), rows.families(calls))

    def kinds(self) -> set[int]:
        """The families that occur."""
        return {family for family in (0, 4, 6) if (self.families == family).any()}

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
        threads, _ = distinct(np.append(self.before["tid"], self.rows.numbers(COLUMNS["tid"], self.calls)))
        order = together(threads)
        families, same = self.families[order], threads[order[1:]] == threads[order[:-1]]
        pair = np.flatnonzero(same & (families[:-1] == 4) & (families[1:] == 6))
        pair = pair[self.equal("fd", order[pair], order[pair + 1])]  # what most others do not pass goes first
        pair = pair[self.equal("port", order[pair], order[pair + 1])]
        pair = pair[self.soon(order[pair], order[pair + 1])]
        between = np.flatnonzero((families[1:-1] == 0) & same[:-1] & same[1:])
        between = between[(families[between] != 0) & (families[between + 2] != 0)]
        a, b, c = (order[between + i] for i in range(3))
        alike = self.equal("fd", a, b) & self.equal("fd", b, c) & self.equal("port", a, c)
        between = between[alike & self.soon(a, b) & self.soon(b, c)]
        part = order[np.concatenate([pair, pair + 1, between, between + 1, between + 2])]
        loops: Array = self.calls[part[part >= len(self.before)] - len(self.before)]
        return loops

    def equal(self, name: str, a: Array, b: Array) -> Array:
        """Where two calls have the same value."""
        same: Array = self.column(name, a) == self.column(name, b)
        return same

    def soon(self, a: Array, b: Array) -> Array:
        """Where a call follows another at once."""
        found: Array = self.column("began", b) - self.column("ended", a) <= GAP
        return found


def together(whose: Array) -> Array:
    """The order that brings calls of the same thread or process together, each one's as they came."""
    # 16 bits are sorted by radix
    small = len(whose) and int(whose.max()) < 1 << 16
    return np.argsort(whose.astype(np.uint16) if small else whose, kind="stable")


def unanswered(rows: Rows, calls: Array) -> Array:
    """Calls of a process to the DNS ports of several addresses, one descriptor for all, closed too soon to ask.

    The process, because Go moves its calls from thread to thread.
    """
    if len(calls) < 2:
        return calls[:0]
    processes, _ = distinct(rows.numbers("process.pid", calls))
    order = together(processes)
    pair = np.flatnonzero(processes[order[1:]] == processes[order[:-1]])
    fd = rows.numbers("connect.fd", calls)[order]
    pair = pair[fd[pair] == fd[pair + 1]]
    a, b = calls[order[pair]], calls[order[pair + 1]]
    soon = rows.times(b)[0] - rows.times(a)[1] <= ANSWER
    a, b = a[soon], b[soon]
    ips = zip(rows.texts("destination.ip", a), rows.texts("destination.ip", b), strict=True)
    other = np.array([one != two for one, two in ips], bool)
    return np.concatenate([a[other], b[other]])


def followed(rows: Rows, calls: Array, tcp: Array) -> Array:
    """Calls after which the same process began a TCP attempt to the same address and port."""
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
