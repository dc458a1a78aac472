"""From evidence to the cause of a failure, as one token.

Rule of this file: pure, and never a guess: where the evidence allows two causes the answer is ``unknown``. An error is
ascribed to a packet only if that packet was seen.
The tokens, with a few words for each, are in ``reference/causes.csv``.
"""

from __future__ import annotations

import csv
import errno
import re
import socket
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from callout.verdict import (
    ERESTARTSYS,
    SUCCESS,
    Evidence,
    blurred,
    errno_name,
    error_of,
    routed_away,
    verdict_of,
)

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK
AF_VSOCK = 40
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
LOST = {
    errno.EPIPE,
    errno.ECANCELED,
    errno.EADDRINUSE,
}  # the error alone tells, also while an attempt is under way
REFUSALS = {errno.EPERM, errno.EACCES}
REJECTED = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}
BY_ERRNO_UNIX = {
    errno.ENOENT: "unix_no_path",
    errno.ENOTDIR: "unix_no_path",
    errno.ELOOP: "unix_no_path",
    errno.ENAMETOOLONG: "unix_no_path",
    errno.ECONNREFUSED: "unix_no_listener",
    errno.EAGAIN: "unix_backlog_full",
    errno.EACCES: "unix_permission",
    errno.EPROTOTYPE: "unix_wrong_type",
}


# ICMP (RFC 792, 1122, 1812) and ICMPv6 (RFC 4443) by version, type and code: what they say.
ICMP = {
    **dict.fromkeys(((4, 3, 0), (4, 3, 6), (4, 3, 11), (6, 1, 0)), "icmp_net_unreachable"),
    **dict.fromkeys(((4, 3, 1), (4, 3, 7), (4, 3, 12), (6, 1, 3)), "icmp_host_unreachable"),
    **dict.fromkeys(((4, 3, 3), (6, 1, 4)), "icmp_port_unreachable"),
    **dict.fromkeys(((4, 3, 2), (6, 4, 1)), "icmp_protocol_unreachable"),
    **dict.fromkeys(((4, 11, 0), (6, 3, 0)), "icmp_time_exceeded"),
    **dict.fromkeys(
        ((4, 3, 9), (4, 3, 10), (4, 3, 13), (6, 1, 1), (6, 1, 5), (6, 1, 6)), "icmp_admin_prohibited"
    ),
}
FATAL = {  # errors that an ICMP message makes on a datagram socket without IP_RECVERR
    errno.ECONNREFUSED: "icmp_port_unreachable",
    errno.EHOSTUNREACH: "icmp_admin_prohibited",  # codes 10 and 13; 14 and 15 (precedence) no router sends
    errno.EACCES: "icmp_admin_prohibited",  # ICMPv6
    errno.ENOPROTOOPT: "icmp_protocol_unreachable",
    errno.EHOSTDOWN: "icmp_host_unreachable",  # code 7
}
# What a firewall of this host can say (nft(8), reject): other ICMP errors from here somebody else has made.
REJECTS = {(4, 3, code) for code in (0, 1, 2, 3, 9, 10, 13)} | {(6, 1, code) for code in (0, 1, 3, 4, 5, 6)}
# Why this host dropped a packet (include/net/dropreason-core.h), where it explains that nobody answered.
DROPS = (
    (re.compile("BPF_CGROUP_EGRESS"), "cgroup_bpf"),
    (re.compile("(TC|QDISC)_.*"), "tc_drop"),
    (re.compile("IP_RPFILTER"), "reverse_path_filter"),
)
CONNECTING = 2  # linux/net.h, SS_CONNECTING
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
    if verdict == "aborted" and (not error or error == errno.ECONNRESET):
        return "process_died" if e.exiting else "closed_by_application"
    if not error:
        return None
    if verdict == "interrupted":
        return "process_died" if e.exiting else None
    if e.denier:
        return DENIERS.get(e.denier, "unknown")
    if error == errno.EINVAL:
        return invalid(e)
    internet = e.family in (AF_INET, AF_INET6)
    if internet and e.followed and error not in LOST:
        return sent(e, error)
    if e.listening and error == errno.EISCONN:
        return "socket_listens"
    if (
        error == errno.EOPNOTSUPP
        and e.fastopen
        and e.protocol == socket.IPPROTO_TCP
        and e.asked_family in (AF_INET, AF_INET6)
    ):
        return "fastopen_off"  # net/ipv4/tcp.c, tcp_sendmsg_fastopen
    if error in BY_ERRNO:
        return BY_ERRNO[error]
    if error == errno.EAFNOSUPPORT:
        return "family_mismatch" if e.family and e.asked_family != e.family else "family_unsupported"
    if e.family == AF_UNIX:
        return local(e, error)
    if internet:
        return late(e, error) if e.ret == 0 else unsent(e, error)
    if (
        e.family == AF_VSOCK and error == errno.ECONNRESET
    ):  # net/vmw_vsock/virtio_transport_common.c: the peer's RST
        return "rst_from_peer"
    if error == errno.ENODEV:
        return "no_device"
    if e.family == AF_NETLINK and error == errno.EPERM:
        return "no_privilege" if "lsm" in e.watched else "unknown"
    return "unknown"


