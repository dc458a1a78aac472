"""What the routing table alone decides, before anything is sent.

Addresses are of RFC 5737: 198.51.100.0/24 has the routes that scenarios set, 203.0.113.0/24 never has one.
Behaviour: ip-route(8), net/ipv4/route.c.
"""

from __future__ import annotations

import socket

from callout.lab.address import inet, inet6
from callout.lab.outcomes import BLIND, NO_ROUTE, failed
from callout.lab.scenario import Scenario
from callout.lab.tools import feed
from callout.lab.world import World

UNREACHABLE = "198.51.100.10"
BLACKHOLE = "198.51.100.20"
PROHIBITED = "198.51.100.30"
THROWN = "198.51.100.40"
NOWHERE = "203.0.113.9"
TCP_SYNCNT = 7  # include/uapi/linux/tcp.h


def no_route(world: World) -> None:
    """No route matches."""
    with world.tcp() as caller:
        world.connect(caller, inet(NOWHERE, 443))


def unreachable(world: World) -> None:
    """A route of type unreachable."""
    with world.tcp() as caller:
        world.connect(caller, inet(UNREACHABLE, 443))


def blackhole(world: World) -> None:
    """A route of type blackhole: the error is EINVAL, though the arguments are fine."""
    with world.tcp() as caller:
        world.connect(caller, inet(BLACKHOLE, 443))


def prohibited(world: World) -> None:
    """A route of type prohibit."""
    with world.tcp() as caller:
        world.connect(caller, inet(PROHIBITED, 443))


def thrown(world: World) -> None:
    """A route of type throw ends the search in its table, and there is no other."""
    with world.tcp() as caller:
        world.connect(caller, inet(THROWN, 443))


GONE = """\
link add gone0 type veth peer name gone1
link set gone0 up
addr add 192.0.2.1/24 dev gone0
"""


def device_gone(world: World) -> None:
    """The device that the sockets are bound to has been removed: IPv4 says so, IPv6 finds no route."""
    if reason := feed("ip", "-batch", "-", text=GONE):
        raise RuntimeError(reason)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, world.tcp(socket.AF_INET6) as six:
        for caller in (datagram, six):
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"gone0")
        if reason := feed("ip", "-batch", "-", text="link del gone0\n"):
            raise RuntimeError(reason)
        world.arranged("the sockets are bound to the device gone0 (SO_BINDTODEVICE), which has been removed")
        world.connect(datagram, inet("192.0.2.9", 443))
        world.connect(six, inet6("2001:db8::9", 443))


def multicast(world: World) -> None:
    """TCP has no groups, though a route leads there."""
    with world.tcp() as caller:
        world.connect(caller, inet("233.252.0.1", 443))


def broadcast(world: World) -> None:
    """TCP has no broadcasts."""
    with world.tcp() as caller:
        world.connect(caller, inet("192.0.2.255", 443))


def no_neighbour(world: World) -> None:
    """The next hop does not answer ARP: after three questions, a second apart, the kernel gives up."""
    with world.tcp() as caller:
        caller.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, 4)
        world.connect(caller, inet("192.0.2.77", 443))


def no_neighbour6(world: World) -> None:
    """The next hop does not answer neighbour discovery."""
    with world.tcp(socket.AF_INET6) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, 4)
        world.connect(caller, inet6("2001:db8::77", 443))


# IPv6 drops without saying why (net/ipv6/ndisc.c, ndisc_error_report)
NEIGHBOUR6 = (failed("unreachable", "EHOSTUNREACH", "neighbour_failed", BLIND),)
NEIGHBOUR = (failed("unreachable", "EHOSTUNREACH", "neighbour_failed"),)
NOT_UNICAST = (failed("unreachable", "ENETUNREACH", "not_unicast"),)
SCENARIOS = (
    Scenario(
        "rt_none", "routing", "no route matches", no_route,
        (NO_ROUTE,), demo=True,
    ),
    Scenario(
        "rt_unreach", "routing", "a route says unreachable", unreachable,
        (failed("unreachable", "EHOSTUNREACH", "no_route"),),
        routes=f"route add unreachable {UNREACHABLE}\n",
    ),
    Scenario(
        "rt_blackhole", "routing", "a route swallows everything", blackhole,
        (failed("unreachable", "EINVAL", "no_route"),),
        routes=f"route add blackhole {BLACKHOLE}\n",
    ),
    Scenario(
        "rt_prohibit", "routing", "a route prohibits", prohibited,
        (failed("denied", "EACCES", "route_prohibits", BLIND),),
        routes=f"route add prohibit {PROHIBITED}\n",
    ),
    Scenario(
        "rt_throw", "routing", "a route throws", thrown, (NO_ROUTE,), routes=f"route add throw {THROWN}\n",
    ),
    Scenario(
        "device_gone", "routing", "bound to a device that is gone", device_gone,
        (failed("unreachable", "ENODEV", "no_device"), NO_ROUTE),
        needs=("ip", "ipv6"), alone=True, address_families=("AF_INET", "AF_INET6"),
    ),
    Scenario(
        "tcp_mcast", "routing", "a multicast address", multicast, NOT_UNICAST, needs=("ip",),
        routes="route add 233.252.0.0/24 dev lab0\n",
    ),
    Scenario("tcp_broadcast", "routing", "a broadcast address", broadcast, NOT_UNICAST, needs=("ip",)),
    Scenario(
        "no_neighbour", "routing", "the next hop does not answer", no_neighbour, NEIGHBOUR, needs=("ip",),
        slow=True,
    ),
    Scenario(
        "no_neighbour6", "routing", "the next hop does not answer, IPv6", no_neighbour6, NEIGHBOUR6,
        needs=("ip", "ipv6"), slow=True,
        address_families=("AF_INET6",),
    ),
)  # fmt: skip
