"""Packets that this host's own kernel turns around, hands to a program or keeps: address translation, queues, IPsec.

Rule of this file: each has a network of its own (``alone``), which it sets up itself.
Behaviour: nft(8) (redirect, queue, netdev egress), ip-xfrm(8), net/xfrm/xfrm_policy.c.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from callout.lab.address import inet
from callout.lab.dropped import WIRE, given
from callout.lab.outcomes import ESTABLISHED, UNANSWERED, failed
from callout.lab.scenario import Scenario
from callout.lab.tools import feed
from callout.lab.ways.base import NotHere
from callout.lab.world import World

HOST, AWAY = "127.0.0.1", "198.51.100.77"
LATER = "198.51.100.78"
REDIRECT = """\
table ip lab {
  chain output {
    type nat hook output priority -100
    ip daddr 198.51.100.77 tcp dport 443 redirect to :8540
  }
}
"""
RULE = """\
table inet lab {{
  chain {hook} {{
    type filter hook {hook} priority 0
    ip daddr {host} {rule}
  }}
}}
"""
LEAVING = """\
table netdev lab {
  chain leaving {
    type filter hook egress device "drop0" priority 0
    ip daddr 192.0.2.2 drop
  }
}
"""


def redirected(listens: bool) -> Callable[[World], None]:
    """A rule sends the call to this host itself."""

    def act(world: World) -> None:
        given("ip", "-batch", "-", text=WIRE + f"route add {AWAY} via 192.0.2.2\n")
        given("nft", "-f", "-", text=REDIRECT)
        world.arranged(f"nft: {AWAY} port 443 is redirected to port 8540 of this host")
        if listens:
            server = socket.socket()
            server.bind(("0.0.0.0", 8540))
            server.listen()
        with world.tcp() as caller:
            world.connect(caller, inet(AWAY, 443))

    act.__doc__ = "A rule of the firewall sends the call to this host itself" + (
        "." if listens else ", where nobody listens."
    )
    return act


def ruled(hook: str, rule: str) -> Callable[[World], None]:
    """A rule at one of the firewall's hooks."""

    def act(world: World) -> None:
        given("ip", "-batch", "-", text=WIRE)
        if reason := feed("nft", "-f", "-", text=RULE.format(hook=hook, host="192.0.2.2", rule=rule)):
            raise NotHere(reason)
        world.arranged(f"nft, at {hook}: {rule}")
        with world.impatient() as caller:
            world.connect(caller, inet("192.0.2.2", 443))

    return act


def leaving(world: World) -> None:
    """The firewall drops at the device itself."""
    given("ip", "-batch", "-", text=WIRE)
    given("nft", "-f", "-", text=LEAVING)
    world.arranged("nft, at the egress of drop0: drop")
    with world.impatient() as caller:
        world.connect(caller, inet("192.0.2.2", 443))


def arriving(rule: str) -> Callable[[World], None]:
    """A rule on the way in, of this host's own listener."""

    def act(world: World) -> None:
        given("nft", "-f", "-", text=RULE.format(hook="input", host=HOST, rule=f"tcp dport 8541 {rule}"))
        world.arranged(f"nft, at input: {rule}")
        with world.listener(HOST, 8541), world.impatient() as caller:
            world.connect(caller, inet(HOST, 8541))

    return act


def blocked(world: World) -> None:
    """An IPsec policy blocks the destination."""
    given("ip", "-batch", "-", text=WIRE + "xfrm policy add dst 192.0.2.2/32 dir out action block\n")
    world.arranged("ip xfrm policy: 192.0.2.2 is blocked")
    with world.tcp() as caller:
        world.connect(caller, inet("192.0.2.2", 443))


NEEDS = ("ip", "nft", "settings")
DROPPED = (failed("timed_out", "ETIMEDOUT", "netfilter_drop"),)
SCENARIOS = (
    Scenario("nat_redirect", "translated", "redirected to a listener of this host", redirected(True), (ESTABLISHED,),
             needs=NEEDS, alone=True),
    Scenario("nat_redirect_refused", "translated", "redirected to this host, where nobody listens",
             redirected(False), (failed("refused", "ECONNREFUSED", "rst_from_peer"),), needs=NEEDS, alone=True),
    Scenario("nf_queue", "translated", "queued for a program that is not there", ruled("output", "queue"),
             (UNANSWERED,), needs=NEEDS, slow=True, alone=True),
    Scenario("nf_postrouting", "translated", "dropped after routing", ruled("postrouting", "drop"), DROPPED,
             needs=NEEDS, slow=True, alone=True),
    Scenario("nf_egress", "translated", "dropped at the device", leaving, DROPPED, needs=NEEDS, slow=True, alone=True),
    Scenario("nf_input_drop", "translated", "dropped on the way into this host", arriving("drop"), DROPPED,
             needs=NEEDS, slow=True, alone=True),
    Scenario("nf_input_reset", "translated", "reset on the way into this host", arriving("reject with tcp reset"),
             (failed("refused", "ECONNREFUSED", "netfilter_reject"),), needs=NEEDS, alone=True),
    Scenario("nf_input_admin", "translated", "rejected on the way into this host",
             arriving("reject with icmp type admin-prohibited"),
             (failed("unreachable", "EHOSTUNREACH", "netfilter_reject"),), needs=NEEDS, slow=True, alone=True),
    Scenario("xfrm_block", "translated", "blocked by an IPsec policy", blocked,
             (failed("denied", "EPERM", "unknown"),), needs=("ip", "xfrm"), alone=True),
)  # fmt: skip