def invalid(e: Evidence) -> str:
    """EINVAL: a length outside 0..128 is refused before anything else (net/socket.c, move_addr_to_kernel)."""
    if routed_away(e, errno.EINVAL):
        return "wrong_source" if e.from_loopback else "no_route"
    if not 0 <= e.addrlen <= 128 or e.addrlen < SHORTEST.get(e.family, 2):
        return "bad_length"
    if blurred(e):
        return "unknown"
    if e.family == AF_UNIX:
        return "bad_length" if e.addrlen > 110 else "socket_listens" if e.listening else by_family(e)
    if e.family == AF_INET6 and e.special == "link_local":
        return "no_scope"
    return by_family(e)


def by_family(e: Evidence) -> str:
    """EINVAL for an address of another family."""
    return "family_mismatch" if e.asked_family != e.family else "unknown"


def local(e: Evidence, error: int) -> str:
    """Unix sockets (net/unix/af_unix.c): unix_dgram_connect says EPERM where the other one has another peer."""
    if blurred(e):
        return "unknown"
    if error == errno.EPERM and e.type == socket.SOCK_DGRAM and {"lsm", "unix_send"} <= e.watched:
        return "unix_peer_taken"
    return BY_ERRNO_UNIX.get(error, "unknown")


def unsent(e: Evidence, error: int) -> str:
    """IPv4 and IPv6, before anything was sent: the routing table, the socket and its address decide."""
    if e.standing == CONNECTING:  # the call only asked for the result of the one before
        return "earlier_attempt_failed" if error not in REFUSALS or "lsm" in e.watched else "unknown"
    if blurred(e):
        return "unknown"
    stream = e.type == socket.SOCK_STREAM
    plain = not e.programs  # else the address that was used may be another one
    if error == errno.ENETUNREACH:
        if stream and (e.special == "multicast" or e.broadcast):
            return "not_unicast" if plain else "unknown"
        if e.special == "mapped" and e.six_only:
            return "ipv6_only" if plain else "unknown"
        return "no_route"
    if error == errno.EHOSTUNREACH:
        return "no_route"
    if error == errno.ENODEV:  # net/ipv4/route.c: the device that the socket is bound to
        return "no_device" if plain else "unknown"
    if error == errno.EADDRNOTAVAIL:
        return "no_source_address" if e.family == AF_INET6 and e.special != "mapped" else "unknown"
    if error == errno.EACCES:
        if not stream and e.broadcast and plain:
            return "broadcast_not_allowed"
        return "route_prohibits" if "lsm" in e.watched else "unknown"
    return "ports_exhausted" if error == errno.EAGAIN else "unknown"


def late(e: Evidence, error: int) -> str:
    """An error that came to a datagram socket later. Where the ICMP error itself was not seen, its errno tells.

    Only those that TCP would call fatal come to a socket without IP_RECVERR, which would have shown the ICMP error
    (net/ipv4/udp.c, udp_err; net/ipv4/icmp.c, icmp_err_convert; net/ipv6/icmp.c).
    """
    if e.icmp and error == e.icmp_err:
        return by_icmp(e, "NETFILTER" in e.drop)
    return FATAL.get(error, "unknown")


def sent(e: Evidence, error: int) -> str:
    """IPv4 and IPv6, after a SYN was sent or about to be: told apart by what was received or dropped."""
    filtered = "NETFILTER" in e.drop
    if e.icmp and error == e.icmp_err:
        return by_icmp(e, filtered)
    if filtered and error in REJECTED and not e.icmp:  # what this host drops, nobody else can refuse
        return "netfilter_reject"
    if error == errno.ECONNABORTED:  # net/ipv4/tcp.c, tcp_abort
        return "socket_destroyed"
    if (
        error == errno.ECONNRESET and e.rst
    ):  # a RST that answers a SYN refuses (net/ipv4/tcp_input.c, tcp_reset)
        return "reset_in_handshake"
    if error in (errno.ECONNREFUSED, errno.ECONNRESET):
        if e.rst:
            return "no_listener" if e.local else "rst_from_peer"
        return "unknown"
    if error == errno.ETIMEDOUT:
        told = (cause for reason, cause in DROPS if reason.fullmatch(e.drop))
        return "netfilter_drop" if filtered else next(told, "syn_unanswered")
    if error == errno.EADDRNOTAVAIL:
        return "address_in_use" if e.bound else "ports_exhausted"
    if error in (errno.EHOSTUNREACH, errno.ENETUNREACH) and "NEIGH" in e.drop:
        return "neighbour_failed"
    return "unknown"


def by_icmp(e: Evidence, filtered: bool) -> str:
    """An ICMP error: of a router on the way, or this host's own, made by its firewall or for want of a neighbour."""
    assert e.icmp
    told = ICMP.get(e.icmp, "icmp_other")
    if not e.icmp_here:
        return told
    if filtered:
        return "netfilter_reject"
    if e.icmp in ((4, 3, 1), (6, 1, 3)):
        # made by the firewall, it would have dropped the packet (IPv6 does not say why it dropped it for want of a
        # neighbour: net/ipv6/ndisc.c, ndisc_error_report)
        return "neighbour_failed" if "drops" in e.watched or "NEIGH" in e.drop else "unknown"
    if told == "icmp_net_unreachable":
        return "unknown"
    return "netfilter_reject" if e.icmp in REJECTS else told
