"""What this host's own packet filter does to a caller.

TCP takes no notice of a SYN dropped on its way out and tries again until its time is up. An ICMP answer that
comes while the call holds the socket is only remembered: the call fails at the next SYN, a second later.
Behaviour: nft(8), net/ipv4/netfilter/nf_reject_ipv4.c, tcp_v4_err in net/ipv4/tcp_ipv4.c.
"""

from __future__ import annotations

import errno

from callout.lab.address import inet
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
)  # fmt: skip
