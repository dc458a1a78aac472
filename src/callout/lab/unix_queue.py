"""The queue of a Unix listener: a caller that waits for a place in it, and a listener that goes away or stops hearing.

Rule of this file: abstract names, so that no file is left. Behaviour: unix(7), net/unix/af_unix.c
(unix_stream_connect, unix_wait_for_peer).
"""

from __future__ import annotations

import socket

from callout.lab import process
from callout.lab.address import unix
from callout.lab.outcomes import ESTABLISHED, failed
from callout.lab.scenario import Scenario
from callout.lab.world import World

NO_LISTENER = failed("refused", "ECONNREFUSED", "unix_no_listener")


def waiting(world: World, name: str, closes: bool) -> None:
    """A thread waits for a place; then the first connection is accepted, or the listener closes."""
    server = world.unix_listener(name, backlog=0)
    with (
        server,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as second,
    ):
        world.connect(first, unix(name))
        with process.blocked_thread(lambda: world.connect(second, unix(name))):
            if closes:
                server.close()
            else:
                server.accept()[0].close()


def place_came(world: World) -> None:
    """A caller waits for a place in the queue, and gets it."""
    waiting(world, "\0callout-lab-place", closes=False)


def listener_closed(world: World) -> None:
    """A caller waits for a place in the queue, and the listener closes."""
    waiting(world, "\0callout-lab-closed", closes=True)


def shut_down(world: World) -> None:
    """A listener that was shut down takes nobody any more."""
    name = "\0callout-lab-shut"
    with world.unix_listener(name) as server, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        server.shutdown(socket.SHUT_RD)
        world.arranged("the listener has called shutdown(2)")
        world.connect(caller, unix(name))


UNIX = ("AF_UNIX",)
SCENARIOS = (
    Scenario("un_waits", "unix", "waits for a place in the queue", place_came, (ESTABLISHED, ESTABLISHED),
             needs=("numbers",), address_families=UNIX),
    Scenario("un_waits_closed", "unix", "waits for a place, and the listener closes", listener_closed,
             (ESTABLISHED, NO_LISTENER), needs=("numbers",), address_families=UNIX),
    Scenario("un_shut", "unix", "the listener was shut down", shut_down, (NO_LISTENER,), address_families=UNIX),
)  # fmt: skip
