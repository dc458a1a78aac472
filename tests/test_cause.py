"""Evidence to cause: every token by the evidence that makes it, and none by less."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from callout.cause import judge, meanings
from callout.verdict import Evidence

INET, INET6, UNIX, VSOCK = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 40
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
    special=False,
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
    (settled(errno.ECONNREFUSED), "icmp_port_unreachable"),
    (settled(errno.ECONNREFUSED, drop="NETFILTER_DROP"), "netfilter_reject"),
    (settled(errno.ETIMEDOUT, syns=6), "syn_unanswered"),
    (settled(errno.ETIMEDOUT, syns=6, drop="NETFILTER_DROP"), "netfilter_drop"),
    (settled(errno.ENETUNREACH), "unknown"),  # the errno alone leaves several codes
    (settled(errno.ENETUNREACH, icmp=(3, 0)), "icmp_net_unreachable"),
    (settled(errno.EHOSTUNREACH, icmp=(3, 1)), "icmp_host_unreachable"),
    (settled(errno.EHOSTUNREACH, icmp=(3, 13)), "icmp_admin_prohibited"),
    (failed(errno.EPERM, denier="lsm"), "lsm"),
    (failed(errno.EPERM, denier="cgroup"), "cgroup_bpf"),
    (failed(errno.EPERM, denier="seccomp"), "seccomp"),
    (failed(errno.ENETUNREACH, special=True), "unknown"),
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
    (failed(errno.ECONNRESET, family=VSOCK, asked_family=VSOCK), "unknown"),
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
