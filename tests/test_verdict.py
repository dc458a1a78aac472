"""Evidence to verdict and error: what connect(2), af_inet.c and af_unix.c do, as tables."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.cause import judge, meanings
from callout.verdict import BY_ERRNO, ERESTARTSYS, SUCCESS, VERDICTS, Evidence, errno_name

ESTABLISHED, CLOSE = 1, 7  # net/tcp_states.h
INET, INET6, UNIX, NETLINK = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK
STREAM, DGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET

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
WAY = {"followed": True}  # the socket went to SYN_SENT
UDP = {"type": DGRAM, "protocol": 17}
LOCAL = {"family": UNIX, "asked_family": UNIX, "addrlen": 20, "protocol": 0}
IPV6 = {"family": INET6, "asked_family": INET6, "addrlen": 28}


@pytest.mark.parametrize(
    ("seen", "verdict", "error"),
    [
        # a stream socket that waits for its verdict
        ({**WAY, "ret": 0, "state": ESTABLISHED}, "established", None),
        (
            {**WAY, "ret": -errno.ECONNREFUSED, "state": CLOSE, "err": errno.ECONNREFUSED},
            "refused",
            "ECONNREFUSED",
        ),
        ({**WAY, "ret": -errno.ETIMEDOUT, "state": CLOSE, "err": errno.ETIMEDOUT}, "timed_out", "ETIMEDOUT"),
        # what the call returned is what the application got, whatever the socket says
        ({**WAY, "ret": -errno.EHOSTUNREACH, "state": CLOSE, "err": 0}, "unreachable", "EHOSTUNREACH"),
        # one that does not wait: the error comes later, through SO_ERROR
        ({**WAY, "ret": -errno.EINPROGRESS}, "pending", None),
        ({**WAY, "ret": -errno.EINPROGRESS, "state": ESTABLISHED}, "established", None),
        (
            {**WAY, "ret": -errno.EINPROGRESS, "state": CLOSE, "err": errno.ECONNREFUSED},
            "refused",
            "ECONNREFUSED",
        ),
        ({**WAY, "ret": -errno.EINPROGRESS, "state": CLOSE}, "aborted", None),
        ({**WAY, "ret": -errno.EINPROGRESS, "given_up": True}, "pending", None),
        # a signal in the middle: the attempt goes on without the call
        ({**WAY, "ret": -errno.EINTR}, "pending", None),
        ({**WAY, "ret": -errno.EINTR, "state": ESTABLISHED}, "established", None),
        ({**WAY, "ret": -ERESTARTSYS, "state": CLOSE, "err": errno.ETIMEDOUT}, "timed_out", "ETIMEDOUT"),
        # and before anything was sent
        ({"ret": -errno.EINTR}, "interrupted", "EINTR"),
        ({"ret": -ERESTARTSYS}, "interrupted", "EINTR"),
        # still inside the call
        ({"ret": None}, "pending", None),
        ({**WAY, "ret": None, "given_up": True}, "pending", None),
        ({**WAY, "ret": None, "state": CLOSE}, "aborted", None),
        # no handshake: done when the call returns
        ({**UDP}, "associated", None),
        ({**UDP, **IPV6}, "associated", None),
        ({**LOCAL}, "established", None),
        ({**LOCAL, "type": SEQPACKET}, "established", None),
        ({**LOCAL, "type": DGRAM}, "associated", None),
        (
            {"family": NETLINK, "type": socket.SOCK_RAW, "asked_family": NETLINK, "addrlen": 12},
            "associated",
            None,
        ),
        # AF_UNSPEC takes an association back
        ({**UDP, "asked_family": 0}, "dissolved", None),
        ({"asked_family": 0, "addrlen": 2}, "dissolved", None),
        # refused at once
        ({"ret": -errno.EALREADY}, "pending", "EALREADY"),
        ({"ret": -errno.EISCONN}, "invalid", "EISCONN"),
        ({"ret": -errno.EAFNOSUPPORT}, "invalid", "EAFNOSUPPORT"),
        ({"ret": -errno.EACCES}, "denied", "EACCES"),
        ({"family": 0, "ret": -errno.EBADF, "no_file": True}, "invalid", "EBADF"),
        ({"family": 0, "ret": -errno.ENOTSOCK, "not_socket": True}, "invalid", "ENOTSOCK"),
        ({"ret": -errno.EFAULT, "asked_family": 0, "unreadable": True}, "invalid", "EFAULT"),
        ({"ret": -errno.EOPNOTSUPP}, "invalid", "EOPNOTSUPP"),
        ({**LOCAL, "ret": -errno.ENOENT}, "unreachable", "ENOENT"),
        ({**LOCAL, "ret": -errno.EAGAIN}, "exhausted", "EAGAIN"),
        ({**LOCAL, "ret": -errno.EPROTOTYPE}, "invalid", "EPROTOTYPE"),
        ({**LOCAL, "ret": -errno.EINVAL}, "invalid", "EINVAL"),
        # EINVAL of a well-formed call is the answer of a blackhole route
        ({"ret": -errno.EINVAL}, "unreachable", "EINVAL"),
        ({**IPV6, "ret": -errno.EINVAL}, "unreachable", "EINVAL"),
        ({**IPV6, **UDP, "asked_family": INET, "addrlen": 16, "ret": -errno.EINVAL}, "unreachable", "EINVAL"),
        # and of any other call the caller's mistake
        ({"ret": -errno.EINVAL, "addrlen": 15}, "invalid", "EINVAL"),
        ({"ret": -errno.EINVAL, "addrlen": 129}, "invalid", "EINVAL"),
        ({"ret": -errno.EINVAL, "addrlen": -1}, "invalid", "EINVAL"),
        ({**IPV6, "ret": -errno.EINVAL, "addrlen": 23}, "invalid", "EINVAL"),
        ({**IPV6, "ret": -errno.EINVAL, "asked_family": INET, "addrlen": 16}, "invalid", "EINVAL"),
        # an error that has no name here
        ({"ret": -4000}, "invalid", "4000"),
    ],
)
def test_verdict_and_error(seen: dict[str, Any], verdict: str, error: str | None) -> None:
    judgement = judge(TCP._replace(**seen))
    assert (judgement.verdict, judgement.errno) == (verdict, error)


ERRNO_TABLE = {
    "refused": ["ECONNREFUSED"],
    "timed_out": ["ETIMEDOUT"],
    "unreachable": [
        "ENETUNREACH",
        "EHOSTUNREACH",
        "ENETDOWN",
        "EHOSTDOWN",
        "ENODEV",
        "ENXIO",
        "ENOENT",
        "ENOTDIR",
        "ELOOP",
        "ENAMETOOLONG",
        "ENOPROTOOPT",
        "ENONET",
        "EPROTO",
    ],
    "reset": ["ECONNRESET"],
    "denied": ["EPERM", "EACCES"],
    "exhausted": ["EAGAIN", "EADDRNOTAVAIL", "EADDRINUSE", "ENOMEM", "ENOBUFS", "ENFILE", "EMFILE"],
    "interrupted": ["EINTR"],
    "pending": ["EALREADY", "EINPROGRESS"],
    "aborted": ["ECONNABORTED", "EPIPE", "ECANCELED"],
}


@pytest.mark.parametrize(
    ("name", "verdict"), [(name, verdict) for verdict, names in ERRNO_TABLE.items() for name in names]
)
def test_every_error_that_has_a_verdict(name: str, verdict: str) -> None:
    """At the call, where it ends there, and through SO_ERROR."""
    number = getattr(errno, name)
    assert (
        judge(TCP._replace(followed=True, ret=-errno.EINPROGRESS, state=CLOSE, err=number)).verdict == verdict
    )
    if number != errno.EINPROGRESS:  # which is no end
        assert judge(TCP._replace(ret=-number))[:2] == (verdict, name)


def test_no_other_error_has_one() -> None:
    listed = {getattr(errno, name) for names in ERRNO_TABLE.values() for name in names}
    assert set(BY_ERRNO) == listed | {ERESTARTSYS}


def test_every_verdict_of_the_interface() -> None:
    assert list(VERDICTS) == [
        "established",
        "associated",
        "dissolved",
        "refused",
        "timed_out",
        "unreachable",
        "reset",
        "denied",
        "exhausted",
        "invalid",
        "interrupted",
        "aborted",
        "pending",
    ]
    assert {"established", "associated", "dissolved"} == SUCCESS
    made = set(BY_ERRNO.values()) | SUCCESS | {"invalid"}
    assert made == set(VERDICTS), "each can come out"


@pytest.mark.parametrize(
    ("number", "name"),
    [(95, "EOPNOTSUPP"), (11, "EAGAIN"), (111, "ECONNREFUSED"), (115, "EINPROGRESS"), (4000, "4000")],
)
def test_names_of_errors(number: int, name: str) -> None:
    assert errno_name(number) == name


ERRORS = st.sampled_from([0, *sorted(errno.errorcode), ERESTARTSYS])
EVIDENCE = st.builds(
    Evidence,
    family=st.sampled_from([0, UNIX, INET, INET6, NETLINK, 40]),
    type=st.sampled_from([STREAM, DGRAM, socket.SOCK_RAW, SEQPACKET]),
    protocol=st.sampled_from([0, 6, 17]),
    asked_family=st.sampled_from([0, UNIX, INET, INET6, NETLINK, 40]),
    addrlen=st.integers(-2, 130),
    ret=st.one_of(st.none(), ERRORS.map(lambda number: -number)),
    state=st.sampled_from([None, ESTABLISHED, CLOSE]),
    err=ERRORS,
    soft=ERRORS,
    syns=st.integers(0, 7),
    drop=st.sampled_from(["", "NETFILTER_DROP", "NEIGH_FAILED", "NO_SOCKET"]),
    followed=st.booleans(),
    rst=st.booleans(),
    exiting=st.booleans(),
    local=st.booleans(),
    bound=st.booleans(),
    no_file=st.booleans(),
    not_socket=st.booleans(),
    unreadable=st.booleans(),
    given_up=st.booleans(),
    icmp=st.sampled_from([None, (4, 3, 1), (4, 3, 13), (4, 99, 0), (6, 1, 3), (6, 3, 0)]),
    icmp_err=st.sampled_from([0, errno.EHOSTUNREACH, errno.EPROTO, errno.EACCES, errno.EOPNOTSUPP]),
    icmp_here=st.booleans(),
    special=st.sampled_from(["", "multicast", "mapped", "link_local"]),
    standing=st.integers(0, 3),
    listening=st.booleans(),
    programs=st.booleans(),
    broadcast=st.booleans(),
    six_only=st.booleans(),
    undone=st.booleans(),
    watched=st.frozensets(st.sampled_from(["lsm", "cgroup", "unix_send", "drops"])),
)


@given(EVIDENCE)
def test_the_words_never_contradict_each_other(e: Evidence) -> None:
    """Any evidence, possible or not, gets words of the vocabulary that fit together."""
    j = judge(e)
    assert j.verdict in VERDICTS
    assert j.cause is None or j.cause in meanings()
    if j.verdict in SUCCESS:
        assert (j.errno, j.cause) == (None, None)
    if j.errno is None:
        assert j.verdict in {*SUCCESS, "pending", "aborted"}
        assert (j.cause is None) == (j.verdict != "aborted")
    else:
        told = j.cause is not None or j.verdict == "interrupted"  # a signal: the verdict says it
        assert told, "an error has a cause, if only `unknown`"
    if j.errno == "EINVAL":
        assert (j.verdict == "unreachable") == (j.cause == "no_route")
