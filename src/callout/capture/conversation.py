"""From the kernel's records of related calls (-e network) to rows beside their attempts.

Rule of this file: values in, columns out; who called and where is told as for attempts (``columns``), and only
what a call has by itself is decided here: its name, its result, how a connection ended.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from callout.batch import Array, Batch, Coded, Column, Plain, coded, concatenate
from callout.btf import Btf
from callout.capture.columns import Columns, Decoder
from callout.capture.kinds import each
from callout.verdict import TCP_CLOSE, errno_name

TCP = 6
END, GETSOCKOPT, SOCKET, LISTEN, SHUTDOWN = "end", "getsockopt", "socket", "listen", "shutdown"
# System calls by what they do to the connection: event.action.
ACTIONS = {
    "accept4": "accept",
    **dict.fromkeys(("ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"), "poll"),
    **dict.fromkeys(("sendto", "sendmsg", "sendmmsg", "write", "writev"), "send"),
    **dict.fromkeys(("recvfrom", "recvmsg", "recvmmsg", "read", "readv"), "receive"),
}
HOW = {0: "SHUT_RD", 1: "SHUT_WR", 2: "SHUT_RDWR"}  # shutdown(2)
BROKEN = frozenset({"reset_by_peer", "reset_here", "lost"})
TYPES = {"accept": ["connection", "start"], END: ["connection", "end"]}


class Calls:
    """Turns ``call`` records into rows; shares clocks and names with the decoder of attempts."""

    def __init__(self, btf: Btf, decoder: Decoder) -> None:
        self.names = {n: name.removeprefix("CALL_").lower() for name, n in btf.enum("call_kind").items()}
        self.marks = btf.enum("talk_mark")
        self._decoder = decoder

    def batch(self, records: Array) -> Batch:
        """A batch over ``records``, which must not change afterwards."""
        columns = CallColumns(self._decoder, records, self)
        return Batch(len(records), columns.sources(), keys=columns.keys())

    def merged(self, attempts: Batch, records: Array) -> Batch:
        """Attempts and related calls in the order of time."""
        both = concatenate([attempts, self.batch(records)])
        times = both.column("@timestamp")
        assert isinstance(times, Plain)
        return both.select(np.argsort(times.data, kind="stable"))


class CallColumns(Columns):
    """The columns of one array of ``call`` records."""

    def __init__(self, decoder: Decoder, records: Array, calls: Calls) -> None:
        super().__init__(decoder, each(records))
        self.calls = calls
        names = [calls.names[int(number)] for number in records["call"]]
        self.entry = coded(records["call"], lambda number: calls.names[int(number)])
        self.is_end = np.array([name == END for name in names], bool)

    def sources(self) -> dict[str, Callable[[], Column]]:
        """A function for each column. Those that judge an attempt have no values here."""
        r, a = self.r, self.a
        has_address = (r["addrlen"] > 0) | a.flag("FLAG_UNREADABLE")
        # without both, the destination would be taken from the address, which is the local one of bind
        peer = a.flag("FLAG_PEER")
        ends = self.is_end
        waits = [i for i, name in enumerate(self.entry.values) if ACTIONS.get(name, name) == "poll"]
        own: dict[str, Callable[[], Column]] = {
            "@timestamp": lambda: Plain(self.time(np.where(ends, r["ended"], r["began"]))),
            "event.type": lambda: self.by_action(lambda action: TYPES.get(action, ["connection"])),
            "event.action": lambda: self.by_action(str),
            "event.outcome": self.outcome,
            "event.duration": lambda: only(self.duration(), ~np.isin(self.by_action(str).codes, waits)),
            "event.reason": self.reason,
            "source.bytes": lambda: Plain(r["sent"], ends),
            "destination.ip": lambda: only(a.destination("ip"), peer),
            "destination.port": lambda: only(a.destination_port(), peer),
            "destination.address": lambda: only(a.destination("address"), peer),
            "destination.bytes": lambda: Plain(r["received"], ends),
            "network.type": lambda: only(a.destination("type"), peer),
            "network.bytes": lambda: Plain(r["sent"] + r["received"], ends),
            "connect.id": lambda: Plain(r["id"], r["id"] != 0),
            "connect.entry": lambda: only(self.entry, ~ends),
            "connect.fd": lambda: Plain(r["fd"], (r["fd"] >= 0) | ~self.entry_is(SOCKET)),
            "connect.argument": self.argument,
            "connect.addrlen": lambda: Plain(r["addrlen"], has_address),
            "connect.sockaddr": lambda: only(a.sockaddr(), has_address | self.entry_is("accept", "accept4")),
            "connect.nonblocking": lambda: Plain(a.flag("FLAG_NONBLOCK"), (r["family"] != 0) & ~ends),
            "connect.errno": self.error,
        }
        judged = ("fastopen", "verdict", "cause", "evidence", "swapped", "rewritten_from", "origin")
        gone = {f"connect.{name}": lambda: nothing(len(r)) for name in judged}
        return super().sources() | gone | own

    def by_action(self, value: Callable[[str], Any]) -> Coded:
        """A column that depends on what the call does."""
        actions = [ACTIONS.get(name, name) for name in self.entry.values]
        return Coded(self.entry.codes, [value(action) for action in actions])

    def entry_is(self, *names: str) -> Array:
        """Where the call is one of these."""
        return np.isin(self.entry.codes, [i for i, name in enumerate(self.entry.values) if name in names])

    def rows(self, value: Callable[[str, Any], Any]) -> Coded:
        """A column computed row by row from the call's name and record: such rows are few."""
        names = self.entry.tolist()
        values = [value(name, row) for name, row in zip(names, self.r, strict=True)]
        return Coded(np.array([i if v is not None else -1 for i, v in enumerate(values)], np.int32), values)

    def outcome(self) -> Coded:
        """Whether the call did what it should; whether the connection ended in good order."""

        def told(name: str, row: Any) -> str:
            broken = self.ending(row) in BROKEN if name == END else row["ret"] < 0
            return "failure" if broken else "success"

        return self.rows(told)

    def error(self) -> Coded:
        """Error of the call, or the one that getsockopt(SO_ERROR) gave."""

        def told(name: str, row: Any) -> str | None:
            number = -int(row["ret"]) if row["ret"] < 0 else int(row["value"]) if name == GETSOCKOPT else 0
            return errno_name(number) if number and name != END else None

        return self.rows(told)

    def argument(self) -> Coded:
        """What the call was about besides descriptor and address."""

        def told(name: str, row: Any) -> str | None:
            value = int(row["value"])
            if name == SOCKET:
                return protocol_name(int(row["family"]), value)
            if name == SHUTDOWN:
                return HOW.get(value, str(value))
            return str(value) if name == LISTEN else "SO_ERROR" if name == GETSOCKOPT else None

        return self.rows(told)

    def reason(self) -> Coded:
        """How a connection ended."""
        return self.rows(lambda name, row: self.ending(row) if name == END else None)

    def ending(self, row: Any) -> str:
        """One of the words of ``event.reason``, from what was seen of the socket until it went away."""
        has = {name: bool(row["marks"] & bit) for name, bit in self.calls.marks.items()}
        if has["TALK_RESET"]:
            return "reset_by_peer"
        if has["TALK_UNREAD"]:
            return "reset_here"
        if row["protocol"] == TCP and row["state"] == TCP_CLOSE and not has["TALK_FIN"]:
            return "lost"
        if has["TALK_FIN"] and not has["TALK_SHUT"]:
            return "closed_by_peer"
        return "process_exited" if row["flags"] & self.d.flags["FLAG_EXITING"] else "closed_here"


def protocol_name(family: int, number: int) -> str:
    """Protocol argument of socket(2) as strace prints it."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return str(number)
    names = {0: "IPPROTO_IP", 1: "IPPROTO_ICMP", 6: "IPPROTO_TCP", 17: "IPPROTO_UDP", 58: "IPPROTO_ICMPV6",
             132: "IPPROTO_SCTP", 262: "IPPROTO_MPTCP"}  # fmt: skip
    return names.get(number, str(number))


def nothing(rows: int) -> Coded:
    """A column without values."""
    return Coded(np.full(rows, -1, np.int32), [])


def only(column: Column, where: Array) -> Column:
    """The column with values only in some rows."""
    if isinstance(column, Coded):
        return Coded(np.where(where, column.codes, -1).astype(np.int32), column.values)
    return Plain(column.data, where if column.valid is None else column.valid & where)
