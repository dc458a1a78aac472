"""A socket that is called from twice: what the first call left behind decides about the second.

Behaviour: connect(2), tcp(7), net/ipv4/af_inet.c (__inet_stream_connect), net/ipv4/tcp.c (tcp_disconnect).
"""

from __future__ import annotations

import errno
import select
import socket

from callout.lab import process
from callout.lab.address import UNSPEC, inet
from callout.lab.outcomes import (
    CLOSED_PENDING,
    CONNECTED_ALREADY,
    DISSOLVED,
    ESTABLISHED,
    ESTABLISHED_LATER,
    REFUSED_LATER,
    failed,
    invalid,
    later,
)
from callout.lab.scenario import Scenario
from callout.lab.world import World

HOST = "127.0.0.1"


def until_over(caller: socket.socket) -> None:
    """Waits for the end of an attempt without asking for its error."""
    poll = select.poll()
    poll.register(caller, select.POLLOUT)
    poll.poll()


def error_unread(world: World) -> None:
    """The first attempt's error is left to be told by the second call."""
    with world.tcp(blocking=False) as caller:
        first = world.begin(caller, inet(HOST, 8200))
        until_over(caller)
        world.tell(first, errno.ECONNREFUSED)
        world.connect(caller, inet(HOST, 8200))


def error_read(world: World) -> None:
    """The first attempt's error was told by SO_ERROR, so the second call can only say that it failed."""
    with world.tcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 8201), wait=True)
        world.connect(caller, inet(HOST, 8201))


def third_time(world: World) -> None:
    """After the error was told for good, the socket may be used again."""
    with world.tcp() as caller, world.tcp() as other:
        world.connect(caller, inet(HOST, 8202))
        with world.listener(HOST, 8202):
            world.connect(caller, inet(HOST, 8202))
            world.connect(other, inet(HOST, 8202))


def confirmed(world: World) -> None:
    """A finished non-blocking attempt is confirmed by a second call with 0; only a third finds it connected."""
    confirm(world, 8203)


def confirm(world: World, port: int) -> None:
    """A non-blocking attempt, and two more calls when it is over."""
    with world.listener(HOST, port), world.tcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, port), wait=True)
        world.connect(caller, inet(HOST, port))
        world.connect(caller, inet(HOST, port))


def unspec_pending(world: World) -> None:
    """AF_UNSPEC ends an attempt that is under way."""
    with world.silent(HOST, 8204), world.tcp(blocking=False) as caller:
        first = world.begin(caller, inet(HOST, 8204))
        world.connect(caller, UNSPEC)
        world.tell(first, caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def unspec_connected(world: World) -> None:
    """AF_UNSPEC breaks a connection off; the socket may connect again."""
    with world.listener(HOST, 8205), world.tcp() as caller:
        world.connect(caller, inet(HOST, 8205))
        world.connect(caller, UNSPEC)
        world.connect(caller, inet(HOST, 8205))


def unspec_while_blocked(world: World) -> None:
    """One thread waits in its call while another disconnects the socket."""
    with (
        world.silent(HOST, 8206),
        world.tcp() as caller,
        process.blocked_thread(lambda: world.connect(caller, inet(HOST, 8206))),
    ):
        world.connect(caller, UNSPEC)


def listening(world: World) -> None:
    """A socket that listens cannot connect."""
    with world.listener(HOST, 8207), world.listener(HOST, 8208) as caller:
        world.connect(caller, inet(HOST, 8207))


def to_itself(world: World) -> None:
    """A socket that calls the port that it is bound to: a simultaneous open with itself."""
    with world.tcp() as caller:
        caller.bind((HOST, 8209))
        world.connect(caller, inet(HOST, 8209))


def simultaneous(world: World) -> None:
    """Two sockets call each other's ports; the firewall keeps the first SYN from being refused."""
    with world.tcp(blocking=False) as first, world.tcp() as second:
        first.bind((HOST, 8210))
        second.bind((HOST, 8211))
        attempt = world.begin(first, inet(HOST, 8211))
        world.connect(second, inet(HOST, 8210))
        world.tell(attempt, world.outcome(first))


def listener_closed(world: World) -> None:
    """Established by the kernel, then reset because the listener closes before anybody accepts."""
    with world.tcp(blocking=False) as caller:
        with world.listener(HOST, 8212):
            attempt = world.begin(caller, inet(HOST, 8212))
            until_over(caller)
        world.tell(attempt)
        if (error := world.outcome(caller)) != errno.ECONNRESET:
            raise RuntimeError(f"the connection was to be reset, not {error}")


def backlog_full(world: World) -> None:
    """A backlog of 0 takes one connection; the SYNs of others are dropped."""
    with (
        world.listener(HOST, 8213, backlog=0),
        world.tcp(blocking=False) as first,
        world.tcp(blocking=False) as second,
        world.tcp(blocking=False) as third,
    ):
        world.connect(first, inet(HOST, 8213), wait=True)
        world.connect(second, inet(HOST, 8213))
        world.connect(third, inet(HOST, 8213))


SCENARIOS = (
    Scenario(
        "tcp_nb_err2", "again", "the second call gets the first one's error", error_unread,
        (REFUSED_LATER, failed("refused", "ECONNREFUSED", "earlier_attempt_failed")),
    ),
    Scenario(
        "tcp_aborted", "again", "called again after the error was read", error_read,
        (REFUSED_LATER, failed("aborted", "ECONNABORTED", "earlier_attempt_failed")),
    ),
    Scenario(
        "tcp_retry", "again", "refused, then called again on the same socket", third_time,
        (failed("refused", "ECONNREFUSED", "no_listener"), ESTABLISHED, ESTABLISHED),
    ),
    Scenario(
        "tcp_confirm", "again", "called again when finished: 0, then EISCONN", confirmed,
        (ESTABLISHED_LATER, ESTABLISHED, CONNECTED_ALREADY),
    ),
    Scenario(
        "tcp_unspec_pend", "again", "AF_UNSPEC ends an attempt under way", unspec_pending,
        (later("aborted", "ECONNRESET", "closed_by_application"), DISSOLVED),
    ),
    Scenario(
        "tcp_unspec", "again", "AF_UNSPEC disconnects", unspec_connected, (ESTABLISHED, DISSOLVED, ESTABLISHED),
    ),
    Scenario(
        "tcp_disc_race", "again", "AF_UNSPEC while another thread waits in the call", unspec_while_blocked,
        (failed("aborted", "EPIPE", "closed_by_application"), DISSOLVED), needs=("numbers", "linux_6_7"),
    ),
    Scenario("tcp_listening", "again", "a listening socket connects", listening,
        (invalid("EISCONN", "socket_listens"),),
    ),
    Scenario("tcp_self", "again", "a socket connects to itself", to_itself, (ESTABLISHED,)),
    Scenario(
        "tcp_simultaneous", "again", "two sockets call each other", simultaneous,
        (ESTABLISHED_LATER, ESTABLISHED),
        firewall="tcp sport 8211 tcp dport 8210 tcp flags & rst == rst drop",
    ),
    Scenario(
        "tcp_listener_closed", "again", "established, then reset before anybody accepts", listener_closed,
        (ESTABLISHED_LATER,),
    ),
    Scenario(
        "tcp_backlog_full", "again", "the listener's queue is full", backlog_full,
        (ESTABLISHED_LATER, CLOSED_PENDING, CLOSED_PENDING),
    ),
)  # fmt: skip
