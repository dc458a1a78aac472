"""Evidence to cause: every token by the evidence that makes it, and none by less."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from callout.cause import CONNECTING, judge, meanings
from callout.verdict import Evidence

INET, INET6, UNIX, NETLINK, VSOCK = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, 40
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
CLOSE = 7  # net/tcp_states.h

TCP = Evidence(
    family=INET,
    type=STREAM,
    protocol=6,
    asked_family=INET,
    addrlen=16,
    ret=0,
    state=None,
    err=0,
    soft=0,
    syns=0,
    drop="",
    icmp=None,
    denier="",
    followed=False,
    rst=False,
    exiting=False,
    local=False,
    special="",
    bound=False,
    no_file=False,
    not_socket=False,
    unreadable=False,
    sent=False,
    given_up=False,
)


def failed(number: int, **seen: Any) -> dict[str, Any]:
    """A call that returned this error before anything was sent."""
    return {"ret": -number, **seen}


def settled(number: int, **seen: Any) -> dict[str, Any]:
    """A handshake that ended in this error after the call had returned."""
    return {"ret": -errno.EINPROGRESS, "followed": True, "state": CLOSE, "err": number, **seen}


def local(number: int, **seen: Any) -> dict[str, Any]:
    """A Unix socket's call that returned this error."""
    return {"family": UNIX, "asked_family": UNIX, "addrlen": 20, "protocol": 0, "ret": -number, **seen}


def by_icmp(number: int, version: int, kind: int, code: int, **seen: Any) -> dict[str, Any]:
    """A handshake that an ICMP error ended."""
    return settled(number, icmp=(version, kind, code), icmp_err=number, **seen)


