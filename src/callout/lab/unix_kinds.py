"""Unix sockets apart from plain streams: other types, other names, other rights, other namespaces.

Rule of this file: as in ``unix``, paths lie on the child's own file system.
Behaviour: unix(7), path_resolution(7), net/unix/af_unix.c (unix_find_other, unix_may_send).
"""

from __future__ import annotations

import os
import socket
import struct

from callout.lab import libc, process
from callout.lab.address import UNSPEC, inet, unix
from callout.lab.namespace import RUN
from callout.lab.outcomes import (
    ASSOCIATED,
    BAD_LENGTH,
    BLIND,
    CONNECTED_ALREADY,
    DISSOLVED,
    ESTABLISHED,
    failed,
    invalid,
)
from callout.lab.scenario import Scenario
from callout.lab.world import World

STREAM, DGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET


def make(kind: int = STREAM, name: str = "") -> socket.socket:
    """A fresh Unix socket, bound if it is to have a name."""
    fresh = socket.socket(socket.AF_UNIX, kind)
    if name:
        fresh.bind(name)
    return fresh


def no_nul(world: World) -> None:
    """A path needs no NUL at its end: the length tells."""
    path = f"{RUN}/no-nul.sock"
    with world.unix_listener(path), make() as caller:
        world.connect(caller, unix(path)[:-1])


def trailing_nul(world: World) -> None:
    """An abstract name is every byte that the length covers: a NUL more is another name."""
    name = "\0callout-lab-nul"
    with world.unix_listener(name), make() as caller, make() as other:
        world.connect(caller, unix(name))
        world.connect(other, unix(name) + b"\0")


def full_length(world: World) -> None:
    """A path of 108 bytes has no room for a NUL; there is no such file."""
    with make() as caller:
        world.connect(caller, unix(f"{RUN}/".ljust(108, "x"))[:-1])


def relative(world: World) -> None:
    """A path may be relative to the caller's directory."""

    def act() -> None:
        os.chdir(RUN)
        with make() as caller:
            world.connect(caller, unix("relative.sock"))

    with world.unix_listener(f"{RUN}/relative.sock"):
        process.run(act)


def other_network(world: World) -> None:
    """Abstract names belong to a network namespace, paths do not."""
    name, path = "\0callout-lab-netns", f"{RUN}/netns.sock"

    def act() -> None:
        libc.unshare(libc.CLONE_NEWNET)
        with make() as caller, make() as other:
            world.connect(caller, unix(name))
            world.connect(other, unix(path))

    with world.unix_listener(name), world.unix_listener(path):
        process.run(act)


def not_a_socket(world: World) -> None:
    """A directory and an ordinary file refuse as a socket without a listener does."""
    with open(f"{RUN}/file", "w"), make() as caller:
        world.connect(caller, unix(RUN))
        world.connect(caller, unix(f"{RUN}/file"))


def stale(world: World) -> None:
    """The file of a socket that is gone."""
    world.unix_listener(f"{RUN}/stale.sock").close()
    with make() as caller:
        world.connect(caller, unix(f"{RUN}/stale.sock"))


def bad_paths(world: World) -> None:
    """A file as a directory; a link to itself."""
    with open(f"{RUN}/plain", "w"), make() as caller:
        os.symlink("loop", f"{RUN}/loop")
        world.connect(caller, unix(f"{RUN}/plain/x.sock"))
        world.connect(caller, unix(f"{RUN}/loop"))


def long_name(world: World) -> None:
    """A link leads to a name of more than 255 bytes, which a path of 108 cannot hold itself."""
    with make() as caller:
        os.symlink("x" * 256, f"{RUN}/long")
        world.connect(caller, unix(f"{RUN}/long"))


def no_permission(world: World) -> None:
    """As nobody: no permission to write to the socket, none to search its directory."""
    path, hidden = f"{RUN}/private.sock", f"{RUN}/hidden"

    def act() -> None:
        process.become_nobody()
        for name in (path, f"{hidden}/x.sock"):
            with make() as caller:
                world.connect(caller, unix(name))

    os.mkdir(hidden, 0o700)
    with world.unix_listener(path), world.unix_listener(f"{hidden}/x.sock"):
        os.chmod(path, 0o500)
        process.run(act)


def wrong_type(world: World) -> None:
    """By path the types must match; an abstract name is looked up with its type."""
    path, name = f"{RUN}/datagram.sock", "\0callout-lab-type"
    with make(DGRAM, path), world.unix_listener(name, kind=SEQPACKET), make() as caller:
        world.connect(caller, unix(path))
        world.connect(caller, unix(name))


def backlog(world: World) -> None:
    """A queue of one place; two more that do not wait."""
    name = "\0callout-lab-backlog"
    with world.unix_listener(name, backlog=0), make() as first, make() as second, make() as third:
        world.connect(first, unix(name))
        for caller in (second, third):
            caller.setblocking(False)
            world.connect(caller, unix(name))


def to_itself(world: World) -> None:
    """A stream socket cannot be its own peer, a datagram socket can."""
    name, other = "\0callout-lab-self", "\0callout-lab-self-dgram"
    with make(STREAM, name) as stream, make(DGRAM, other) as datagram:
        stream.listen()
        world.connect(stream, unix(name))
        world.connect(datagram, unix(other))


def pair(world: World) -> None:
    """The ends of a socketpair are connected already."""
    first, second = socket.socketpair()
    with first, second, world.unix_listener("\0callout-lab-pair"):
        world.connect(first, unix("\0callout-lab-pair"))


