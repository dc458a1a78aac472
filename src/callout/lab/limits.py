"""What runs out, and what is taken: ports and pairs of addresses.

Rule of this file: settings of the network are changed only in one of the scenario's own (``alone``).
Behaviour: connect(2) (EADDRNOTAVAIL, EAGAIN), ip(7), net/ipv4/inet_hashtables.c, inet_dgram_connect.
"""

from __future__ import annotations

import socket

from callout.lab.address import inet
from callout.lab.outcomes import ASSOCIATED, ESTABLISHED, failed
from callout.lab.scenario import Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
TWO = ("ipv4/ip_local_port_range", "61000 61001")


def ports_exhausted(world: World) -> None:
    """Two ephemeral ports, both taken towards this destination."""
    world.set(*TWO)
    with world.listener(HOST, 8083), world.tcp() as first, world.tcp() as second, world.tcp() as third:
        for caller in (first, second, third):
            world.connect(caller, inet(HOST, 8083))


def udp() -> socket.socket:
    """A fresh UDP socket."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def udp_ports_exhausted(world: World) -> None:
    """Two ephemeral ports, both taken: UDP has one owner of a port for all destinations."""
    world.set(*TWO)
    with udp() as first, udp() as second, udp() as third:
        for caller, port in ((first, 8280), (second, 8281), (third, 8282)):
            world.connect(caller, inet(HOST, port))


def tuple_in_use(world: World) -> None:
    """Two sockets with one local address and port call the same peer."""
    with world.listener(HOST, 8283), world.tcp() as first, world.tcp() as second:
        for caller in (first, second):
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            caller.bind((HOST, 8284))
            world.connect(caller, inet(HOST, 8283))


SCENARIOS = (
    Scenario(
        "port_exhaustion", "limits", "no ephemeral port is left", ports_exhausted,
        (ESTABLISHED, ESTABLISHED, failed("exhausted", "EADDRNOTAVAIL", "ports_exhausted")),
        needs=("settings",), alone=True,
    ),
    Scenario(
        "udp_exhaustion", "limits", "no ephemeral port is left for UDP", udp_ports_exhausted,
        (ASSOCIATED, ASSOCIATED, failed("exhausted", "EAGAIN", "ports_exhausted")),
        needs=("settings",), alone=True,
    ),
    Scenario(
        "tuple_in_use", "limits", "this pair of addresses is connected already", tuple_in_use,
        (ESTABLISHED, failed("exhausted", "EADDRNOTAVAIL", "address_in_use")),
    ),
)  # fmt: skip
