"""For those who read strace: its notation and columns, as ``strace -f -tt -T`` writes a call.

Rule of this file: up to the ``=`` and its value the line is what strace would print; what strace cannot know,
the verdict of a call that came back before it, stands behind in a comment. The time in ``<>`` is that of the
call and stands only where the call lasted until the verdict. Layout: strace 7, src/syscall.c (print_err_ret,
printleader).
"""

from __future__ import annotations

import os
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from callout.sinks import Target, related
from callout.sinks.table import related_calls, rows_of
from callout.terminal import duration, escape
from callout.verdict import SUCCESS, UNDER_WAY, errno_name

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.summary import Summary

COLUMNS = (
    "@timestamp",
    "event.action",
    "event.duration",
    "process.pid",
    "process.thread.id",
    "connect.entry",
    "connect.fd",
    "connect.sockaddr",
    "connect.addrlen",
    "connect.return",
    "connect.verdict",
    "connect.errno",
    "connect.cause",
    "connect.lost_before",
)

# Errors that stay inside the kernel, in strace's words (include/linux/errno.h).
RESTARTS = {
    512: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    513: "ERESTARTNOINTR (To be restarted)",
    514: "ERESTARTNOHAND (To be restarted if no handler)",
    516: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}

# How the calls are written that carry an address; what was not recorded is "...", as strace abbreviates.
CONNECT = "connect({fd}, {sockaddr}, {addrlen}"
CALLS = {
    "sendto": "sendto({fd}, ..., ..., ..., {sockaddr}, {addrlen}",
    "sendto_fastopen": "sendto({fd}, ..., ..., MSG_FASTOPEN, {sockaddr}, {addrlen}",
    "sendmsg": "sendmsg({fd}, {{msg_name={sockaddr}, msg_namelen={addrlen}, ...}}, ...",
    "sendmsg_fastopen": "sendmsg({fd}, {{msg_name={sockaddr}, msg_namelen={addrlen}, ...}}, MSG_FASTOPEN",
    "sctp_connectx": "sctp_connectx({fd}, {sockaddr}, ..., ...",
    "sendmmsg": "sendmmsg({fd}, [{{msg_hdr={{msg_name={sockaddr}, msg_namelen={addrlen}, ...}}, ...}}], ...",
}
# strace shows these as connect(2) or not at all: the comment names them.
OTHER_ENTRIES = frozenset({"connect_ia32", "socketcall", "io_uring", "kernel"})


class Row(NamedTuple):
    """What a line is made of; None where there is no value."""

    began: int | None
    action: str | None
    took: int | None
    pid: int | None
    tid: int | None
    entry: str | None
    fd: int | None
    sockaddr: str | None
    addrlen: int | None
    returned: int | None
    verdict: str | None
    error: str | None
    cause: str | None
    lost: int | None


class StraceSink:
    """One line per attempt in strace's notation; ``zone``: None is this host's."""

    def __init__(self, target: Target, zone: tzinfo | None = None) -> None:
        self.target = target
        self.zone = zone

    def write(self, batch: Batch) -> None:
        """Writes and flushes one line per row."""
        if len(batch):
            calls = related_calls(batch)
            rows = enumerate(rows_of(batch, COLUMNS))
            self.target.put([self.line(Row(*row), calls.get(i)).encode() for i, row in rows])

    def close(self, summary: Summary | None) -> None:
        """Nothing follows the last line."""
        self.target.finish()

    def line(self, row: Row, around: related.Call | None = None) -> str:
        """One row, preceded by a comment where attempts were lost."""
        gap = f"/* {row.lost} attempt{'s' * (row.lost != 1)} lost here */\n" if row.lost else ""
        thread = row.pid if row.tid is None else row.tid
        leader = f"[pid {'?' if thread is None else thread:>5}] {self.clock(row.began)} "
        if around is not None:
            if around.action == "end":
                return f"{leader}{related.written(around)}\n"
            return f"{leader}{related.written(around)} = {_returned(row.returned)}{_lasted(row.took)}\n"
        call = CALLS.get(row.entry or "", CONNECT).format(
            fd=_known(row.fd), sockaddr=escape(row.sockaddr or "?"), addrlen=_known(row.addrlen)
        )
        if row.action == "attempt":
            return f"{gap}{leader}{call} <unfinished ...>\n"
        waited = row.returned is not None and -row.returned not in UNDER_WAY
        time = _lasted(row.took) if waited else ""
        notes = [row.entry] if row.entry in OTHER_ENTRIES else []
        if row.verdict is not None and not _agrees(row.returned, row.verdict, row.error):
            notes.append(_outcome(row.verdict, row.error, row.cause, None if waited else row.took))
        comment = f" /* {escape('; '.join(filter(None, notes)))} */" if notes else ""
        return f"{gap}{leader}{call}) = {_returned(row.returned)}{time}{comment}\n"

    def clock(self, ns: int | None) -> str:
        """Local time of day in microseconds, as strace -tt."""
        if ns is None:
            return "?"
        return (
            f"{datetime.fromtimestamp(ns // 1_000_000_000, self.zone):%H:%M:%S}.{ns // 1000 % 1_000_000:06}"
        )


def _lasted(took: int | None) -> str:
    return "" if took is None else f" <{took // 10**9}.{took // 1000 % 10**6:06}>"


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _returned(value: int | None) -> str:
    """What stands behind the equals sign."""
    if value is None:
        return "?"
    if value >= 0:
        return str(value)
    if -value in RESTARTS:
        return f"? {RESTARTS[-value]}"
    name = errno_name(-value)
    return f"-1 {name} ({os.strerror(-value)})" if not name.isdigit() else f"-1 (errno {name})"


def _agrees(returned: int | None, verdict: str, error: str | None) -> bool:
    """Whether the call itself said what became of the attempt."""
    if returned is None:
        return verdict == "pending"
    if returned >= 0:
        return verdict in SUCCESS
    if -returned in UNDER_WAY:
        return verdict == "pending"
    return errno_name(-returned) == error


def _outcome(verdict: str, error: str | None, cause: str | None, took: int | None) -> str:
    """``established after 12.3ms``, ``refused (ECONNREFUSED: no_listener) after 12.3ms``."""
    why = ": ".join(filter(None, (error, cause)))
    return verdict + (f" ({why})" if why else "") + (f" after {duration(took)}" if took is not None else "")
