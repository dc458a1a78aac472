"""The laboratory: real connection attempts, in a network of their own, one for each documented behaviour.

Rule of this package: one file per family of scenarios, and one line here for it. Nothing is simulated and
nothing leaves the namespace. ``child.spawn`` starts a process for it, ``runner.run`` is what runs there.

To add a scenario, write a function that makes the attempts and an entry with what must become of them in its
family's file; the tests take it from there. Give it an address or port of its own: slow ones run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from callout.errors import UsageError
from callout.lab import (
    again,
    arguments,
    attacks,
    clients,
    denials,
    dropped,
    ended,
    entries,
    families,
    fastopen,
    firewall,
    icmp,
    ipv6,
    limits,
    memory,
    mptcp,
    other,
    remote,
    routing,
    sharing,
    source,
    swaps,
    tcp,
    translated,
    udp,
    unix,
    unix_kinds,
    unix_queue,
    waiting,
)
from callout.lab.scenario import Expected, Scenario

__all__ = ["SCENARIOS", "TOPICS", "Expected", "Scenario", "demo", "named"]

SCENARIOS: tuple[Scenario, ...] = (
    *tcp.SCENARIOS,
    *ipv6.SCENARIOS,
    *again.SCENARIOS,
    *waiting.SCENARIOS,
    *sharing.SCENARIOS,
    *ended.SCENARIOS,
    *fastopen.SCENARIOS,
    *mptcp.SCENARIOS,
    *limits.SCENARIOS,
    *memory.SCENARIOS,
    *udp.SCENARIOS,
    *unix.SCENARIOS,
    *unix_kinds.SCENARIOS,
    *unix_queue.SCENARIOS,
    *other.SCENARIOS,
    *arguments.SCENARIOS,
    *routing.SCENARIOS,
    *source.SCENARIOS,
    *firewall.SCENARIOS,
    *translated.SCENARIOS,
    *dropped.SCENARIOS,
    *remote.SCENARIOS,
    *icmp.SCENARIOS,
    *denials.SCENARIOS,
    *families.SCENARIOS,
    *entries.SCENARIOS,
    *clients.SCENARIOS,
    *attacks.SCENARIOS,
    *swaps.SCENARIOS,
)


# Kinds of scenarios, in the order of SCENARIOS
TOPICS = {
    "tcp": "TCP over loopback",
    "ipv6": "IPv6 and mapped addresses",
    "again": "A socket that is called from twice",
    "waiting": "Callers that wait, and signals",
    "sharing": "One socket in several hands",
    "ended": "Attempts that somebody else ends",
    "fastopen": "TCP Fast Open",
    "mptcp": "Multipath TCP",
    "limits": "What runs out, and what is taken",
    "udp": "UDP",
    "unix": "Unix sockets",
    "other": "Other families and protocols",
    "families": "Families without connect",
    "arguments": "Mistakes of the caller",
    "routing": "What the routing table decides",
    "source": "The caller's own address and device",
    "firewall": "This host's firewall",
    "translated": "Turned around, queued, blocked: address translation, IPsec",
    "remote": "What comes back from another host",
    "dropped": "What drops packets",
    "denials": "Policies: seccomp, Landlock, cgroup programs",
    "entries": "Ways into the kernel apart from connect(2)",
    "clients": "What common clients do",
    "attacks": "What attackers do",
}


def demo() -> tuple[Scenario, ...]:
    """The few scenarios that ``callout trace --demo`` shows: they take about 4 s together."""
    return tuple(scenario for scenario in SCENARIOS if scenario.demo)


def named(names: Sequence[str] = ()) -> tuple[Scenario, ...]:
    """Scenarios by name, in the order of SCENARIOS; none: all. Raises UsageError for an unknown name."""
    known = {scenario.name for scenario in SCENARIOS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no scenario {unknown[0]!r}", f"there are: {', '.join(sorted(known))}")
    return tuple(scenario for scenario in SCENARIOS if not names or scenario.name in names)
