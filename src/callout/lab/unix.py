"""Unix stream sockets: by path and by abstract name. The answer is always there when the call returns.

Rule of this file: paths lie on the child's own file system (need ``tmpfs``), so no file outlives it.
Behaviour: unix(7), net/unix/af_unix.c.
"""

from __future__ import annotations

import errno
import socket

from callout.lab.address import unix
from callout.lab.namespace import RUN
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

ESTABLISHED = Expected("established", None, None, 0)
ABSTRACT = "\0callout-lab"


def stream(blocking: bool = True) -> socket.socket:
    """A fresh Unix stream socket."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    caller.setblocking(blocking)
    return caller


def path_ok(world: World) -> None:
    """A listener on a path."""
    with world.unix_listener(f"{RUN}/database.sock"), stream() as caller:
        world.connect(caller, unix(f"{RUN}/database.sock"))


def abstract_ok(world: World) -> None:
    """A listener on an abstract name."""
    with world.unix_listener(ABSTRACT), stream() as caller:
        world.connect(caller, unix(ABSTRACT))


def missing(world: World) -> None:
    """No such file."""
    with stream() as caller:
        world.connect(caller, unix(f"{RUN}/docker.sock"))


def refused(world: World) -> None:
    """A socket file whose socket does not listen."""
    with stream() as bound, stream() as caller:
        bound.bind(f"{RUN}/idle.sock")
        world.connect(caller, unix(f"{RUN}/idle.sock"))


def backlog_full(world: World) -> None:
    """A backlog of 0 lets one caller wait; the next, which does not want to block, is turned away."""
    path = f"{RUN}/busy.sock"
    with world.unix_listener(path, backlog=0), stream() as first, stream(blocking=False) as second:
        world.connect(first, unix(path))
        world.connect(second, unix(path))


SCENARIOS = (
    Scenario(
        "unix_path", "unix", "a listener on a path", path_ok, (ESTABLISHED,), needs=("tmpfs",), demo=True,
    ),
    Scenario("unix_abstract", "unix", "a listener on an abstract name", abstract_ok, (ESTABLISHED,)),
    Scenario(
        "unix_missing", "unix", "no such socket file", missing,
        (Expected("unreachable", "ENOENT", "unix_no_path", -errno.ENOENT),), needs=("tmpfs",), demo=True,
    ),
    Scenario(
        "unix_refused", "unix", "a socket file, but nobody listens", refused,
        (Expected("refused", "ECONNREFUSED", "unix_no_listener", -errno.ECONNREFUSED),), needs=("tmpfs",),
    ),
    Scenario(
        "unix_eagain", "unix", "the listener's queue is full", backlog_full,
        (ESTABLISHED, Expected("exhausted", "EAGAIN", "unix_backlog_full", -errno.EAGAIN)), needs=("tmpfs",),
    ),
)  # fmt: skip
