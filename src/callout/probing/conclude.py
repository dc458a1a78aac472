"""From an attempt that we made to a row like those of a trace.

Rule of this file: pure. Where a trace saw the attempt, its row wins, and the socket's own error queue adds what the
trace could not see; without a trace the row is made of what the caller saw, and only what that proves is concluded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callout import cause
from callout.probing.attempt import Result
from callout.verdict import BY_ERRNO

NUMBERS = {name: number for number, name in __import__("errno").errorcode.items()}
LOCAL = {  # errors of calls that sent nothing
    "ENETUNREACH": "no_route", "EHOSTUNREACH": "no_route", "EADDRNOTAVAIL": "ports_exhausted",
    "EADDRINUSE": "address_in_use",
}  # fmt: skip
UNIX = {
    "ENOENT": "unix_no_path", "ENOTDIR": "unix_no_path", "ELOOP": "unix_no_path", "ECONNREFUSED": "unix_no_listener",
    "EAGAIN": "unix_backlog_full", "EACCES": "unix_permission", "EPROTOTYPE": "unix_wrong_type",
}  # fmt: skip


def row_of(
    result: Result, traced: Mapping[str, Any] | None, who: Mapping[str, Any], local: bool
) -> dict[str, Any]:
    """The row of an attempt. ``who``: the fields about this process; ``local``: the destination is this host."""
    row = dict(traced) if traced is not None else plain(result, who, local)
    evidence = dict(row.get("connect.evidence") or {})
    if result.pending:
        row |= {"connect.verdict": "timed_out", "event.outcome": "failure", "event.duration": result.took}
        row["connect.cause"] = (
            "netfilter_drop" if "NETFILTER" in str(evidence.get("drop_reason")) else "syn_unanswered"
        )
        row.pop("connect.errno", None)
        evidence["syns"] = result.syns or evidence.get("syns", 1)
    elif result.error is not None and row.get("connect.errno") != result.error:
        # SO_ERROR gave us an ICMP error while TCP would have gone on: to the trace we gave up (tcp_v4_err)
        verdict = BY_ERRNO.get(NUMBERS.get(result.error, 0), "invalid")
        row |= {"connect.verdict": verdict, "connect.errno": result.error, "event.duration": result.took}
        row["connect.cause"] = (
            "netfilter_reject" if "NETFILTER" in str(evidence.get("drop_reason")) else "unknown"
        )
    if result.icmp is not None and "drop_reason" not in evidence:
        version, kind, code, by = result.icmp
        evidence["icmp"] = {"type": kind, "code": code} | ({"from": by} if by else {})
        if row.get("connect.cause") in (
            "unknown",
            "closed_by_application",
            "syn_unanswered",
            "icmp_port_unreachable",
        ):
            row["connect.cause"] = by_icmp(version, kind, code, by == row.get("source.ip"))
    if evidence:
        row["connect.evidence"] = evidence
    return row


def by_icmp(version: int, kind: int, code: int, own: bool) -> str:
    """The cause that an ICMP error tells; this host makes one itself where a neighbour does not answer."""
    told = cause.ICMP.get((version, kind, code), "icmp_other")
    if own:
        return "neighbour_failed" if told == "icmp_host_unreachable" else "netfilter_reject"
    return told


def plain(result: Result, who: Mapping[str, Any], local: bool) -> dict[str, Any]:
    """A row of what the caller saw."""
    number = NUMBERS.get(result.error or "", 0)
    done = result.error is None and not result.pending
    verdict = "established" if done else BY_ERRNO.get(number, "invalid") if number else "pending"
    evidence: dict[str, Any] = {}
    if result.syns and not done:
        evidence["syns"] = result.syns
    row = dict(who) | {
        "@timestamp": result.began,
        "event.action": "connect",
        "event.outcome": "success" if done else "failure",
        "event.duration": result.took,
        "network.transport": result.transport,
        "connect.entry": "connect",
        "connect.fd": result.descriptor,
        "connect.addrlen": result.addrlen,
        "connect.family": result.family,
        "connect.nonblocking": True,
        "connect.return": result.returned,
        "connect.verdict": verdict,
        "connect.cookie": result.cookie,
    }
    if result.path is not None:
        row["destination.address"] = result.path
    else:
        row |= {"destination.ip": result.ip, "destination.port": result.port}
        row["network.type"] = "ipv6" if ":" in result.ip else "ipv4"
    if result.source is not None:
        row |= {"source.ip": result.source, "source.port": result.sport}
    if result.error is not None:
        row |= {"connect.errno": result.error, "connect.cause": concluded(result, local)}
    if evidence:
        row["connect.evidence"] = evidence
    return row


def concluded(result: Result, local: bool) -> str:
    """The cause of a failure, by what the caller saw alone."""
    error = result.error or ""
    if result.transport == "unix":
        return UNIX.get(error, "unknown")
    if not result.syns:
        return LOCAL.get(error, "unknown")
    if error == "ETIMEDOUT":
        return "syn_unanswered"
    if error == "ECONNREFUSED" and result.icmp is None:
        return "no_listener" if local else "rst_from_peer"
    return "unknown"
