"""Families that have sockets and no connect(2), and what the rest of the families would take.

Rule of this file: an address of the family's own, as long as it wants one; the kernel does not look at it.
Behaviour: net/core/sock.c (sock_no_connect), crypto/af_alg.c, net/xdp/xsk.c, net/key/af_key.c, net/kcm/kcmsock.c.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from callout.lab.needs import creatable
from callout.lab.outcomes import invalid
from callout.lab.scenario import Scenario
from callout.lab.world import World

# name, family's name and number, type, protocol, length of its address
FAMILIES = (
    ("alg_con", "AF_ALG", 38, 5, 0, 88),
    ("xdp_con", "AF_XDP", 44, 3, 0, 16),
    ("key_con", "AF_KEY", 15, 3, 2, 16),
    ("kcm_con", "AF_KCM", 41, 2, 0, 16),
    ("can_raw", "AF_CAN", 29, 3, 1, 24),
)
# Families without a scenario, and why
WITHOUT = {
    "AF_UNSPEC": "it has no sockets: udp_unspec, tcp_unspec call its address",
    **dict.fromkeys(
        ("AF_IPX", "AF_DECnet", "AF_ECONET", "AF_IRDA", "AF_WANPIPE"), "gone from the kernel"
    ),
    **dict.fromkeys(
        ("AF_BRIDGE", "AF_NETBEUI", "AF_SECURITY", "AF_ASH", "AF_SNA", "AF_IB", "AF_MPLS", "AF_ISDN"),
        "a number without sockets that connect",
    ),
    **dict.fromkeys(
        (
            "AF_AX25", "AF_APPLETALK", "AF_NETROM", "AF_ATMPVC", "AF_X25", "AF_ROSE", "AF_ATMSVC", "AF_RDS", "AF_PPPOX",
            "AF_LLC", "AF_TIPC", "AF_BLUETOOTH", "AF_IUCV", "AF_RXRPC", "AF_PHONET", "AF_IEEE802154", "AF_CAIF",
            "AF_NFC", "AF_QIPCRTR", "AF_MCTP",
        ),
        "it takes a device or a module that a plain machine has not: its addresses are decoded only",
    ),
}  # fmt: skip


def calling(number: int, kind: int, protocol: int, length: int) -> Callable[[World], None]:
    """A call on a socket of the family."""

    def act(world: World) -> None:
        with socket.socket(number, kind, protocol) as caller:
            world.connect(caller, struct.pack("=H", number).ljust(length, b"\0"))

    return act


PROBES = {
    f"family:{name}": creatable(f"{name} sockets for us", number, kind, protocol)
    for _, name, number, kind, protocol, _ in FAMILIES
}
SCENARIOS = tuple(
    Scenario(
        name, "families", f"{family} knows no peers", calling(number, kind, protocol, length),
        (invalid("EOPNOTSUPP", "family_unsupported"),), needs=(f"family:{family}",), address_families=(family,),
    )
    for name, family, number, kind, protocol, length in FAMILIES
)  # fmt: skip
