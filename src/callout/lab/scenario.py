"""What a scenario is: real attempts that make one documented behaviour happen, and what must become of them.

Rule of this file: a description, nothing that acts. What ``needs`` may name is in ``namespace.NEEDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callout.lab.world import World


USUAL = {
    "ipv6": "AF_INET6",
    "unix": "AF_UNIX",
}  # address families by family of scenarios; of all others AF_INET


@dataclass(frozen=True)
class Expected:
    """What becomes of one attempt, in the interface's words.

    ``errno`` is the error that the application gets in the end (None: none, or it never asks), ``return_``
    what connect(2) itself returned: 0 or -errno. They differ where the verdict comes after the call. None:
    the call never came back, or it was another call than connect(2).

    ``cause`` is what all the evidence tells. A tier of programs that lacks some of it tells less:
    ``without`` has the cause by the name of such a tier. ``seen_by`` names the tiers that can see the
    attempt at all (None: all). ``fields`` are further fields of its row, None for one that must be absent.
    ``late`` is a second row of the same attempt, for an error that comes to a socket without a connection.
    ``lenient``: what a tier sees of it is a matter of its programs, which `callout doctor --selftest` checks: the row
    may be absent, and may lack fields, but has to be right in what it says.
    """

    verdict: str
    errno: str | None
    cause: str | None
    return_: int | None
    without: Mapping[str, str] = field(default_factory=dict)
    seen_by: tuple[str, ...] | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    late: Expected | None = None
    lenient: bool = False

    def cause_on(self, tier: str) -> str | None:
        """The cause that a tier of programs can tell."""
        return self.without.get(tier, self.cause)


@dataclass(frozen=True)
class Scenario:
    """One behaviour: ``act`` makes the attempts, ``expected`` has one entry for each, in order of the calls.

    ``firewall`` holds nftables rules for locally made packets and ``routes`` arguments of ip(8), one command
    a line; both are in place before the attempts begin. ``slow`` means seconds: it runs beside the others,
    in a thread. ``forks`` means that it starts processes of its own, so no thread may be there: it runs
    first, and in a process of its own if it is slow. ``alone`` gives it a process and a network of its own,
    for settings that would disturb others: loopback and nothing else, without ``firewall`` and ``routes``.
    ``demo`` marks the few that ``callout trace --demo`` shows.

    ``family`` is the kind of behaviour. ``address_families`` are those of its sockets (or of the address, where
    there is no socket), ``entries`` its ways in as in `connect.entry`; a test compares both with what is done.
    """

    name: str
    family: str
    summary: str
    act: Callable[[World], None]
    expected: tuple[Expected, ...]
    needs: tuple[str, ...] = ()
    firewall: str = ""
    routes: str = ""
    slow: bool = False
    forks: bool = False
    alone: bool = False
    demo: bool = False
    address_families: tuple[str, ...] = ()
    entries: tuple[str, ...] = ("connect",)

    def __post_init__(self) -> None:
        if not self.address_families:
            object.__setattr__(self, "address_families", (USUAL.get(self.family, "AF_INET"),))

    @property
    def sentence(self) -> str:
        """What happens, in one sentence: the first line of what its function says of itself, or its summary."""
        said = (self.act.__doc__ or "").strip().partition("\n")[0]
        return said or f"{self.summary[:1].upper()}{self.summary[1:]}."

    @property
    def requirements(self) -> tuple[str, ...]:
        """All that it needs: ``needs`` and the tools for its rules and routes."""
        tools = [tool for tool, text in (("ip", self.routes), ("nft", self.firewall)) if text]
        return tuple(dict.fromkeys([*self.needs, *tools]))
