"""From what the kernel reported of one attempt to what became of it, in one word.

Rule of this file: pure. ``Evidence`` holds every value that a verdict or cause may rest on; ``judge`` turns
it into the words of the interface, by tables. Rows share evidence, so this runs once per distinct
combination.

Sources: connect(2), net/ipv4/af_inet.c (__inet_stream_connect), net/unix/af_unix.c (unix_stream_connect).
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

TCP_ESTABLISHED = 1
TCP_CLOSE = 7
ERESTARTSYS = 512  # include/linux/errno.h: never seen by the application, which gets EINTR or a second call

SUCCESS = frozenset({"established", "associated", "dissolved"})
UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EINTR, ERESTARTSYS})

VERDICTS = {
    "established": "the peer accepted",
    "associated": "the peer is set; nothing was sent",
    "dissolved": "the association was undone (AF_UNSPEC)",
    "refused": "somebody answered: no",
    "timed_out": "nobody answered in time",
    "unreachable": "there is no way there",
    "reset": "the peer broke it off",
    "denied": "a policy or permission on this host forbids it",
    "exhausted": "no port, backlog or memory left",
    "invalid": "the caller's mistake",
    "interrupted": "a signal ended the call",
    "aborted": "the application gave up first",
    "pending": "still under way",
}

# errno of the attempt -> verdict, where the family makes no difference
BY_ERRNO = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timed_out",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ENOPROTOOPT: "unreachable",  # ICMP protocol unreachable
    errno.ENODEV: "unreachable",
    errno.ENXIO: "unreachable",
    errno.ENONET: "unreachable",  # ICMP host isolated
    errno.EPROTO: "unreachable",  # ICMP parameter problem
    errno.ENOENT: "unreachable",
    errno.ENOTDIR: "unreachable",
    errno.ELOOP: "unreachable",
    errno.ENAMETOOLONG: "unreachable",
    errno.ECONNRESET: "reset",
    errno.EPERM: "denied",
    errno.EACCES: "denied",
    errno.EAGAIN: "exhausted",
    errno.EADDRNOTAVAIL: "exhausted",
    errno.EADDRINUSE: "exhausted",
    errno.ENOMEM: "exhausted",
    errno.ENOBUFS: "exhausted",
    errno.ENFILE: "exhausted",  # Unix: the sockets of this host (net/unix/af_unix.c, unix_create1)
    errno.EMFILE: "exhausted",
    errno.EINTR: "interrupted",
    ERESTARTSYS: "interrupted",
    errno.EALREADY: "pending",
    errno.EINPROGRESS: "pending",
    errno.ECONNABORTED: "aborted",
    errno.EPIPE: "aborted",
    errno.ECANCELED: "aborted",
}


class Evidence(NamedTuple):
    """What was seen of one attempt. Numbers are the kernel's; a missing value is None."""

    family: int  # of the socket; 0 without one
    type: int
    protocol: int
    asked_family: int  # of the address in user memory; 0 where it could not be read
    addrlen: int
    ret: int | None  # None: the call has not come back
    state: int | None  # TCP state in which the socket settled; None: it did not
    err: int  # sk_err then
    soft: int  # sk_err_soft then
    syns: int  # SYNs sent again
    drop: str  # reason for which a packet of this socket was dropped on this host, as the kernel names it
    icmp: tuple[int, int, int] | None  # an ICMP error that came for it: 4 or 6, type, code
    denier: str  # who on this host refused it: "lsm", "cgroup", "seccomp", "" where no hook told
    followed: bool  # the socket went to SYN_SENT
    rst: bool
    exiting: bool  # closed by a dying process
    local: bool  # the destination is this host
    special: str  # "multicast", "mapped" (IPv4), "link_local" (without a scope), "" for any other address
    bound: bool  # the socket had a local port before
    no_file: bool
    not_socket: bool
    unreadable: bool
    sent: bool  # a datagram sent to an address without connect(2); its result is not seen
    given_up: bool  # still under way when the trace ended
    icmp_err: int = 0  # the errno that the kernel makes of the ICMP error
    icmp_here: bool = False  # this host made the ICMP error itself
    icmp_from: str = ""  # address of who sent it
    fastopen: bool = False  # Fast Open was asked for
    deferred: bool = False  # Fast Open: the SYN waits for the first data
    standing: int = 0  # of the socket at entry (linux/net.h, socket_state); 0: not known
    listening: bool = False  # the socket listens
    programs: bool = (
        False  # cgroup programs were asked: they may refuse with any error, or change the address
    )
    broadcast: bool = False  # a broadcast address of this network, and the socket may not call those
    six_only: bool = False  # the socket may not speak IPv4
    from_loopback: bool = False  # the socket is bound to a loopback address
    undone: bool = False  # shutdown(2) or AF_UNSPEC ended it: SO_ERROR says ECONNRESET, but nobody reset it
    watched: frozenset[str] = (
        frozenset()
    )  # who would have been seen, had they refused or dropped (see tiers.Program)


def error_of(e: Evidence) -> int:
    """The error that the application gets in the end, as a number; 0 for none."""
    if died(e):
        return 0
    if e.ret is not None and e.ret < 0 and -e.ret not in UNDER_WAY:
        return -e.ret
    if e.state is not None:
        return e.err if e.state == TCP_CLOSE else 0
    if e.ret is not None and e.ret < 0 and not e.followed:
        return -e.ret if -e.ret != errno.EINPROGRESS else 0
    return 0


def verdict_of(e: Evidence) -> str:
    """What became of the attempt, as one of VERDICTS."""
    error = error_of(e)
    if error == errno.ECONNRESET and e.undone:
        return "aborted"
    if error:
        on_the_way = routed_away(e, error) or (e.icmp is not None and error == e.icmp_err)
        return BY_ERRNO.get(error, "unreachable" if on_the_way else "invalid")
    if e.state == TCP_CLOSE or died(e):
        return "aborted"
    if e.state is not None:
        return "established"
    if e.sent:
        return "associated"
    if e.ret is None or e.ret < 0 or e.followed:
        return "pending"
    if e.asked_family == socket.AF_UNSPEC and e.addrlen >= 2:
        return "dissolved"
    return "established" if e.type in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET) else "associated"


def died(e: Evidence) -> bool:
    """The thread died inside the call, so nobody got its result."""
    return e.exiting and e.state is None and e.ret == -ERESTARTSYS


def blurred(e: Evidence) -> bool:
    """Whether a cgroup program that nobody watched may have chosen the error (bpf_set_retval, Linux 5.18)."""
    return e.programs and not e.followed and "cgroup" not in e.watched


def routed_away(e: Evidence, error: int) -> bool:
    """A well-formed call to a blackhole route, or from loopback to another host, fails with EINVAL.

    Both: net/ipv4/route.c (RTN_BLACKHOLE; __mkroute_output).
    An IPv6 stream socket refuses every AF_INET address: EINVAL below 24 bytes (net/ipv6/tcp_ipv6.c,
    tcp_v6_connect). A datagram socket takes them (net/ipv6/datagram.c, __ip6_datagram_connect).
    """
    least = {(2, 2): 16, (10, 10): 24, (10, 2): 16}.get((e.family, e.asked_family))
    if (
        error != errno.EINVAL
        or e.special
        or e.listening
        or blurred(e)
        or least is None
        or not least <= e.addrlen <= 128
    ):
        return False
    return e.family == e.asked_family or e.type != socket.SOCK_STREAM


def errno_name(number: int) -> str:
    """Name of an error number as connect(2) and strace spell it: 95 is EOPNOTSUPP, 11 EAGAIN."""
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, str(number))