def again(world: World) -> None:
    """A stream connects once, and takes no AF_UNSPEC."""
    name = "\0callout-lab-again"
    with world.unix_listener(name), make() as caller, make() as other:
        world.connect(caller, unix(name))
        world.connect(caller, unix(name))
        world.connect(other, UNSPEC)


def wrong_address(world: World) -> None:
    """No name at all, too long a name, another family."""
    with make() as caller:
        world.connect(caller, unix("")[:2])
        world.connect(caller, unix(f"{RUN}/".ljust(109, "x")))
        world.connect(caller, inet("127.0.0.1", 1))


def seqpacket(world: World) -> None:
    """Connections that keep the borders of messages."""
    name = "\0callout-lab-seqpacket"
    with world.unix_listener(name, kind=SEQPACKET), make(SEQPACKET) as caller, make(SEQPACKET) as other:
        world.connect(caller, unix(name))
        world.connect(other, unix(name + "-none"))


def datagrams(world: World) -> None:
    """A datagram socket has a peer, another, then none."""
    first, second = "\0callout-lab-dgram", f"{RUN}/dgram.sock"
    with make(DGRAM, first), make(DGRAM, second), make(DGRAM) as caller:
        world.connect(caller, unix(first))
        world.connect(caller, unix(second))
        world.connect(caller, UNSPEC)


def peer_taken(world: World) -> None:
    """A datagram socket that has a peer takes nothing from others."""
    taken, friend = "\0callout-lab-taken", "\0callout-lab-friend"
    with make(DGRAM, taken) as one, make(DGRAM, friend), make(DGRAM) as stranger:
        world.connect(one, unix(friend))
        world.connect(stranger, unix(taken))


def autobound(world: World) -> None:
    """A name of the kernel's making: five hexadecimal digits (unix(7), autobind)."""
    with make() as server, make() as caller:
        server.bind("")
        server.listen()
        name = server.getsockname()
        assert isinstance(name, bytes)
        world.connect(caller, struct.pack("=H", socket.AF_UNIX) + name)


NOBODY_THERE = failed("refused", "ECONNREFUSED", "unix_no_listener")
NO_PATH = failed("unreachable", "ENOENT", "unix_no_path")
FULL = failed("exhausted", "EAGAIN", "unix_backlog_full")
PERMISSION = failed("denied", "EACCES", "unix_permission")
FILES = ("tmpfs",)
SCENARIOS = (
    Scenario("un_nonul", "unix", "a path without its NUL", no_nul, (ESTABLISHED,), needs=FILES),
    Scenario("un_abs", "unix", "an abstract name with a NUL more", trailing_nul, (ESTABLISHED, NOBODY_THERE)),
    Scenario("un_full", "unix", "a path of 108 bytes", full_length, (NO_PATH,), needs=FILES),
    Scenario("un_relative", "unix", "a relative path", relative, (ESTABLISHED,), needs=FILES, forks=True),
    Scenario(
        "un_netns", "unix", "from another network namespace", other_network, (NOBODY_THERE, ESTABLISHED),
        needs=FILES, forks=True,
    ),
    Scenario(
        "un_notsock", "unix", "a directory, a file", not_a_socket, (NOBODY_THERE, NOBODY_THERE), needs=FILES,
    ),
    Scenario("un_stale", "unix", "the file of a socket that is gone", stale, (NOBODY_THERE,), needs=FILES),
    Scenario(
        "un_badpath", "unix", "paths that lead nowhere", bad_paths,
        (failed("unreachable", "ENOTDIR", "unix_no_path"), failed("unreachable", "ELOOP", "unix_no_path")),
        needs=FILES,
    ),
    Scenario(
        "un_longname", "unix", "a link to a name of 256 bytes", long_name,
        (failed("unreachable", "ENAMETOOLONG", "unix_no_path"),), needs=FILES,
    ),
    Scenario(
        "un_eacces", "unix", "no permission, as nobody", no_permission, (PERMISSION, PERMISSION),
        needs=(*FILES, "users"), forks=True,
    ),
    Scenario(
        "un_prototype", "unix", "a socket of another type", wrong_type,
        (invalid("EPROTOTYPE", "unix_wrong_type"), NOBODY_THERE), needs=FILES,
    ),
    Scenario("un_eagain", "unix", "the queue is full", backlog, (ESTABLISHED, FULL, FULL)),
    Scenario(
        "un_self", "unix", "a socket connects to itself", to_itself, (invalid("EINVAL", "socket_listens"), ASSOCIATED),
    ),
    Scenario("un_pair", "unix", "an end of a socketpair", pair, (CONNECTED_ALREADY,)),
    Scenario(
        "un_again", "unix", "called again; AF_UNSPEC", again,
        (ESTABLISHED, CONNECTED_ALREADY, invalid("EINVAL", "family_mismatch")),
    ),
    Scenario(
        "un_wrong", "unix", "no name, too long a name, another family", wrong_address,
        (BAD_LENGTH, BAD_LENGTH, invalid("EINVAL", "family_mismatch")),
    ),
    Scenario("un_seqpacket", "unix", "SOCK_SEQPACKET", seqpacket, (ESTABLISHED, NOBODY_THERE)),
    Scenario(
        "un_dgram", "unix", "SOCK_DGRAM: set, set again, dissolved", datagrams,
        (ASSOCIATED, ASSOCIATED, DISSOLVED), needs=FILES,
    ),
    Scenario(
        "un_dgram_taken", "unix", "a datagram peer that has another peer", peer_taken,
        (ASSOCIATED, failed("denied", "EPERM", "unix_peer_taken", BLIND)),
    ),
    Scenario("un_autobind", "unix", "a name of the kernel's making", autobound, (ESTABLISHED,)),
)  # fmt: skip
