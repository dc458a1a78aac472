"""From facts to judgements: what works here, what does not, and what to do about it.

Rule of this file: pure. The groups of checks stand in one visible tuple, in the order of the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from callout.capture import privileges
from callout.doctor import coverage, system
from callout.doctor.facts import Check, Facts


def tracing(facts: Facts) -> Iterator[Check]:
    """The answer to the question that most people have."""
    if facts.tier:
        yield Check("tracing", "ok", f"works here, with the {facts.tier} tier")
    else:
        yield Check("tracing", "no", f"does not work here: {facts.tier_error}", first_remedy(facts))


def first_remedy(facts: Facts) -> str:
    """What to put right first."""
    if privileges.missing(facts.host.effective):
        return system.capability_remedy(facts.host)
    if facts.host.btf_size is None:
        return system.BTF_REMEDY
    if facts.libbpf is None:
        return system.LIBBPF_REMEDY
    return "see below for each program and why it is refused"


GROUPS: tuple[Callable[[Facts], Iterator[Check]], ...] = (
    tracing,
    system.kernel,
    system.process,
    system.host,
    coverage.tiers,
    coverage.sockets,
    coverage.processes,
    coverage.names,
    coverage.paths,
)


def report(facts: Facts) -> list[Check]:
    """Every check, in the order in which they are shown."""
    return [check for group in GROUPS for check in group(facts)]


def can_trace(checks: list[Check]) -> bool:
    """Whether `callout trace` can run here."""
    return any(check.name == "tracing" and check.state == "ok" for check in checks)
