"""Packets, rules and chains.

Rule of this file: values only, the same for nftables and iptables.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

# Names of the hooks of netfilter, as nft(8) has them
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


@dataclass(frozen=True)
class Packet:
    """The first packet of an attempt, or the answer to it. ``version``: 4 or 6; ``state``: of conntrack."""

    version: int
    protocol: str  # tcp, udp
    source: str
    destination: str
    sport: int | None
    dport: int | None
    iif: str = ""
    oif: str = ""
    uid: int | None = None
    gid: int | None = None
    flags: frozenset[str] = frozenset({"syn"})
    state: str = "new"
    mark: int | None = 0

    def answer(self) -> Packet:
        """What comes back: the SYN-ACK."""
        return replace(
            self,
            source=self.destination,
            destination=self.source,
            sport=self.dport,
            dport=self.sport,
            iif=self.oif,
            oif="",
            uid=None,
            gid=None,
            flags=frozenset({"syn", "ack"}),
            state="established",
        )


# Whether a packet matches: True, False, or None where that cannot be told
Test: TypeAlias = Callable[[Packet], bool | None]


@dataclass(frozen=True)
class Rule:
    """``action``: accept, drop, reject, return, jump, goto, nat, queue, or continue; ``target`` of jump and goto.

    ``text`` is the rule as its tool prints it, ``place`` its table and chain, ``packets`` what it has counted.
    """

    tests: tuple[Test, ...]
    action: str
    text: str
    place: str
    target: str = ""
    packets: int | None = None

    @property
    def text_alone(self) -> str:
        """The text without what it has counted."""
        return re.sub(r" counter packets \d+ bytes \d+", " counter", self.text)

    def matches(self, packet: Packet) -> bool | None:
        """False where one test fails; else None where one cannot be told."""
        results = [test(packet) for test in self.tests]
        if any(result is False for result in results):
            return False
        return None if any(result is None for result in results) else True


@dataclass(frozen=True)
class Chain:
    """A chain of a table; ``hook`` is empty for one that is only jumped to. ``version``: 4, 6, or 0 for both."""

    table: str
    name: str
    version: int
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: tuple[Rule, ...] = field(default=())
