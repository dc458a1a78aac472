"""Attempts by io_uring: submitted at once, by a worker, by the polling thread, on a direct descriptor, cancelled.

Source: io_uring_enter(2); io_uring/net.c (io_connect, io_sendmsg).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from callout.lab.address import inet, unix
from callout.lab.ways import ring
from callout.lab.ways.base import DISCARD, HOST, Made, NotHere, Way, listener, made_socket
from callout.lab.ways.datagrams import NAME, receiver
from callout.lab.ways.internet import IPPROTO_MPTCP, MSG_FASTOPEN
from callout.lab.ways.message import Message
from callout.lab.world import deaf

TIMEOUT_NS = 20_000_000  # a linked timeout is what this way is about
UNKNOWN = (-errno.EINVAL, -errno.EOPNOTSUPP)  # an operation that this kernel's io_uring lacks


def known(fd: int | None, address: bytes, result: int) -> Made:
    """An attempt and its result; NotHere if that says that the operation does not exist."""
    made = Made(fd, address, min(0, result))
    if result in UNKNOWN:
        raise NotHere("io_uring of this kernel lacks the operation", made)
    return made


def connect(flags: int = 0, poll: bool = False, protocol: int = 0) -> Callable[[], Made]:
    """IORING_OP_CONNECT of a stream socket to a TCP listener."""

    def act() -> Made:
        server, address = listener()
        with server, made_socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as caller:
            submitter, pinned = ring.Ring(poll), ring.Pinned(address)
            (result,) = submitter.run([ring.connect_entry(caller.fileno(), pinned, len(address), flags)])
            return known(caller.fileno(), address, result)

    return act


def udp() -> Made:
    """A peer is set."""
    address = inet(HOST, DISCARD)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        pinned = ring.Pinned(address)
        (result,) = ring.Ring().run([ring.connect_entry(caller.fileno(), pinned, len(address))])
        return known(caller.fileno(), address, result)


def direct() -> Made:
    """A socket of the ring's own table: it has no number in the process."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        submitter, pinned = ring.Ring(), ring.Pinned(address)
        place = submitter.register(caller)
        (result,) = submitter.run([ring.connect_entry(place, pinned, len(address), ring.FIXED_FILE)])
        return known(None, address, result)


def cancelled() -> Made:
    """Nobody answers, and a linked timeout cancels it."""
    server = deaf(HOST, 0)
    address = inet(HOST, server.getsockname()[1])
    with server, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        pinned, timeout = ring.Pinned(address), ring.Pinned(struct.pack("=qq", 0, TIMEOUT_NS))
        result, _ = ring.Ring().run(
            [
                ring.connect_entry(caller.fileno(), pinned, len(address), ring.IO_LINK),
                ring.entry(ring.LINK_TIMEOUT, -1, timeout.at, length=1),
            ]
        )
        return known(caller.fileno(), address, result)


def sendmsg(opcode: int = ring.SENDMSG) -> Callable[[], Made]:
    """A datagram to an address, from a struct msghdr."""

    def act() -> Made:
        server, address = receiver()
        with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            message = Message(address)
            result, *_ = ring.Ring().run([ring.sendmsg_entry(caller.fileno(), message, opcode=opcode)])
            return known(caller.fileno(), address, result)

    return act


def send(opcode: int = ring.SEND) -> Callable[[], Made]:
    """A datagram to an address that stands in the submission itself."""

    def act() -> Made:
        server, address = receiver()
        with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            data, pinned = ring.Pinned(b"x"), ring.Pinned(address)
            submission = ring.send_entry(caller.fileno(), data, pinned, len(address), opcode)
            result, *_ = ring.Ring().run([submission])
            return known(caller.fileno(), address, result)

    return act


def unix_datagram() -> Made:
    """A Unix datagram to an abstract name."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
    ):
        server.bind(NAME)
        message = Message(unix(NAME))
        (result,) = ring.Ring().run([ring.sendmsg_entry(caller.fileno(), message)])
        return known(caller.fileno(), unix(NAME), result)


def fastopen() -> Made:
    """TCP Fast Open."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        message = Message(address)
        (result,) = ring.Ring().run([ring.sendmsg_entry(caller.fileno(), message, MSG_FASTOPEN)])
        return known(caller.fileno(), address, result)


def way(name: str, path: str, what: str, verdict: str, act: Callable[[], Made], in_part: bool = True) -> Way:
    """One that comes in by io_uring."""
    return Way(name, path, what, "io_uring", verdict, act, in_part)


WAYS = (
    way("uring_tcp", "io_uring", "IORING_OP_CONNECT, TCP", "established", connect()),
    way("uring_mptcp", "io_uring", "IORING_OP_CONNECT, MPTCP", "established", connect(protocol=IPPROTO_MPTCP)),
    way("uring_udp", "io_uring", "IORING_OP_CONNECT, UDP", "associated", udp, in_part=False),
    way("uring_async", "io_uring", "IORING_OP_CONNECT in a worker (IOSQE_ASYNC)", "established", connect(ring.ASYNC)),
    way("uring_sqpoll", "io_uring", "IORING_OP_CONNECT in the polling thread (SQPOLL)", "established",
        connect(poll=True)),
    way("uring_direct", "io_uring", "IORING_OP_CONNECT on a direct descriptor", "established", direct),
    way("uring_cancelled", "io_uring", "IORING_OP_CONNECT cancelled by a linked timeout", "aborted", cancelled),
    way("uring_sendmsg", "sendmsg", "IORING_OP_SENDMSG, UDP", "associated", sendmsg()),
    way("uring_sendmsg_zc", "sendmsg", "IORING_OP_SENDMSG_ZC, UDP", "associated", sendmsg(ring.SENDMSG_ZC)),
    way("uring_send", "sendto", "IORING_OP_SEND with an address, UDP", "associated", send()),
    way("uring_send_zc", "sendto", "IORING_OP_SEND_ZC with an address, UDP", "associated", send(ring.SEND_ZC)),
    way("uring_unix", "unix_sendto", "IORING_OP_SENDMSG, Unix datagrams", "associated", unix_datagram),
    way("uring_fastopen", "sendmsg_fastopen", "IORING_OP_SENDMSG with MSG_FASTOPEN", "established", fastopen),
)  # fmt: skip
