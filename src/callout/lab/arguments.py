"""The caller's mistakes: wrong descriptor, pointer, length or family. Nothing is ever sent.

The kernel checks in this order: descriptor, length, pointer, then whether it is a socket (net/socket.c,
__sys_connect), then what the family asks for.
"""

from __future__ import annotations

import errno
import os

from callout.lab.address import inet, inet6
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

PEER = inet("127.0.0.1", 8086)
BAD_LENGTH = Expected("invalid", "EINVAL", "bad_length", -errno.EINVAL)


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


SCENARIOS = (
    Scenario(
        "bad_fd", "arguments", "the descriptor is not open", bad_descriptor,
        (Expected("invalid", "EBADF", "bad_descriptor", -errno.EBADF),), demo=True,
    ),
    Scenario(
        "not_socket", "arguments", "the descriptor is not a socket", not_a_socket,
        (Expected("invalid", "ENOTSOCK", "not_a_socket", -errno.ENOTSOCK),),
    ),
    Scenario(
        "bad_pointer", "arguments", "the address cannot be read", bad_pointer,
        (Expected("invalid", "EFAULT", "bad_pointer", -errno.EFAULT),),
    ),
    Scenario("bad_length", "arguments", "too short, too long, negative", bad_length, (BAD_LENGTH,) * 3),
    Scenario(
        "family_mismatch", "arguments", "an IPv6 address on an IPv4 socket", family_mismatch,
        (Expected("invalid", "EAFNOSUPPORT", "family_mismatch", -errno.EAFNOSUPPORT),),
    ),
)  # fmt: skip