EVERYONE = frozenset({"lsm", "cgroup", "unix_send", "drops"})
IPV6 = {"family": INET6, "asked_family": INET6, "addrlen": 28}
TABLE: list[tuple[dict[str, Any], str | None]] = [
    # nothing to explain
    ({}, None),
    ({"ret": -errno.EINPROGRESS, "followed": True}, None),
    ({"ret": None}, None),
    (failed(errno.EINTR), None),  # a signal: the verdict says it
    (failed(512), None),  # ERESTARTSYS
    # answers, and no answers
    (settled(errno.ECONNREFUSED, rst=True), "rst_from_peer"),
    (settled(errno.ECONNREFUSED, rst=True, local=True), "no_listener"),
    (settled(errno.ECONNREFUSED), "unknown"),  # neither a RST nor an ICMP error was seen
    (settled(errno.ECONNRESET, rst=True), "reset_in_handshake"),
    (settled(errno.ECONNABORTED), "socket_destroyed"),
    (failed(errno.EINVAL, from_loopback=True), "wrong_source"),
    (failed(errno.EINVAL, from_loopback=True, addrlen=15), "bad_length"),
    (failed(errno.EOPNOTSUPP, fastopen=True), "fastopen_off"),
    (failed(errno.EOPNOTSUPP, fastopen=True, protocol=262), "family_unsupported"),
    (failed(errno.EOPNOTSUPP, fastopen=True, asked_family=0), "family_unsupported"),
    (failed(errno.ENODEV, programs=True), "unknown"),
    (settled(errno.ECONNRESET, undone=True), "closed_by_application"),
    (settled(errno.ECONNREFUSED, drop="NETFILTER_DROP"), "netfilter_reject"),
    (settled(errno.ETIMEDOUT, syns=6), "syn_unanswered"),
    (settled(errno.ETIMEDOUT, syns=6, drop="NETFILTER_DROP"), "netfilter_drop"),
    (settled(errno.ENETUNREACH), "unknown"),  # the errno alone leaves several codes
    (settled(errno.ETIMEDOUT, drop="BPF_CGROUP_EGRESS"), "cgroup_bpf"),
    (settled(errno.ETIMEDOUT, drop="QDISC_DROP"), "tc_drop"),
    (settled(errno.ETIMEDOUT, drop="IP_RPFILTER"), "reverse_path_filter"),
    (by_icmp(errno.ENETUNREACH, 4, 3, 0), "icmp_net_unreachable"),
    (by_icmp(errno.EHOSTUNREACH, 4, 3, 1), "icmp_host_unreachable"),
    (by_icmp(errno.EHOSTUNREACH, 4, 3, 13), "icmp_admin_prohibited"),
    (by_icmp(errno.ECONNREFUSED, 4, 3, 3), "icmp_port_unreachable"),
    (by_icmp(errno.ENOPROTOOPT, 4, 3, 2), "icmp_protocol_unreachable"),
    (by_icmp(errno.EHOSTUNREACH, 4, 11, 0), "icmp_time_exceeded"),
    (by_icmp(errno.EHOSTUNREACH, 6, 3, 0, **IPV6), "icmp_time_exceeded"),  # 3 is another type there
    (by_icmp(errno.EHOSTUNREACH, 6, 1, 3, **IPV6), "icmp_host_unreachable"),
    (by_icmp(errno.EACCES, 6, 1, 1, **IPV6), "icmp_admin_prohibited"),
    (by_icmp(errno.EPROTO, 4, 12, 0), "icmp_other"),
    (by_icmp(errno.EOPNOTSUPP, 4, 3, 5), "icmp_other"),
    # made by this host
    (by_icmp(errno.EHOSTUNREACH, 4, 3, 13, icmp_here=True), "netfilter_reject"),
    (by_icmp(errno.EHOSTUNREACH, 4, 3, 1, icmp_here=True, drop="NETFILTER_DROP"), "netfilter_reject"),
    (by_icmp(errno.EHOSTUNREACH, 4, 3, 1, icmp_here=True, drop="NEIGH_FAILED"), "neighbour_failed"),
    (by_icmp(errno.EHOSTUNREACH, 6, 1, 3, icmp_here=True, watched=EVERYONE, **IPV6), "neighbour_failed"),
    (
        by_icmp(errno.EHOSTUNREACH, 6, 1, 3, icmp_here=True, **IPV6),
        "unknown",
    ),  # or a firewall, whose drops are not seen
    (by_icmp(errno.ENETUNREACH, 4, 3, 0, icmp_here=True), "unknown"),
    (by_icmp(errno.EHOSTDOWN, 4, 3, 7, icmp_here=True), "icmp_host_unreachable"),  # no firewall says so
    # an ICMP error that was not the end
    (settled(errno.ECONNREFUSED, icmp=(4, 3, 1), icmp_err=errno.EHOSTUNREACH, rst=True), "rst_from_peer"),
    (failed(errno.EPERM, denier="lsm"), "lsm"),
    (failed(errno.EPERM, denier="cgroup"), "cgroup_bpf"),
    (failed(errno.EPERM, denier="seccomp"), "seccomp"),
    # addresses that a socket cannot call
    (failed(errno.ENETUNREACH, special="multicast"), "not_unicast"),
    (failed(errno.ENETUNREACH, broadcast=True), "not_unicast"),
    (
        failed(errno.ENETUNREACH, special="multicast", programs=True, watched=EVERYONE),
        "unknown",
    ),  # or rewritten
    (failed(errno.ENETUNREACH, special="multicast", type=DGRAM, protocol=17), "no_route"),
    (failed(errno.EACCES, broadcast=True, type=DGRAM, protocol=17), "broadcast_not_allowed"),
    (failed(errno.EACCES, broadcast=True, type=DGRAM, protocol=17, programs=True), "unknown"),
    (failed(errno.ENETUNREACH, special="mapped", **IPV6), "no_route"),
    (failed(errno.ENETUNREACH, special="mapped", six_only=True, **IPV6), "ipv6_only"),
    (failed(errno.EINVAL, special="link_local", **IPV6), "no_scope"),
    (failed(errno.EADDRNOTAVAIL, **IPV6), "no_source_address"),
    (failed(errno.EADDRNOTAVAIL, special="mapped", **IPV6), "unknown"),
    # forbidden by a route, where nobody else can have forbidden it
    (failed(errno.EACCES, watched=EVERYONE), "route_prohibits"),
    (failed(errno.ENODEV, programs=True), "unknown"),
    (failed(errno.ENODEV, family=VSOCK, asked_family=VSOCK), "no_device"),
    # a cgroup program may choose any error, if nobody watches it
    (failed(errno.ENETUNREACH, programs=True), "unknown"),
    (failed(errno.EINVAL, programs=True), "unknown"),
    (failed(errno.ENETUNREACH, programs=True, watched=EVERYONE), "no_route"),
    # what an earlier call left behind
    (failed(errno.ECONNREFUSED, standing=CONNECTING), "earlier_attempt_failed"),
    (failed(errno.ECONNABORTED, standing=CONNECTING), "earlier_attempt_failed"),
    (failed(errno.EACCES, standing=CONNECTING), "unknown"),  # a module may have refused
    (failed(errno.EACCES, standing=CONNECTING, watched=EVERYONE), "earlier_attempt_failed"),
    (failed(errno.EISCONN, listening=True), "socket_listens"),
    # a datagram socket's late error
    ({"type": DGRAM, "protocol": 17, "state": CLOSE, "err": errno.ECONNREFUSED}, "icmp_port_unreachable"),
    ({"type": DGRAM, "protocol": 17, "state": CLOSE, "err": errno.EHOSTUNREACH}, "icmp_admin_prohibited"),
    ({"type": DGRAM, "protocol": 17, "state": CLOSE, "err": errno.EMSGSIZE}, "unknown"),
    (failed(errno.ECONNREFUSED), "unknown"),  # nothing was sent
    (settled(errno.ENETUNREACH, drop="NETFILTER_DROP"), "netfilter_reject"),
    (settled(errno.EHOSTUNREACH, drop="NEIGH_FAILED"), "neighbour_failed"),
    (settled(errno.EHOSTUNREACH), "unknown"),  # ICMP host unreachable, or one of several prohibitions
    (failed(errno.ENETUNREACH), "no_route"),
    (failed(errno.EHOSTUNREACH), "no_route"),
    (failed(errno.EINVAL), "no_route"),
    (failed(errno.EINVAL, **IPV6), "no_route"),
    # local ports
    (failed(errno.EADDRNOTAVAIL, followed=True), "ports_exhausted"),
    (failed(errno.EADDRNOTAVAIL), "unknown"),  # no address to call from
    (failed(errno.EAGAIN), "ports_exhausted"),
    (failed(errno.EADDRNOTAVAIL, bound=True, followed=True), "address_in_use"),
    (failed(errno.EADDRINUSE), "address_in_use"),
    # denied by somebody: nothing seen tells who
    (failed(errno.EPERM), "unknown"),
    (failed(errno.EACCES), "unknown"),
    # Unix sockets
    (local(errno.ENOENT), "unix_no_path"),
    (local(errno.ENOTDIR), "unix_no_path"),
    (local(errno.ECONNREFUSED), "unix_no_listener"),
    (local(errno.EAGAIN), "unix_backlog_full"),
    (local(errno.EACCES), "unix_permission"),
    (local(errno.EPERM), "unknown"),
    (local(errno.EPERM, type=DGRAM), "unknown"),
    (local(errno.EPERM, type=DGRAM, watched=EVERYONE), "unix_peer_taken"),
    (local(errno.ECONNREFUSED, programs=True), "unknown"),
    (local(errno.EINVAL, listening=True), "socket_listens"),
    (failed(errno.EPERM, family=NETLINK, asked_family=NETLINK, addrlen=12), "unknown"),
    (failed(errno.EPERM, family=NETLINK, asked_family=NETLINK, addrlen=12, watched=EVERYONE), "no_privilege"),
    (local(errno.EPROTOTYPE), "unix_wrong_type"),
    (local(errno.ELOOP), "unix_no_path"),
    (local(errno.EINVAL, addrlen=2), "bad_length"),
    (local(errno.EINVAL, addrlen=111), "bad_length"),
    (local(errno.EINVAL, asked_family=INET), "family_mismatch"),
    (local(errno.EINVAL), "unknown"),
    # the caller's mistakes
    (failed(errno.EBADF, family=0, no_file=True), "bad_descriptor"),
    (failed(errno.ENOTSOCK, family=0, not_socket=True), "not_a_socket"),
    (failed(errno.EFAULT, asked_family=0, unreadable=True), "bad_pointer"),
    (failed(errno.EINVAL, addrlen=15), "bad_length"),
    (failed(errno.EINVAL, addrlen=129), "bad_length"),
    (failed(errno.EINVAL, addrlen=-1), "bad_length"),
    (failed(errno.EINVAL, **{**IPV6, "addrlen": 23}), "bad_length"),
    (failed(errno.EINVAL, **{**IPV6, "asked_family": INET, "addrlen": 16}), "bad_length"),
    (failed(errno.EINVAL, **{**IPV6, "asked_family": INET, "addrlen": 16, "type": DGRAM}), "no_route"),
    (failed(errno.EINVAL, asked_family=INET6, addrlen=28), "family_mismatch"),
    (failed(errno.EAFNOSUPPORT, asked_family=INET6, addrlen=28), "family_mismatch"),
    (failed(errno.EAFNOSUPPORT), "family_unsupported"),
    (failed(errno.EOPNOTSUPP), "family_unsupported"),
    (failed(errno.EISCONN), "already_connected"),
    (failed(errno.EALREADY), "already_in_progress"),
    # who closed it
    ({"ret": -errno.EINPROGRESS, "followed": True, "state": CLOSE}, "closed_by_application"),
    ({"ret": -errno.EINPROGRESS, "followed": True, "state": CLOSE, "exiting": True}, "process_died"),
    # other families, other errors
    (failed(errno.ECONNRESET, family=VSOCK, asked_family=VSOCK), "rst_from_peer"),
    (failed(errno.EINVAL, family=VSOCK, asked_family=VSOCK, addrlen=8), "bad_length"),
    (failed(errno.ENOMEM), "unknown"),
]

# Words of the interface for which nothing is seen yet that tells them apart from `unknown`.
LATER = {"callout_policy"}


@pytest.mark.parametrize(("seen", "cause"), TABLE)
def test_cause(seen: dict[str, Any], cause: str | None) -> None:
    assert judge(TCP._replace(**seen)).cause == cause


def test_every_token_has_a_meaning_and_evidence_that_makes_it() -> None:
    made = {cause for _, cause in TABLE if cause}
    assert made & LATER == set(), "no longer for later"
    assert made | LATER == set(meanings())


def test_meanings_are_a_few_words() -> None:
    for cause, meaning in meanings().items():
        assert 10 < len(meaning) < 70, cause
        assert meaning.strip() == meaning, cause
        assert not meaning.endswith("."), cause
