"""From evidence to the cause of a failure, as one token.

Rule of this file: pure, and never a guess: where the evidence allows two causes the answer is ``unknown``.
The tokens, with a few words for each, are in ``reference/causes.csv``.
"""

from __future__ import annotations

import csv
import errno
import socket
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from callout.verdict import ERESTARTSYS, SUCCESS, Evidence, errno_name, error_of, routed_away, verdict_of

AF_UNIX, AF_INET, AF_INET6 = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6
TCP, UDP = 6, 17
SHORTEST = {AF_INET: 16, AF_INET6: 24, AF_UNIX: 3, 16: 12, 40: 16}  # least addrlen by family of the socket

# The error alone tells, whatever the family.
BY_ERRNO = {
    errno.EBADF: "bad_descriptor",
    errno.ENOTSOCK: "not_a_socket",
    errno.EFAULT: "bad_pointer",
    errno.EISCONN: "already_connected",
    errno.EALREADY: "already_in_progress",
    errno.EADDRINUSE: "address_in_use",
    errno.EPIPE: "closed_by_application",  # it dissolved the association while another thread waited
    errno.ECANCELED: "closed_by_application",  # io_uring: by a linked timeout or a cancel request
    errno.EOPNOTSUPP: "family_unsupported",
}
BY_ERRNO_UNIX = {
    errno.ENOENT: "unix_no_path",
    errno.ENOTDIR: "unix_no_path",
    errno.ELOOP: "unix_no_path",
    errno.ECONNREFUSED: "unix_no_listener",
    errno.EAGAIN: "unix_backlog_full",
    errno.EACCES: "unix_permission",
    errno.EPROTOTYPE: "unix_wrong_type",
}


# ICMP destination unreachable (RFC 792, 1122, 1812) and ICMPv6 (RFC 4443): what the code says.
ICMP = {
    **dict.fromkeys(((3, 0), (3, 6), (3, 11), (1, 0)), "icmp_net_unreachable"),
    **dict.fromkeys(((3, 1), (3, 7), (3, 12), (1, 3)), "icmp_host_unreachable"),
    **dict.fromkeys(((3, 3), (1, 4)), "icmp_port_unreachable"),
    **dict.fromkeys(((3, 9), (3, 10), (3, 13), (1, 1), (1, 5), (1, 6)), "icmp_admin_prohibited"),
}
DENIERS = {"lsm": "lsm", "cgroup": "cgroup_bpf", "seccomp": "seccomp"}


class Judgement(NamedTuple):
    """The words for one attempt; ``errno`` is the error that the application gets (None: none)."""

    verdict: str
    errno: str | None
    cause: str | None


def judge(e: Evidence) -> Judgement:
    """Verdict, error and cause of one attempt."""
    error = error_of(e)
    verdict = verdict_of(e)
    name = "EINTR" if error == ERESTARTSYS else errno_name(error) if error else None
    return Judgement(verdict, name, cause_of(e, verdict, error))


@cache
def meanings() -> dict[str, str]:
    """Every cause with its meaning in a few words."""
    text = files("callout").joinpath("reference/causes.csv").read_text(encoding="utf-8")
    return {row["cause"]: row["meaning"] for row in csv.DictReader(text.splitlines())}


def cause_of(e: Evidence, verdict: str, error: int) -> str | None:
    """The cause of a failed attempt; None where there is nothing to explain (success, still under way)."""
    if verdict in SUCCESS:
        return None
    if verdict == "aborted" and not error:
        return "process_died" if e.exiting else "closed_by_application"
    if not error:
        return None
    if verdict == "interrupted":
        return "process_died" if e.exiting else None
    if e.denier:
        return DENIERS.get(e.denier, "unknown")
    if error in BY_ERRNO:
        return BY_ERRNO[error]
    if error == errno.EINVAL:
        return invalid(e)
    if error == errno.EAFNOSUPPORT:
        return "family_mismatch" if e.family and e.asked_family != e.family else "family_unsupported"
    if e.family == AF_UNIX:
        return BY_ERRNO_UNIX.get(error, "unknown")
    if e.family in (AF_INET, AF_INET6):
        return internet(e, error)
    return "unknown"


def invalid(e: Evidence) -> str:
    """EINVAL: a length outside 0..128 is refused before anything else (net/socket.c, move_addr_to_kernel)."""
    if routed_away(e, errno.EINVAL):
        return "no_route"
    if not 0 <= e.addrlen <= 128 or e.addrlen < SHORTEST.get(e.family, 2):
        return "bad_length"
    if e.family == AF_UNIX and e.addrlen > 110:
        return "bad_length"
    return "family_mismatch" if e.asked_family != e.family else "unknown"


def internet(e: Evidence, error: int) -> str:
    """IPv4 and IPv6: told apart by what was received, dropped or never sent."""
    filtered = "NETFILTER" in e.drop
    if e.icmp and error == errno.EACCES:
        return ICMP.get(e.icmp, "unknown")
    if error == errno.ECONNREFUSED:
        if filtered:
            return "netfilter_reject"
        if e.rst:
            return "no_listener" if e.local else "rst_from_peer"
        # nothing else refuses what was sent without a RST; those of MPTCP come to its subflows
        return (
            "icmp_port_unreachable" if e.protocol == UDP or (e.followed and e.protocol == TCP) else "unknown"
        )
    if error == errno.ETIMEDOUT:
        return "netfilter_drop" if filtered else "syn_unanswered"
    if error in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return unreachable(e, error, filtered)
    if error == errno.EADDRNOTAVAIL:
        if not e.followed:
            return "unknown"  # no address to call from: ports are looked for after SYN_SENT
        return "address_in_use" if e.bound else "ports_exhausted"
    if error == errno.EAGAIN:
        return "ports_exhausted"
    return "unknown"


def unreachable(e: Evidence, error: int, filtered: bool) -> str:
    """No route before anything was sent; afterwards an ICMP error, a firewall's reject, or no neighbour."""
    if not e.followed:
        return "unknown" if e.special else "no_route"
    if filtered:
        return "netfilter_reject"
    if "NEIGH" in e.drop:
        return "neighbour_failed"
    if e.icmp:
        return ICMP.get(e.icmp, "unknown")
    return "unknown"  # the errno alone leaves several codes
