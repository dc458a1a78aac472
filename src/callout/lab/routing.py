"""What the routing table alone decides, before anything is sent.

Addresses are of RFC 5737: 198.51.100.0/24 has the routes that scenarios set, 203.0.113.0/24 never has one.
Behaviour: ip-route(8), net/ipv4/route.c.
"""

from __future__ import annotations

import errno

from callout.lab.address import inet
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

UNREACHABLE = "198.51.100.10"
BLACKHOLE = "198.51.100.20"
NOWHERE = "203.0.113.9"


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


SCENARIOS = (
    Scenario(
        "rt_none", "routing", "no route matches", no_route,
        (Expected("unreachable", "ENETUNREACH", "no_route", -errno.ENETUNREACH),), demo=True,
    ),
    Scenario(
        "rt_unreach", "routing", "a route says unreachable", unreachable,
        (Expected("unreachable", "EHOSTUNREACH", "no_route", -errno.EHOSTUNREACH),),
        routes=f"route add unreachable {UNREACHABLE}\n",
    ),
    Scenario(
        "rt_blackhole", "routing", "a route swallows everything", blackhole,
        (Expected("unreachable", "EINVAL", "no_route", -errno.EINVAL),),
        routes=f"route add blackhole {BLACKHOLE}\n",
    ),
)  # fmt: skip
