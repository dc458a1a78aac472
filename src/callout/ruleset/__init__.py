"""What a firewall does to a packet, worked out from its rules: no packet is sent.

Rule of this package: pure. Rules come as nft and iptables print them; what cannot be evaluated is ``None`` (it may
match), never a guess.
"""

from __future__ import annotations

from callout.ruleset.evaluate import Decision, decide
from callout.ruleset.model import Chain, Packet, Rule

__all__ = ["Chain", "Decision", "Packet", "Rule", "decide"]
