"""The caller's mistakes: wrong descriptor, pointer, length or family. Nothing is ever sent.

The kernel checks in this order: descriptor, length, pointer, then whether it is a socket (net/socket.c,
__sys_connect), then what the family asks for.
"""

from __future__ import annotations

import os
import select

from callout.lab.address import inet, inet6
from callout.lab.outcomes import BAD_LENGTH, invalid
from callout.lab.scenario import Scenario
from callout.lab.world import World

PEER = inet("127.0.0.1", 8086)


def bad_descriptor(world: World) -> None:
    """-1, as of a socket(2) whose failure went unnoticed."""
    world.connect(-1, PEER)


def not_a_socket(world: World) -> None:
    """An open descriptor of something else."""
    fd = os.open("/dev/null", os.O_RDWR)
    try:
        world.connect(fd, PEER)
    finally:
        os.close(fd)


def bad_pointer(world: World) -> None:
    """The address would be in the first page, which is never mapped (mmap_min_addr)."""
    with world.tcp() as caller:
        world.connect(caller, 1, addrlen=16)


def bad_length(world: World) -> None:
    """Shorter than an IPv4 address, longer than any address may be, negative."""
    for length in (8, 129, -1):
        with world.tcp() as caller:
            world.connect(caller, PEER.ljust(129, b"\0"), addrlen=length)


def family_mismatch(world: World) -> None:
    """An IPv6 address on an IPv4 socket."""
    with world.tcp() as caller:
        world.connect(caller, inet6("::1", 8086))


def not_sockets(world: World) -> None:
    """Everything else that a descriptor can be."""
    reader, writer = os.pipe()
    others = [
        reader, writer,
        os.open("/", os.O_RDONLY | os.O_DIRECTORY),
        os.open("/proc/self/stat", os.O_RDONLY),
        os.eventfd(0),
        os.memfd_create("callout-lab"),
        os.pidfd_open(os.getpid()),
    ]  # fmt: skip
    with select.epoll() as epoll:
        for fd in (*others, epoll.fileno()):
            world.connect(fd, PEER)
    for fd in others:
        os.close(fd)


def not_open(world: World) -> None:
    """A descriptor that was closed; the largest number; one opened by O_PATH, which is good for nothing."""
    with world.tcp() as caller:
        closed = caller.fileno()
    world.connect(closed, PEER)
    world.connect(2**31 - 1, PEER)
    path = os.open("/", os.O_PATH)
    try:
        world.connect(path, PEER)
    finally:
        os.close(path)


def lengths_and_pointers(world: World) -> None:
    """Wrong by one, none, and pointers to nowhere."""
    with world.tcp() as caller:
        for length in (3, 15, 0):
            world.connect(caller, PEER, addrlen=length)
        world.connect(caller, 0, addrlen=0)
        world.connect(caller, 0, addrlen=16)
        world.connect(caller, -1 & (2**64 - 1), addrlen=16)


def order(world: World) -> None:
    """With two mistakes in one call, the one that the kernel looks at first."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        world.connect(-1, 1, addrlen=16)
        world.connect(null, 1, addrlen=16)
        world.connect(null, PEER, addrlen=-1)
    finally:
        os.close(null)


BAD_DESCRIPTOR = invalid("EBADF", "bad_descriptor")
NOT_A_SOCKET = invalid("ENOTSOCK", "not_a_socket")
BAD_POINTER = invalid("EFAULT", "bad_pointer")
SCENARIOS = (
    Scenario(
        "bad_fd", "arguments", "the descriptor is not open", bad_descriptor,
        (BAD_DESCRIPTOR,), demo=True,
    ),
    Scenario(
        "not_socket", "arguments", "the descriptor is not a socket", not_a_socket,
        (NOT_A_SOCKET,),
    ),
    Scenario(
        "bad_pointer", "arguments", "the address cannot be read", bad_pointer,
        (BAD_POINTER,),
    ),
    Scenario("bad_length", "arguments", "too short, too long, negative", bad_length, (BAD_LENGTH,) * 3),
    Scenario(
        "family_mismatch", "arguments", "an IPv6 address on an IPv4 socket", family_mismatch,
        (invalid("EAFNOSUPPORT", "family_mismatch"),),
    ),
    Scenario("not_sockets", "arguments", "descriptors of everything else", not_sockets, (NOT_A_SOCKET,) * 8),
    Scenario("not_open", "arguments", "closed, too large, O_PATH", not_open, (BAD_DESCRIPTOR,) * 3),
    Scenario(
        "tcp_badlen", "arguments", "lengths and pointers", lengths_and_pointers,
        (BAD_LENGTH, BAD_LENGTH, BAD_LENGTH, BAD_LENGTH, BAD_POINTER, BAD_POINTER),
    ),
    Scenario(
        "check_order", "arguments", "two mistakes in one call", order, (BAD_DESCRIPTOR, BAD_POINTER, BAD_LENGTH),
    ),
)  # fmt: skip
