"""What this host's own packet filter does to a caller.

TCP takes no notice of a SYN dropped on its way out and tries again until its time is up. An ICMP answer that
comes while the call holds the socket is only remembered: the call fails at the next SYN, a second later.
Behaviour: nft(8), net/ipv4/netfilter/nf_reject_ipv4.c, tcp_v4_err in net/ipv4/tcp_ipv4.c.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from callout.lab.address import inet, inet6
from callout.lab.outcomes import failed, later
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

DROPPED = "192.0.2.66"
RESET = "192.0.2.67"
PROHIBITED = "192.0.2.68"


def dropped(world: World) -> None:
    """Every SYN is dropped on its way out."""
    with world.tcp() as caller:
        world.connect(caller, inet(DROPPED, 443))


def reset(world: World) -> None:
    """The SYN is answered by the firewall's RST."""
    with world.tcp() as caller:
        world.connect(caller, inet(RESET, 22))


def prohibited(world: World) -> None:
    """The SYN is answered by the firewall's ICMP."""
    with world.tcp() as caller:
        world.connect(caller, inet(PROHIBITED, 25))


REJECTED = {  # reject with icmp type ...: its address, and the error
    "host-unreachable": ("192.0.2.70", "EHOSTUNREACH"),
    "net-unreachable": ("192.0.2.71", "ENETUNREACH"),
    "port-unreachable": ("192.0.2.72", "ECONNREFUSED"),
}


def rejecting(host: str) -> Callable[[World], None]:
    """A call that the firewall answers with ICMP."""

    def act(world: World) -> None:
        with world.tcp() as caller:
            world.connect(caller, inet(host, 443))

    return act


def soft(world: World) -> None:
    """A caller that does not wait gets the ICMP error at once by SO_ERROR, though TCP would go on trying."""
    with world.tcp(blocking=False) as caller:
        world.connect(caller, inet("192.0.2.73", 443), wait=True)


def reset6(world: World) -> None:
    """The SYN is answered by the firewall's RST, IPv6."""
    with world.tcp(socket.AF_INET6) as caller:
        world.connect(caller, inet6("2001:db8::67", 22))


SCENARIOS = (
    Scenario(
        "tcp_timeout", "firewall", "the firewall drops", dropped,
        (Expected("timed_out", "ETIMEDOUT", "netfilter_drop", -errno.ETIMEDOUT),),
        needs=("ip", "sysctl"), firewall=f"ip daddr {DROPPED} drop", slow=True, demo=True,
    ),
    Scenario(
        "nf_rst", "firewall", "the firewall answers with a reset", reset,
        (Expected("refused", "ECONNREFUSED", "netfilter_reject", -errno.ECONNREFUSED),),
        needs=("ip",), firewall=f"ip daddr {RESET} meta l4proto tcp reject with tcp reset", demo=True,
    ),
    Scenario(
        "nf_admin", "firewall", "the firewall answers with ICMP", prohibited,
        (Expected("unreachable", "EHOSTUNREACH", "netfilter_reject", -errno.EHOSTUNREACH),),
        needs=("ip", "sysctl"), firewall=f"ip daddr {PROHIBITED} reject with icmpx type admin-prohibited",
        slow=True, demo=True,
    ),
    *(
        Scenario(
            f"nf_{kind.split('-')[0]}", "firewall", f"the firewall answers {kind}", rejecting(host),
            (
                failed("refused" if error == "ECONNREFUSED" else "unreachable", error, "netfilter_reject"),
            ),
            needs=("ip", "sysctl"), firewall=f"ip daddr {host} reject with icmp type {kind}", slow=True,
        )
        for kind, (host, error) in REJECTED.items()
    ),
    Scenario(
        "nf_soft", "firewall", "the firewall answers with ICMP, non-blocking", soft,
        (later("unreachable", "EHOSTUNREACH", "netfilter_reject"),),
        needs=("ip",), firewall="ip daddr 192.0.2.73 reject with icmp type host-unreachable", slow=True,
    ),
    Scenario(
        "nf_rst6", "firewall", "the firewall answers with a reset, IPv6", reset6,
        (failed("refused", "ECONNREFUSED", "netfilter_reject"),),
        needs=("ip", "ipv6"), firewall="ip6 daddr 2001:db8::67 meta l4proto tcp reject with tcp reset",
        address_families=("AF_INET6",),
    ),
)  # fmt: skip
