"""Claims that the tracer does not fulfil yet: by scenario, the tiers of programs that tell otherwise, and why.

Rule of this file: a line stands here only as long as it is true. `callout lab check` says so when one is not any
more, and the test of all scenarios fails then: who mends it, takes its line away.
"""

from __future__ import annotations

KNOWN: dict[str, tuple[tuple[str, ...], str]] = {}


def reason(scenario: str, tier: str) -> str:
    """Why a tier is known not to tell what a scenario claims; empty where it is not."""
    tiers, why = KNOWN.get(scenario, ((), ""))
    return why if tier in tiers else ""
