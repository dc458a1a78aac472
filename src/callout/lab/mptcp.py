"""MPTCP: one attempt, whatever its first subflow does below it.

Behaviour: RFC 8684, net/mptcp/protocol.c (mptcp_connect).
"""

from __future__ import annotations

import errno
import socket

from callout.lab import router
from callout.lab.address import inet
from callout.lab.outcomes import IN_PROGRESS, NO_ROUTE
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
IPPROTO_MPTCP = 262  # include/uapi/linux/in.h
FIELDS = {"network.transport": "mptcp"}


def mptcp(blocking: bool = True) -> socket.socket:
    """A fresh MPTCP socket."""
    caller = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    caller.setblocking(blocking)
    return caller


def listener(port: int) -> socket.socket:
    """An MPTCP listener."""
    server = mptcp()
    server.bind((HOST, port))
    server.listen(16)
    return server


def ok(world: World) -> None:
    """A listener that speaks MPTCP answers."""
    with listener(8320), mptcp() as caller:
        world.connect(caller, inet(HOST, 8320))


def plain(world: World) -> None:
    """A listener that speaks TCP only: the connection falls back to it."""
    with world.listener(HOST, 8321), mptcp() as caller:
        world.connect(caller, inet(HOST, 8321))


def refused(world: World) -> None:
    """Nobody listens."""
    with mptcp() as caller:
        world.connect(caller, inet(HOST, 8322))


def nonblocking_ok(world: World) -> None:
    """The answer comes after the call."""
    with listener(8323), mptcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 8323), wait=True)


def nonblocking_refused(world: World) -> None:
    """The RST comes after the call."""
    with mptcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 8324), wait=True)


def close_pending(world: World) -> None:
    """Closed while under way."""
    with world.silent(HOST, 8325), mptcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 8325))


def no_route(world: World) -> None:
    """No route matches: the kernel sets the state before it looks."""
    with mptcp() as caller:
        world.connect(caller, inet("203.0.113.9", 443))


def far_refused(world: World) -> None:
    """Another host answers with a reset."""
    with mptcp() as caller:
        world.connect(caller, inet(router.ROUTER, router.CLOSED))


def far_unreachable(world: World) -> None:
    """A router answers with ICMP, to the subflow."""
    with mptcp() as caller:
        world.connect(caller, inet(router.FILTER_HOST, 445))


OK = Expected("established", None, None, 0, fields=FIELDS)
REFUSED = Expected("refused", "ECONNREFUSED", "no_listener", -errno.ECONNREFUSED, fields=FIELDS)
SCENARIOS = (
    Scenario("mptcp_ok", "mptcp", "a listener answers", ok, (OK,), needs=("mptcp",)),
    Scenario("mptcp_fallback", "mptcp", "a listener of plain TCP answers", plain, (OK,), needs=("mptcp",)),
    Scenario("mptcp_refused", "mptcp", "nobody listens", refused, (REFUSED,), needs=("mptcp",)),
    Scenario(
        "mptcp_nb_ok", "mptcp", "non-blocking, a listener answers", nonblocking_ok,
        (Expected("established", None, None, IN_PROGRESS, fields=FIELDS),), needs=("mptcp",),
    ),
    Scenario(
        "mptcp_nb_refused", "mptcp", "non-blocking, nobody listens", nonblocking_refused,
        (Expected("refused", "ECONNREFUSED", "no_listener", IN_PROGRESS, fields=FIELDS),), needs=("mptcp",),
    ),
    Scenario("mptcp_noroute", "mptcp", "no route matches", no_route, (NO_ROUTE,), needs=("mptcp",)),
    Scenario(
        "mptcp_far", "mptcp", "nobody listens on another host", far_refused,
        (Expected("refused", "ECONNREFUSED", "rst_from_peer", -errno.ECONNREFUSED, fields=FIELDS),),
        needs=("mptcp", "router"),
    ),
    Scenario(
        "mptcp_icmp", "mptcp", "a router has no host there", far_unreachable,
        (Expected("unreachable", "EHOSTUNREACH", "icmp_host_unreachable", -errno.EHOSTUNREACH, fields=FIELDS),),
        needs=("mptcp", "router"), slow=True,
    ),
    Scenario(
        "mptcp_close", "mptcp", "closed while under way", close_pending,
        (Expected("aborted", None, "closed_by_application", IN_PROGRESS, fields=FIELDS),), needs=("mptcp",),
    ),
)  # fmt: skip
