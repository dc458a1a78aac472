"""The ways that fail: what each of them says when nobody listens, nothing leads there, or the call itself is wrong.

Rule of this file: as of all ways, one real attempt each; scenarios only, for a self-test looks for what succeeds.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from callout.lab import libc
from callout.lab.address import inet, unix
from callout.lab.ways import i386, ring
from callout.lab.ways.base import DISCARD, HOST, Made, Way, granted
from callout.lab.ways.internet import MSG_FASTOPEN
from callout.lab.world import World, deaf

NOWHERE = "203.0.113.9"  # RFC 5737; the network has no route but loopback
NOBODY = "\0callout-lab-nobody"
FAILURES = (-errno.ECONNREFUSED, -errno.ENETUNREACH, -errno.ETIMEDOUT)


def by_uring(address: bytes, kind: tuple[int, int]) -> Callable[[], Made]:
    """IORING_OP_CONNECT."""

    def act() -> Made:
        with socket.socket(*kind) as caller:
            pinned = ring.Pinned(address)
            (result,) = ring.Ring().run([ring.connect_entry(caller.fileno(), pinned, len(address))])
            return granted(caller, address, result, *FAILURES)

    return act


def by_i386(address: bytes, call: Callable[[socket.socket, bytes], Made]) -> Callable[[], Made]:
    """connect(2) of i386, by either number."""

    def act() -> Made:
        with socket.socket() as caller:
            return call(caller, address)

    return act


def number(caller: socket.socket, address: bytes) -> Made:
    """By connect(2)'s own number."""
    page = i386.Page()
    result = page.call(i386.NR_CONNECT, caller.fileno(), page.put(address), len(address))
    return granted(caller, address, result, -errno.ECONNREFUSED, -errno.EFAULT)


def socketcall(caller: socket.socket, address: bytes) -> Made:
    """By socketcall(2)."""
    page = i386.Page()
    arguments = page.put(struct.pack("=III", caller.fileno(), page.put(address), len(address)))
    result = page.call(i386.NR_SOCKETCALL, i386.SYS_CONNECT, arguments)
    return granted(caller, address, result, -errno.ECONNREFUSED)


def fastopen(silent: bool) -> Callable[[], Made]:
    """sendto(2) with MSG_FASTOPEN to a port on which nobody listens, or that nobody answers."""

    def act() -> Made:
        server = deaf(HOST, 0)
        address = inet(HOST, server.getsockname()[1] if silent else 8560)
        with server, World.impatient() as caller:
            result = libc.sendto(caller.fileno(), b"x", MSG_FASTOPEN, address)
            return granted(caller, address, result, *FAILURES)

    return act


STREAM, UNIX_STREAM = (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_STREAM)
REFUSED = inet(HOST, 8561)
WAYS = (
    Way("uring_refused", "io_uring", "IORING_OP_CONNECT, nobody listens", "io_uring", "refused",
        by_uring(REFUSED, STREAM)),
    Way("uring_unrouted", "io_uring", "IORING_OP_CONNECT, no route", "io_uring", "unreachable",
        by_uring(inet(NOWHERE, DISCARD), STREAM)),
    Way("uring_unix_missing", "io_uring", "IORING_OP_CONNECT, Unix, nobody there", "io_uring", "refused",
        by_uring(unix(NOBODY), UNIX_STREAM)),
    Way("i386_refused", "connect_ia32", "connect(2) of i386, nobody listens", "connect_ia32", "refused",
        by_i386(REFUSED, number)),
    Way("socketcall_refused", "connect_ia32", "connect(2) by socketcall(2), nobody listens", "socketcall", "refused",
        by_i386(REFUSED, socketcall)),
    Way("fastopen_refused", "fastopen", "sendto(2) with MSG_FASTOPEN, nobody listens", "sendto_fastopen", "refused",
        fastopen(silent=False)),
    Way("fastopen_silent", "fastopen", "sendto(2) with MSG_FASTOPEN, nobody answers", "sendto_fastopen", "timed_out",
        fastopen(silent=True)),
)  # fmt: skip
