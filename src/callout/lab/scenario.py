"""What a scenario is: real attempts that make one documented behaviour happen, and what must become of them.

Rule of this file: a description, nothing that acts. What ``needs`` may name is in ``namespace.NEEDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callout.lab.world import World


@dataclass(frozen=True)
class Expected:
    """What becomes of one attempt, in the interface's words.

    ``errno`` is the error that the application gets in the end (None: none, or it never asks), ``return_``
    what connect(2) itself returned: 0 or -errno. They differ where the verdict comes after the call.
    """

    verdict: str
    errno: str | None
    cause: str | None
    return_: int


@dataclass(frozen=True)
class Scenario:
    """One behaviour: ``act`` makes the attempts, ``expected`` has one entry for each, in order of the calls.

    ``firewall`` holds nftables rules for locally made packets and ``routes`` arguments of ip(8), one command
    a line; both are in place before the attempts begin. ``slow`` means seconds: it runs in a thread beside
    the others. ``forks`` means that it starts a process of its own: it runs before there are threads.
    ``demo`` marks the few that ``callout trace --demo`` shows.
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
    demo: bool = False

    @property
    def requirements(self) -> tuple[str, ...]:
        """All that it needs: ``needs`` and the tools for its rules and routes."""
        tools = [tool for tool, text in (("ip", self.routes), ("nft", self.firewall)) if text]
        return tuple(dict.fromkeys([*self.needs, *tools]))
