"""TCP Fast Open: the first data go with the SYN, so connect(2) has nothing to do, and returns 0 at once.

Only a second connection can do so: the first fetches a cookie from the server.
Behaviour: tcp(7) (TCP_FASTOPEN, TCP_FASTOPEN_CONNECT), RFC 7413, net/ipv4/tcp_fastopen.c.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence

from callout.lab import libc, process
from callout.lab.address import UNSPEC, inet
from callout.lab.outcomes import (
    CONNECTED_ALREADY,
    ESTABLISHED,
    ESTABLISHED_LATER,
    UNDER_WAY_ALREADY,
)
from callout.lab.scenario import Expected, Scenario
from callout.lab.waiting import on_alarm
from callout.lab.world import World

HOST = "127.0.0.1"
TCP_SYNCNT, TCP_FASTOPEN_CONNECT = 7, 30  # include/uapi/linux/tcp.h
MSG_FASTOPEN = 0x2000_0000  # include/linux/socket.h
BOTH = "3"  # sysctl tcp_fastopen: as client and as server


def server(world: World, port: int) -> socket.socket:
    """A listener that gives out cookies."""
    listener = world.listener(HOST, port)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    return listener


def fast(world: World, blocking: bool = True) -> socket.socket:
    """A socket whose connect(2) leaves the SYN to the first write."""
    caller = world.tcp(blocking=blocking)
    caller.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    return caller


def fetch_cookie(world: World, port: int) -> None:
    """A first connection, whose SYN asks for a cookie. Cookies are kept by host, not by port."""
    with server(world, port), fast(world) as caller:
        world.connect(caller, inet(HOST, port))


def deferred(world: World) -> None:
    """With a cookie the call returns 0 at once, and the SYN goes with the data."""
    world.set("ipv4/tcp_fastopen", BOTH)
    fetch_cookie(world, 8260)
    with server(world, 8260), fast(world) as caller:
        world.connect(caller, inet(HOST, 8260))
        caller.send(b"x")


def cookie_later(world: World) -> None:
    """Without a cookie a non-blocking call is like any other."""
    world.set("ipv4/tcp_fastopen", BOTH)
    with server(world, 8261), fast(world, blocking=False) as caller:
        world.connect(caller, inet(HOST, 8261), wait=True)


def refused(world: World) -> None:
    """With a cookie the call returns 0 though nobody listens: the first write tells."""
    world.set("ipv4/tcp_fastopen", BOTH)
    fetch_cookie(world, 8262)
    with fast(world) as caller:
        attempt = world.begin(caller, inet(HOST, 8263))
        try:
            caller.send(b"x")
        except OSError as error:
            world.tell(attempt, error.errno or 0)


def unanswered(world: World) -> None:
    """With a cookie the call returns 0, and the first write waits in vain."""
    world.set("ipv4/tcp_fastopen", BOTH)
    fetch_cookie(world, 8264)
    with world.silent(HOST, 8265), fast(world) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, 1)
        attempt = world.begin(caller, inet(HOST, 8265))
        try:
            caller.send(b"x")
        except OSError as error:
            world.tell(attempt, error.errno or 0)


def unsent(world: World) -> None:
    """With a cookie the call returns 0; called again and closed without a write, it never sent a packet.

    Called again without O_NONBLOCK it would wait for ever for an answer to the SYN that nobody sent.
    """
    world.set("ipv4/tcp_fastopen", BOTH)
    fetch_cookie(world, 8266)
    with server(world, 8266), fast(world, blocking=False) as caller:
        world.connect(caller, inet(HOST, 8266))
        world.connect(caller, inet(HOST, 8266))


def sendto(
    world: World, caller: socket.socket, address: bytes, going_on: Sequence[int] = (-errno.EINPROGRESS,)
) -> None:
    """sendto(2) with MSG_FASTOPEN, reported with the error that it returns, unless the attempt goes on after it."""
    attempt = world.about(caller, address, call="sendto_fastopen")
    result = libc.sendto(attempt.fd, b"x", MSG_FASTOPEN, address)
    world.tell(attempt, -result if result < 0 and result not in going_on else 0)


def sent_then_called(world: World) -> None:
    """sendto(2) asks for a cookie and says EINPROGRESS; connect(2) finds the attempt under way."""
    world.set("ipv4/tcp_fastopen", BOTH)
    with world.silent(HOST, 8267), world.tcp(blocking=False) as caller:
        sendto(world, caller, inet(HOST, 8267))
        world.connect(caller, inet(HOST, 8267))


def interrupted(restart: bool) -> Callable[[World], None]:
    """sendto(2) waits for the answer to its SYN, and a signal comes."""

    def act(world: World) -> None:
        def send() -> None:
            on_alarm(restart)
            with world.tcp() as caller:
                sendto(world, caller, inet(HOST, port), [] if restart else [-errno.EINTR])

        port = 8269 if restart else 8270
        with world.silent(HOST, port) as server, process.blocked(send, "sendto") as child:
            os.kill(child, signal.SIGALRM)
            if restart:
                process.wait_in_connect(child, call="sendto")
                world.hear(server)

    act.__doc__ = "sendto(2) waits for the answer to its SYN, and a signal comes: " + (
        "with SA_RESTART it is entered again, and it is one attempt." if restart else "EINTR, then closed."
    )
    return act


def switched_off(world: World) -> None:
    """Where Fast Open is off, sendto(2) sends nothing."""
    world.set("ipv4/tcp_fastopen", "0")
    with world.listener(HOST, 8268), world.tcp() as caller:
        sendto(world, caller, inet(HOST, 8268))


def unspec(world: World) -> None:
    """sendto(2) to AF_UNSPEC neither connects nor dissolves."""
    with world.tcp() as caller:
        sendto(world, caller, UNSPEC)


def unsupported(cause: str) -> Expected:
    """Refused before there is a SYN: seen where the send itself is."""
    return Expected(
        "invalid",
        "EOPNOTSUPP",
        cause,
        None,
        seen_by=("trampoline",),
        fields={"connect.entry": "sendto_fastopen"},
    )


SCENARIOS = (
    Scenario(
        "tfo_connect", "fastopen", "with a cookie: 0 at once, SYN with the data", deferred,
        (ESTABLISHED, ESTABLISHED), needs=("fastopen",), alone=True,
    ),
    Scenario(
        "tfo_cookie", "fastopen", "non-blocking, without a cookie", cookie_later, (ESTABLISHED_LATER,),
        needs=("fastopen",), alone=True,
    ),
    Scenario(
        "tfo_refused", "fastopen", "with a cookie: 0 at once, refused at the write", refused,
        (ESTABLISHED, Expected("refused", "ECONNREFUSED", "no_listener", 0)), needs=("fastopen",), alone=True,
    ),
    Scenario(
        "tfo_unanswered", "fastopen", "with a cookie: 0 at once, never answered", unanswered,
        (ESTABLISHED, Expected("timed_out", "ETIMEDOUT", "syn_unanswered", 0)), needs=("fastopen",),
        alone=True, slow=True,
    ),
    Scenario(
        "tfo_unsent", "fastopen", "with a cookie: 0 at once, closed without a write", unsent,
        (
            ESTABLISHED,
            Expected("aborted", None, "closed_by_application", 0, fields={"connect.evidence": None}),  # no SYN
            CONNECTED_ALREADY,
        ),
        needs=("fastopen",), alone=True,
    ),
    Scenario(
        "tfo_ealready", "fastopen", "sendto(2), then connect(2)", sent_then_called,
        (
            Expected(
                "aborted", None, "closed_by_application", None, fields={"connect.entry": "sendto_fastopen"},
            ),
            UNDER_WAY_ALREADY,
        ),
        needs=("fastopen",), alone=True,
        entries=("sendto_fastopen", "connect"),
    ),
    Scenario(
        "tfo_restart", "fastopen", "sendto(2), a signal with SA_RESTART, answered", interrupted(restart=True),
        (Expected("established", None, None, None, fields={"connect.entry": "sendto_fastopen"}),),
        needs=("numbers",), slow=True, alone=True, entries=("sendto_fastopen",),
    ),
    Scenario(
        "tfo_eintr", "fastopen", "sendto(2), a signal ends it, then closed", interrupted(restart=False),
        (
            Expected(
                "aborted", None, "closed_by_application", None, fields={"connect.entry": "sendto_fastopen"},
            ),
        ),
        needs=("numbers",), alone=True, entries=("sendto_fastopen",),
    ),
    Scenario(
        "tfo_off", "fastopen", "sendto(2) where Fast Open is off", switched_off, (unsupported("fastopen_off"),),
        needs=("fastopen",), alone=True,
        entries=("sendto_fastopen",),
    ),
    Scenario(
        "tfo_unspec", "fastopen", "sendto(2) to AF_UNSPEC", unspec, (unsupported("family_unsupported"),),
        entries=("sendto_fastopen",),
    ),
)  # fmt: skip
