"""The way that this kernel would take to an address, and what it knows of the next hop; by netlink.

Rule of this file: asks the kernel, never computes. Source: rtnetlink(7), RTM_GETROUTE.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from callout.verdict import errno_name

# rtm_type, linux/rtnetlink.h
KINDS = {
    1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable",
    8: "prohibit", 9: "throw",
}  # fmt: skip
# ndm_state, linux/neighbour.h
STATES = {
    0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed",
    0x40: "noarp", 0x80: "permanent",
}  # fmt: skip


@dataclass(frozen=True)
class Route:
    """The answer for one destination. ``error``: name of the errno where there is none; else kind and way."""

    destination: str
    error: str | None = None
    kind: str = ""
    device: str = ""
    gateway: str | None = None
    source: str | None = None

    def text(self) -> str:
        """In words."""
        if self.error:
            return f"the kernel has no route to {self.destination} ({self.error})"
        via = f" via {self.gateway}" if self.gateway else ""
        source = f" from {self.source}" if self.source else ""
        kind = "" if self.kind == "unicast" else f" ({self.kind})"
        return f"the route to {self.destination}{kind} goes{via} over {self.device}{source}"


@dataclass(frozen=True)
class Neighbour:
    """What is known of a next hop on a link."""

    address: str
    device: str
    state: str
    link: str | None


def lookup(destination: str, uid: int | None = None) -> Route:
    """Asks for the route to an address, in the network namespace of this thread. Raises OSError."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    asked: dict[str, Any] = {"dst": destination, "family": family_of(destination)}
    if uid is not None:
        asked["uid"] = uid
    with IPRoute() as handle:
        try:
            answers = list(handle.route("get", **asked))
        except NetlinkError as error:
            return Route(destination, errno_name(error.code))
        if not answers:
            return Route(destination, "ENETUNREACH")
        found = answers[0]
        index = found.get_attr("RTA_OIF")
        return Route(
            destination,
            kind=KINDS.get(found["type"], str(found["type"])),
            device=device(handle, index),
            gateway=found.get_attr("RTA_GATEWAY") or via(found.get_attr("RTA_VIA")),
            source=found.get_attr("RTA_PREFSRC"),
        )


def neighbour(address: str) -> Neighbour | None:
    """What the kernel knows of a next hop; None: nothing."""
    from pyroute2 import IPRoute

    wanted = ipaddress.ip_address(address)
    with IPRoute() as handle:
        for found in handle.get_neighbours(family=family_of(address)):
            given = found.get_attr("NDA_DST")
            if given is not None and ipaddress.ip_address(given) == wanted:
                return Neighbour(
                    address,
                    device(handle, found["ifindex"]),
                    STATES.get(found["state"], "none"),
                    found.get_attr("NDA_LLADDR"),
                )
    return None


def via(attribute: Any) -> str | None:
    """The address of a next hop of the other family (RTA_VIA, RFC 5549)."""
    return str(attribute["addr"]) if attribute else None


def device(handle: Any, index: int | None) -> str:
    """Name of an interface."""
    links = handle.get_links(index) if index else ()
    return next((str(link.get_attr("IFLA_IFNAME")) for link in links), "?")


def family_of(address: str) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET
