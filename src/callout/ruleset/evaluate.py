"""A packet on its way through the chains of a hook.

Rule of this file: an accept ends a chain, not the hook: the next chain still decides (nft(8), base chains). A drop or
reject ends all. A rule that may match is remembered: what follows is then no longer certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from callout.ruleset.model import Chain, Packet, Rule

DEPTH = 16  # NFT_JUMP_STACK_SIZE: the kernel takes no deeper nesting
FINAL = ("drop", "reject", "queue")


@dataclass(frozen=True)
class Decision:
    """``action``: accept, drop, reject or queue; ``rule``: the one that decided (None: a policy or no rule).

    ``policy``: the chain whose policy dropped it. ``doubtful``: rules that may match, of those that would change it.
    """

    action: str
    rule: Rule | None = None
    policy: str = ""
    doubtful: tuple[Rule, ...] = ()
    nat: tuple[Rule, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether nothing was left open."""
        return not self.doubtful


@dataclass
class _Walk:
    chains: dict[tuple[str, str], Chain]
    packet: Packet
    doubtful: list[Rule] = field(default_factory=list)
    nat: list[Rule] = field(default_factory=list)

    def through(self, chain: Chain, depth: int = 0) -> tuple[str, Rule | None]:
        """What a chain does: accept, drop, reject, queue, or return at its end."""
        for rule in chain.rules:
            matched = rule.matches(self.packet)
            if matched is False or rule.action == "continue":
                continue
            if matched is None:
                if rule.action != "return":
                    self.doubtful += self.refusals(rule, chain, depth)
                elif chain.policy == "drop":
                    self.doubtful.append(rule)
                continue
            if rule.action in ("jump", "goto"):
                inner = self.chains.get((chain.table, rule.target))
                if inner is None or depth >= DEPTH:
                    continue
                action, by = self.through(inner, depth + 1)
                if action != "return":
                    return action, by
                if rule.action == "goto":
                    return "return", None
                continue
            if rule.action == "nat":
                self.nat.append(rule)
                return "accept", rule
            return rule.action, rule
        return "return", None

    def refusals(self, rule: Rule, chain: Chain, depth: int) -> list[Rule]:
        """The rules by which a rule that may match would change the outcome; itself where it is no jump."""
        if rule.action not in ("jump", "goto"):
            return [rule]
        inner = self.chains.get((chain.table, rule.target))
        if inner is None or depth >= DEPTH:
            return []
        found = []
        for one in inner.rules:
            if one.matches(self.packet) is not False and one.action != "continue":
                found += self.refusals(one, inner, depth + 1)
        return found


def decide(chains: Sequence[Chain], hook: str, packet: Packet) -> Decision:
    """What all chains of a hook make of a packet."""
    walk = _Walk({(chain.table, chain.name): chain for chain in chains}, packet)
    at_hook = [c for c in chains if c.hook == hook and c.version in (0, packet.version)]
    for chain in sorted(at_hook, key=lambda chain: chain.priority):
        before = len(walk.doubtful)
        action, rule = walk.through(chain)
        if action in FINAL:
            return Decision(action, rule, "", open_to_change(walk.doubtful, refused=True), tuple(walk.nat))
        if action == "return" and chain.policy == "drop":
            where = f"{chain.table} {chain.name}"
            saving = [r for r in walk.doubtful[before:] if r.action not in FINAL]
            return Decision("drop", None, where, tuple(saving), tuple(walk.nat))
    return Decision("accept", None, "", open_to_change(walk.doubtful, refused=False), tuple(walk.nat))


def open_to_change(doubtful: Iterable[Rule], refused: bool) -> tuple[Rule, ...]:
    """Of rules that may match, those that would change the outcome.

    An accept may save a packet that is refused further down; a refusal may hit one that is accepted.
    """
    return tuple(rule for rule in doubtful if (rule.action not in FINAL) == refused)
