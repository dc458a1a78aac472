"""IPv6, and the IPv4 that its sockets speak by mapped addresses.

Behaviour: ipv6(7), net/ipv6/tcp_ipv6.c (tcp_v6_connect), net/ipv6/datagram.c, RFC 4007.
"""

from __future__ import annotations

import socket
import struct

from callout.lab.address import inet, inet6
from callout.lab.outcomes import (
    BAD_LENGTH,
    BLIND,
    ESTABLISHED,
    ESTABLISHED_LATER,
    NO_ROUTE,
    REFUSED,
    REFUSED_LATER,
    failed,
    invalid,
)
from callout.lab.scenario import Expected, Scenario
from callout.lab.tools import feed
from callout.lab.world import World

LOCAL = "127.0.0.1"
MAPPED = f"::ffff:{LOCAL}"

SIX_ONLY = failed("unreachable", "ENETUNREACH", "ipv6_only")


def tcp6(world: World, blocking: bool = True) -> socket.socket:
    """A fresh IPv6 TCP socket."""
    return world.tcp(socket.AF_INET6, blocking)


def refused(world: World) -> None:
    """Nobody listens on ::1."""
    with tcp6(world) as caller:
        world.connect(caller, inet6("::1", 8300))


def nonblocking(world: World) -> None:
    """Two that do not wait: one is answered, one refused."""
    with world.listener("::1", 8301), tcp6(world, False) as caller, tcp6(world, False) as other:
        world.connect(caller, inet6("::1", 8301), wait=True)
        world.connect(other, inet6("::1", 8302), wait=True)


def any_address(world: World) -> None:
    """:: means this host."""
    with world.listener("::1", 8303), tcp6(world) as caller:
        world.connect(caller, inet6("::", 8303))


def short(world: World) -> None:
    """24 bytes suffice: the scope id came later (RFC 2133)."""
    with world.listener("::1", 8304), tcp6(world) as caller:
        world.connect(caller, inet6("::1", 8304), addrlen=24)


def flow_label(world: World) -> None:
    """A flow label that was not asked for does not matter."""
    address = inet6("::1", 8305)
    with tcp6(world) as caller:
        world.connect(caller, address[:4] + struct.pack("!I", 0xABCDE) + address[8:])


def no_route(world: World) -> None:
    """No route matches."""
    with tcp6(world) as caller:
        world.connect(caller, inet6("2001:db8:ffff::1", 443))


def mapped_ok(world: World) -> None:
    """An IPv6 socket calls an IPv4 listener by its mapped address."""
    with world.listener(LOCAL, 8085), tcp6(world) as caller:
        world.connect(caller, inet6(MAPPED, 8085))


def mapped_refused(world: World) -> None:
    """The same, but nobody listens."""
    with tcp6(world) as caller:
        world.connect(caller, inet6(MAPPED, 8306))


def mapped_any(world: World) -> None:
    """0.0.0.0 as a mapped address means this host, too."""
    with world.listener(LOCAL, 8307), tcp6(world) as caller:
        world.connect(caller, inet6("::ffff:0.0.0.0", 8307))


def mapped_no_route(world: World) -> None:
    """IPv4 has no route there."""
    with tcp6(world) as caller:
        world.connect(caller, inet6("::ffff:203.0.113.9", 443))


def mapped_from_six(world: World) -> None:
    """A socket bound to ::1 cannot speak IPv4."""
    with tcp6(world) as caller:
        caller.bind(("::1", 0))
        world.connect(caller, inet6(MAPPED, 8308))


def mapped_on_six_only(world: World) -> None:
    """IPV6_V6ONLY forbids mapped addresses, whoever listens there."""
    with world.listener(LOCAL, 8309), tcp6(world) as caller:
        caller.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        world.connect(caller, inet6(MAPPED, 8309))


def plain_ipv4(world: World) -> None:
    """An IPv6 stream socket takes no AF_INET address; of 16 bytes it sees the length first."""
    for length in (16, 28):
        with tcp6(world) as caller:
            world.connect(caller, inet(LOCAL, 8310).ljust(28, b"\0"), addrlen=length)


def no_scope(world: World) -> None:
    """A link-local address means nothing without its interface."""
    with tcp6(world) as caller:
        world.connect(caller, inet6("fe80::1", 443))


def multicast(world: World) -> None:
    """TCP has no groups."""
    with tcp6(world) as caller:
        world.connect(caller, inet6("ff0e::1", 443))


