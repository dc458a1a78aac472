"""UDP: connect(2) sets or dissolves the peer; no packet is sent, so there is nobody to refuse.

Behaviour: connect(2), udp(7).
"""

from __future__ import annotations

import socket

from callout.lab.address import UNSPEC, inet
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

ASSOCIATED = Expected("associated", None, None, 0)


def ok(world: World) -> None:
    """Sets the peer, though nobody is there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        world.connect(caller, inet("127.0.0.53", 53))


def unspec(world: World) -> None:
    """Sets the peer, then dissolves the association by AF_UNSPEC."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        world.connect(caller, inet("127.0.0.53", 53))
        world.connect(caller, UNSPEC)


SCENARIOS = (
    Scenario("udp_ok", "udp", "a peer is set", ok, (ASSOCIATED,), demo=True),
    Scenario(
        "udp_unspec", "udp", "a peer is set, then dissolved", unspec,
        (ASSOCIATED, Expected("dissolved", None, None, 0)),
    ),
)  # fmt: skip
