"""The caller's own end: the address and the device that a socket is bound to, and whether one can leave by them.

Rule of this file: each that changes a device or an address has a network of its own (``alone``).
Behaviour: ip(7), socket(7) (SO_BINDTODEVICE), net/ipv4/route.c (ip_route_output_key_hash_rcu, __mkroute_output).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from callout.lab import libc
from callout.lab.address import inet, inet6
from callout.lab.outcomes import NO_ROUTE, failed
from callout.lab.scenario import Scenario
from callout.lab.tools import feed
from callout.lab.world import World

HOST = "127.0.0.1"
AWAY = "192.0.2.2"
SO_BINDTODEVICE = 25  # include/uapi/asm-generic/socket.h
WIRE = """\
link add src0 type veth peer name src1
link set src0 up
link set src1 up
addr add 192.0.2.1/24 dev src0
"""


def given(text: str) -> None:
    """Feeds ip(8). Raises RuntimeError if it does not take it."""
    if reason := feed("ip", "-batch", "-", text=text):
        raise RuntimeError(reason)


def from_loopback(kind: int) -> Callable[[World], None]:
    """A socket bound to loopback calls another host."""

    def act(world: World) -> None:
        with socket.socket(socket.AF_INET, kind) as caller:
            caller.bind((HOST, 0))
            world.connect(caller, inet(AWAY, 443))

    act.__doc__ = "A socket that is bound to 127.0.0.1 calls another host."
    return act


def from_nowhere(world: World) -> None:
    """The address that the socket is bound to is taken away from this host."""
    given(WIRE)
    with world.tcp() as caller:
        caller.bind(("192.0.2.1", 0))
        given("addr del 192.0.2.1/24 dev src0\naddr add 192.0.2.9/24 dev src0\n")
        world.arranged("192.0.2.1 is this host's address no longer")
        world.connect(caller, inet(AWAY, 443))


def without_loopback(world: World) -> None:
    """Loopback was never brought up, as in a network namespace that nobody has set up."""
    libc.unshare(libc.CLONE_NEWNET)
    world.arranged("a new network namespace, whose lo is down")
    with world.tcp() as caller:
        world.connect(caller, inet(HOST, 8500))


def device_down(world: World) -> None:
    """The device that the socket is bound to is down."""
    given(WIRE + "link set src0 down\n")
    world.arranged("src0 is down")
    with world.tcp() as caller:
        caller.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"src0\0")
        world.connect(caller, inet(AWAY, 443))


def device_gone(world: World) -> None:
    """The device that the socket is bound to was removed."""
    given(WIRE)
    with world.tcp() as caller:
        caller.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"src0\0")
        given("link del src0\n")
        world.arranged("src0 is no more")
        world.connect(caller, inet(AWAY, 443))


def six_switched_off(world: World) -> None:
    """IPv6 is switched off for the devices of this network, so ::1 is nobody's."""
    for name in ("all", "lo"):
        world.set(f"ipv6/conf/{name}/disable_ipv6", "1")
    with world.tcp(socket.AF_INET6) as caller:
        world.connect(caller, inet6("::1", 8502))


SCENARIOS = (
    Scenario(
        "src_loopback", "source", "bound to loopback, calls another host", from_loopback(socket.SOCK_STREAM),
        (failed("unreachable", "EINVAL", "wrong_source"),), needs=("ip",),
    ),
    Scenario(
        "src_loopback_udp", "source", "bound to loopback, calls another host by UDP",
        from_loopback(socket.SOCK_DGRAM), (failed("unreachable", "EINVAL", "wrong_source"),), needs=("ip",),
    ),
    Scenario(
        "src_gone", "source", "bound to an address that is gone", from_nowhere, (NO_ROUTE,), needs=("ip",), alone=True,
    ),
    Scenario("src_lo_down", "source", "loopback was never brought up", without_loopback, (NO_ROUTE,), alone=True),
    Scenario("src_device_down", "source", "bound to a device that is down", device_down, (NO_ROUTE,),
             needs=("ip",), alone=True),
    Scenario("src_device_gone", "source", "bound to a device that is gone", device_gone,
             (failed("unreachable", "ENODEV", "no_device"),), needs=("ip",), alone=True),
    Scenario("v6_disabled", "source", "IPv6 is switched off", six_switched_off,
             (failed("exhausted", "EADDRNOTAVAIL", "no_source_address"),), needs=("ipv6", "settings"), alone=True,
             address_families=("AF_INET6",)),
)  # fmt: skip