def no_source(world: World) -> None:
    """There is a route, but no address of ours to call from."""
    if reason := feed(
        "ip", "-batch", "-", text="addr del ::1/128 dev lo\nroute add 2001:db8:aa::/64 dev lo\n"
    ):
        raise RuntimeError(reason)
    with tcp6(world) as caller:
        world.connect(caller, inet6("2001:db8:aa::1", 443))


SIX = ("ipv6",)
ROUTES = {"unreachable": "2001:db8:a::1", "blackhole": "2001:db8:b::1", "prohibit": "2001:db8:c::1",
          "throw": "2001:db8:d::1"}  # fmt: skip


def route_types(world: World) -> None:
    """Routes of the types unreachable, blackhole, prohibit and throw."""
    for host in ROUTES.values():
        with tcp6(world) as caller:
            world.connect(caller, inet6(host, 443))


SCENARIOS = (
    Scenario("tcp6_refused", "ipv6", "nobody listens on ::1", refused, (REFUSED,), needs=SIX),
    Scenario(
        "tcp6_nb", "ipv6", "non-blocking, answered and refused", nonblocking,
        (ESTABLISHED_LATER, REFUSED_LATER), needs=SIX,
    ),
    Scenario(
        "tcp6_any", "ipv6", ":: means this host", any_address,
        (
            Expected(
                "established", None, None, 0,
                fields={"destination.ip": "::1", "connect.rewritten_from": None, "connect.swapped": None},
            ),
        ),
        needs=SIX,
    ),
    Scenario("tcp6_short", "ipv6", "an address of 24 bytes", short, (ESTABLISHED,), needs=SIX),
    Scenario("v6_flow", "ipv6", "a flow label", flow_label, (REFUSED,), needs=SIX),
    Scenario("v6_noroute", "ipv6", "no route matches", no_route, (NO_ROUTE,), needs=SIX),
    Scenario(
        "tcp6_mapped", "ipv6", "IPv4 from an IPv6 socket", mapped_ok,
        (
            Expected(
                "established", None, None, 0,
                fields={"connect.rewritten_from": None, "connect.swapped": None},
            ),
        ),
        needs=SIX,
    ),
    Scenario("v6_mapped_refused", "ipv6", "mapped, nobody listens", mapped_refused, (REFUSED,), needs=SIX),
    Scenario(
        "v6_mapped_any", "ipv6", "mapped 0.0.0.0", mapped_any,
        (
            Expected(
                "established", None, None, 0,
                fields={"connect.rewritten_from": None, "connect.swapped": None},
            ),
        ),
        needs=SIX,
    ),
    Scenario("v6_mapped_noroute", "ipv6", "mapped, no route matches", mapped_no_route, (NO_ROUTE,), needs=SIX),
    Scenario(
        "v6_v4mapped_badbind", "ipv6", "mapped, from a socket bound to ::1", mapped_from_six,
        (SIX_ONLY,), needs=SIX,
    ),
    Scenario(
        "v6only_mapped", "ipv6", "mapped, on a socket of IPv6 only", mapped_on_six_only,
        (SIX_ONLY,), needs=SIX,
    ),
    Scenario(
        "tcp6_in4", "ipv6", "AF_INET on an IPv6 stream socket", plain_ipv4,
        (BAD_LENGTH, invalid("EAFNOSUPPORT", "family_mismatch")), needs=SIX,
    ),
    Scenario(
        "v6_noscope", "ipv6", "link-local without a scope", no_scope, (invalid("EINVAL", "no_scope"),), needs=SIX,
    ),
    Scenario(
        "v6_mcast", "ipv6", "a multicast address", multicast,
        (failed("unreachable", "ENETUNREACH", "not_unicast"),), needs=(*SIX, "ip"),
    ),
    Scenario(
        "v6_nosource", "ipv6", "no address to call from", no_source,
        (failed("exhausted", "EADDRNOTAVAIL", "no_source_address"),), needs=(*SIX, "ip"), alone=True,
    ),
    Scenario(
        "rt6_types", "ipv6", "routes that lead nowhere", route_types,
        (
            failed("unreachable", "EHOSTUNREACH", "no_route"), failed("unreachable", "EINVAL", "no_route"),
            failed("denied", "EACCES", "route_prohibits", BLIND), NO_ROUTE,
        ),
        needs=SIX, routes="".join(f"route add {kind} {host}\n" for kind, host in ROUTES.items()),
    ),
)  # fmt: skip
