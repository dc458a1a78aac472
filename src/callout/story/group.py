"""Failed attempts, grouped by cause and destination, worst first.

Rule of this file: pure; it keeps one row of each group, the latest, and counts the others.

Worst first: what others or this host refuse before mistakes of the caller, and those before attempts that the
application gave up itself; then the most frequent, then the latest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from callout.computed import SynSchedule
from callout.story.model import Look, Packet, Row, Story
from callout.story.tell import tell
from callout.story.weigh import cause_of
from callout.story.words import destination

MILDER = {"invalid": 1, "aborted": 2, "interrupted": 2, "pending": 3}
FAILURE = "failure"


@dataclass
class Group:
    """Attempts with one cause and one destination: how many, between when, by which processes, and the latest."""

    cause: str
    destination: str
    latest: Row
    count: int = 0
    first: Any = None
    last: Any = None
    processes: dict[str, int] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    packets: tuple[Packet, ...] = ()
    schedule: SynSchedule | None = None
    prefix: str = ""

    def add(self, row: Row) -> None:
        """Counts one attempt."""
        self.count += 1
        when = row.get("@timestamp")
        if when is not None:
            self.first = when if self.first is None else min(self.first, when)
            if self.last is None or when >= self.last:
                self.last, self.latest = when, row
        else:
            self.latest = row
        name = str(row.get("process.name", "?"))
        self.processes[name] = self.processes.get(name, 0) + 1

    def story(self) -> Story:
        """The latest attempt, with what the host told when the first of them came."""
        return tell(self.latest, self.looks, self.packets, schedule=self.schedule, prefix=self.prefix)

    @property
    def gravity(self) -> tuple[int, int, Any]:
        """Sorts the worst first."""
        return (
            MILDER.get(str(self.latest.get("connect.verdict")), 0),
            -self.count,
            -(self.last or 0),
        )


class Groups:
    """Gathers failed attempts; ``others`` counts what did not fail or is a client habit."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], Group] = {}
        self.failed = 0
        self.others = 0
        self.habits = 0

    def add(self, rows: Iterable[Row]) -> list[Group]:
        """Takes rows; those that are no failed attempts are only counted. Returns the groups that are new."""
        new = []
        for row in rows:
            if row.get("event.action", "connect") != "connect":
                continue
            if row.get("event.outcome") != FAILURE:
                self.others += 1
            elif "connect.pattern" in row:
                self.habits += 1
            else:
                self.failed += 1
                cause = cause_of(row)
                key = (cause, destination(row), str(row.get("connect.errno")))
                group = self._groups.get(key)
                if group is None:
                    group = self._groups[key] = Group(cause, key[1], row)
                    new.append(group)
                group.add(row)
        return new

    def worst_first(self) -> list[Group]:
        """All groups."""
        return sorted(self._groups.values(), key=lambda group: group.gravity)
