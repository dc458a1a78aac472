"""What comes back from another host: its listeners, its resets, and the ICMP errors of a router on the way.

An ICMP answer that comes while the call holds the socket is only remembered: the call fails at the next SYN,
a second later. All of them run beside the others.
Behaviour: RFC 792, RFC 1122, RFC 1812, RFC 4443, net/ipv4/icmp.c (icmp_err_convert), net/ipv6/icmp.c.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from callout.lab import router
from callout.lab.address import inet, inet6
from callout.lab.outcomes import BLIND, ESTABLISHED, UNANSWERED, failed, later
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

ROUTED = (router.HOST_UNREACHABLE, router.NET_UNREACHABLE, router.PROHIBITED)
SOURCES = dict(zip(ROUTED, router.OTHERS, strict=True))


def calling(host: str, port: int = 443, ttl: int = 0) -> Callable[[World], None]:
    """A blocking call; with ``ttl``, as far as that many hops reach."""
    source = SOURCES.get(host)

    def act(world: World) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with world.tcp(family) as caller:
            if ttl:
                caller.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            if source:
                caller.bind((source, 0))
            world.connect(caller, inet6(host, port) if ":" in host else inet(host, port))

    return act


def not_waiting(world: World) -> None:
    """A caller that does not wait gets the ICMP error at once by SO_ERROR, though TCP would go on trying."""
    with world.tcp(blocking=False) as caller:
        world.connect(caller, inet(router.FILTER_HOST, 444), wait=True)


def not_waiting6(world: World) -> None:
    """The same over IPv6."""
    with world.tcp(socket.AF_INET6, blocking=False) as caller:
        world.connect(caller, inet6(router.FILTER_ADDRESS6, 444), wait=True)


REFUSED = failed("refused", "ECONNREFUSED", "rst_from_peer")
NET = failed("unreachable", "ENETUNREACH", "icmp_net_unreachable")
NET_PROHIBITED = failed("unreachable", "ENETUNREACH", "icmp_admin_prohibited")
HOST = failed("unreachable", "EHOSTUNREACH", "icmp_host_unreachable")
PROHIBITED = failed("unreachable", "EHOSTUNREACH", "icmp_admin_prohibited")
PORT = failed("refused", "ECONNREFUSED", "icmp_port_unreachable")
REJECTED = failed("refused", "ECONNREFUSED", "netfilter_reject")
DROPPED = failed("timed_out", "ETIMEDOUT", "netfilter_drop")
# Without the ICMPv6 error there is still the firewall that dropped the SYN, for it is in this very kernel
BY_FILTER = {"tracepoint": "netfilter_reject"}
NET6 = failed("unreachable", "ENETUNREACH", "icmp_net_unreachable", BLIND)
HOST6 = failed("unreachable", "EHOSTUNREACH", "icmp_host_unreachable", BY_FILTER)
PORT6 = failed("refused", "ECONNREFUSED", "icmp_port_unreachable", BY_FILTER)

# name, what, address, port, time to live, outcome
V4: tuple[tuple[str, str, str, int, int, Expected], ...] = (
    ("far_ok", "a listener on another host", router.ROUTER, router.OPEN, 0, ESTABLISHED),
    ("far_refused", "nobody listens on another host", router.ROUTER, router.CLOSED, 0, REFUSED),
    ("far_reset", "this host's firewall, in another network namespace, resets", router.FILTER_RESET, 443, 0, REJECTED),
    ("far_drop", "a router on the way drops", router.SWALLOWED, 443, 0, UNANSWERED),
    ("far_filter", "this host's firewall, in another network namespace, drops", router.FILTER_DROP, 443, 0, DROPPED),
    ("far_host", "a router has no host there", router.HOST_UNREACHABLE, 443, 0, HOST),
    ("far_net", "a router has no route", router.NET_UNREACHABLE, 443, 0, NET),
    ("far_prohibit", "a router's route prohibits", router.PROHIBITED, 443, 0, PROHIBITED),
    ("far_admin", "ICMP admin-prohibited", router.FILTER_ADMIN, 443, 0, PROHIBITED),
    ("far_icmp_host", "ICMP host-unreachable", router.FILTER_HOST, 443, 0, HOST),
    ("far_icmp_net", "ICMP net-unreachable", router.FILTER_NET, 443, 0, NET),
    ("far_icmp_port", "ICMP port-unreachable", router.FILTER_PORT, 443, 0, PORT),
    ("far_net_prohibited", "ICMP net-prohibited", router.FILTER_NET_PROHIBITED, 443, 0, NET_PROHIBITED),
    ("far_host_prohibited", "ICMP host-prohibited", router.FILTER_HOST_PROHIBITED, 443, 0, PROHIBITED),
    (
        "far_protocol", "ICMP protocol-unreachable", router.FILTER_PROTOCOL, 443, 0,
        failed("unreachable", "ENOPROTOOPT", "icmp_protocol_unreachable"),
    ),
    (
        "far_ttl", "too far away: time exceeded", router.BEHIND, 443, 1,
        failed("unreachable", "EHOSTUNREACH", "icmp_time_exceeded"),
    ),
)  # fmt: skip
V6: tuple[tuple[str, str, str, int, Expected], ...] = (
    ("far6_ok", "a listener on another host", router.ROUTER6, router.OPEN, ESTABLISHED),
    ("far6_refused", "nobody listens on another host", router.ROUTER6, router.CLOSED, REFUSED),
    ("far6_reset", "this host's firewall, in another network namespace, resets", router.FILTER_RESET6, 443, REJECTED),
    ("far6_net", "a router has no route", router.NO_ROUTE6, 443, NET6),
    ("far6_address", "ICMPv6 address unreachable", router.FILTER_ADDRESS6, 443, HOST6),
    ("far6_port", "ICMPv6 port unreachable", router.FILTER_PORT6, 443, PORT6),
    (
        "far6_admin", "ICMPv6 administratively prohibited", router.FILTER_ADMIN6, 443,
        failed("denied", "EACCES", "icmp_admin_prohibited", BY_FILTER),
    ),
)  # fmt: skip
SCENARIOS = (
    *(
        Scenario(name, "remote", what, calling(host, port, ttl), (expected,), needs=("sysctl", "router"), slow=True)
        for name, what, host, port, ttl, expected in V4
    ),
    *(
        Scenario(
            name, "remote", f"{what}, IPv6", calling(host, port), (expected,),
            needs=("sysctl", "ipv6", "router"), slow=True, address_families=("AF_INET6",),
        )
        for name, what, host, port, expected in V6
    ),
    Scenario(
        "far_soft", "remote", "ICMP host-unreachable, non-blocking", not_waiting,
        (later("unreachable", "EHOSTUNREACH", "icmp_host_unreachable"),), needs=("router",), slow=True,
    ),
    Scenario(
        "far6_soft", "remote", "ICMPv6 address unreachable, non-blocking", not_waiting6,
        (later("unreachable", "EHOSTUNREACH", "icmp_host_unreachable", BY_FILTER),), needs=("ipv6", "router"),
        slow=True, address_families=("AF_INET6",),
    ),
)  # fmt: skip
