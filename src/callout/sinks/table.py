"""For people, live: one line per attempt, as wide as the terminal.

Rule of this file: a line never takes more than the width, and never loses error or cause. Below 100 columns there is no
time; what gives way then is the latency, then the middle of the destination; error and cause that have no room get a
line of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from callout.cause import meanings
from callout.sinks import Target, related
from callout.summary import MILD
from callout.terminal import cut, duration, escape, pad, paint, width
from callout.verdict import VERDICTS

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.summary import Summary

WHO = 18  # columns for name and pid; longer ones push the rest
WHERE = 21  # columns for the destination: any IPv4 address and port
WIDEST = 40  # columns for the destination where there is room for any
NARROWEST = 60  # a terminal below that wraps the lines itself
TIMED = 100  # columns from which on each line begins with the time
SHORT_ID = 12  # characters of a container's id, as docker ps shows them
NARROW = 8  # columns that destination and process name always keep

COLUMNS = (
    "@timestamp",
    "event.action",
    "event.duration",
    "process.name",
    "process.pid",
    "destination.ip",
    "destination.port",
    "destination.address",
    "destination.domain",
    "connect.domain_confidence",
    "network.transport",
    "connect.sockaddr",
    "connect.verdict",
    "connect.errno",
    "connect.cause",
    "connect.lost_before",
    "connect.pattern",
    "orchestrator.resource.name",
    "container.name",
    "container.id",
    "service.name",
)


class Row(NamedTuple):
    """What a line is made of; None where there is no value."""

    began: int | None
    action: str | None
    took: int | None
    name: str | None
    pid: int | None
    ip: str | None
    port: int | None
    address: str | None
    domain: str | None
    confidence: str | None
    transport: str | None
    sockaddr: str | None
    verdict: str | None
    error: str | None
    cause: str | None
    lost: int | None
    pattern: str | None
    pod: str | None = None
    container: str | None = None
    container_id: str | None = None
    unit: str | None = None


def rows_of(batch: Batch, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """The values of some columns, row by row; None where there is no value or no such column."""
    nothing = [None] * len(batch)
    return zip(*[batch.column(name).tolist() if name in batch else nothing for name in names], strict=True)


def related_calls(batch: Batch) -> dict[int, related.Call]:
    """The rows that are calls around attempts, by number; without -e network there are none."""
    if related.COLUMNS[0] not in batch:
        return {}
    column = batch.column(related.COLUMNS[0])
    if related.ACTIONS.isdisjoint(getattr(column, "values", ())):
        return {}
    rows = enumerate(rows_of(batch, related.COLUMNS))
    return {number: related.Call(*values) for number, values in rows if values[0] in related.ACTIONS}


class TableSink:
    """Lines for people. ``explain`` adds what the cause or verdict means; ``zone``: None is this host's."""

    def __init__(self, target: Target, explain: bool = False, zone: tzinfo | None = None) -> None:
        self.target = target
        self.explain = explain
        self.zone = zone
        self.shows_totals = target.terminal
        self._room = max(target.width, NARROWEST)
        self._timed = self._room >= TIMED
        spare = 0 if explain else max(target.width - 80, 0)
        self._column = min(WHERE + spare, WIDEST)

    def write(self, batch: Batch) -> None:
        """Writes and flushes one or two lines per row."""
        if len(batch):
            calls = related_calls(batch)
            lines: list[str] = []
            for number, values in enumerate(rows_of(batch, COLUMNS)):
                row = Row(*values)
                lines += [self.related(row, calls[number])] if number in calls else self.lines(row)
            self.target.put([line.encode() + b"\n" for line in lines])

    def close(self, summary: Summary | None) -> None:
        """Totals, on a terminal only: elsewhere they would be taken for rows."""
        if summary is not None and self.shows_totals:
            lines = summary.lines(self.target.color, self._room)
            self.target.put([line.encode() + b"\n" for line in lines])
        self.target.finish()

    def lines(self, row: Row) -> Iterator[str]:
        """The lines of one row."""
        color = self.target.color
        if row.lost:
            yield paint(f"… {row.lost:,} attempt{'s' * (row.lost != 1)} lost here", "loud", color)
        time = "" if not self._timed else " " * 13 if row.began is None else self.clock(row.began) + " "
        who = self.who(row)
        where, full = destination(row), named(row)
        if row.verdict is None:
            said = "attempt …" if row.action == "attempt" else escape(row.action or "")
            shade, late = "dim", ""
        else:
            # a client habit is no failure, whatever its verdict
            said, shade = escape(row.verdict), "dim" if row.pattern else verdict_color(row.verdict)
            late = "" if row.took is None else "  " + duration(row.took)
        reason, code = escape(row.cause or ""), escape(row.error or "")
        why = f"{code}: {reason}" if code and reason else code or reason
        why = ", ".join([part for part in (why, escape(row.pattern or "")) if part])
        choices = [(f"{said} ({why})", late), (f"{said} ({why})", "")] if why else []
        choices += [(said, late), (said, "")]
        fixed = len(time) + width(who) + 3 + 2
        for told, took_text in choices:
            room = self._room - fixed - width(told + took_text)
            if room >= min(width(where), WHERE):
                break
        if width(full) <= room:
            where = full
        least = min(width(where), NARROW)
        if room < least:  # the last resort: a long name on a narrow terminal
            who, room = cut(who, max(width(who) - (least - room), NARROW)), least
        spare = max(0, room - min(width(where), room))
        padded = pad(who, min(WHO, width(who) + spare))
        room -= width(padded) - width(who)
        where = pad(cut(where, max(room, 1)), min(room, self._column))
        line = f"{time}{padded} → {where}  "
        shown = line + paint(told, shade, color) + paint(took_text, "dim", color)
        beside, below = self.meaning(row.verdict, row.cause), [f"({why})"] if why and told == said else []
        if beside and (below or width(line + told + took_text) + 2 + width(beside) > self._room):
            beside, below = "", [*below, beside]
        yield shown + (paint("  " + beside, "dim", color) if beside else "")
        indent = " " * (13 if self._timed else 4)
        for text in below:
            yield indent + paint(cut(text, self._room - len(indent)), "dim", color)

    def related(self, row: Row, call: related.Call) -> str:
        """The line of a call around an attempt."""
        time = "" if not self._timed else " " * 13 if row.began is None else self.clock(row.began) + " "
        who = self.who(row)
        line = cut(f"{time}{pad(who, WHO)}   {related.told(call)}", self._room)
        return paint(line, "dim", self.target.color)

    def who(self, row: Row) -> str:
        """Where the process belongs, then its name if there is room, and its pid."""
        pid = "" if row.pid is None else f"[{row.pid}]"
        name, place = escape(row.name or ""), escape(belongs(row) or "")
        if not place:
            return name + pid
        most = WHO if self._room < TIMED else WHO + self._room // 10
        both = f"{place}:{name}{pid}"
        if name and width(both) <= most:
            return both
        return cut(place, max(most - width(pid), NARROW)) + pid

    def clock(self, ns: int) -> str:
        """Local time of day in milliseconds."""
        return (
            f"{datetime.fromtimestamp(ns // 1_000_000_000, self.zone):%H:%M:%S}.{ns // 1_000_000 % 1000:03}"
        )

    def meaning(self, verdict: str | None, cause: str | None) -> str:
        """A few words for the cause, else for the verdict; empty unless they are asked for."""
        if not self.explain or verdict is None:
            return ""
        return meanings().get(cause or "") or VERDICTS.get(verdict, "")


def belongs(row: Row) -> str | None:
    """What tells most about where a process belongs: pod, container, or unit.

    Sessions and what a user's own systemd started say less than the process does.
    """
    if row.pod or row.container or row.container_id:
        return row.pod or row.container or (row.container_id or "")[:SHORT_ID]
    if row.unit and row.unit.endswith(".service") and not row.unit.startswith("user@"):
        return row.unit.removesuffix(".service")
    return None


def verdict_color(verdict: str) -> str:
    """Green for what succeeded, yellow for what is open or was cut short, red for what failed."""
    if verdict in ("pending", "interrupted", "aborted"):
        return "yellow"
    return "green" if verdict in MILD else "red"


def named(row: Row) -> str:
    """The peer with the name that the process meant, if that is known; a question mark where it is not sure."""
    where = destination(row)
    if not row.domain:
        return where
    return f"{escape(row.domain)}{'?' if row.confidence == 'low' else ''} ({where})"


def destination(row: Row) -> str:
    """The peer, harmless for a terminal: address and port, path or abstract name, else the address as strace
    has it.
    """
    if row.ip is not None:
        shown = f"[{row.ip}]" if ":" in row.ip and row.port is not None else row.ip
        shown += "" if row.port is None else f":{row.port}"
        shown += f"/{row.transport}" if row.transport not in (None, "tcp") else ""
    elif row.address is not None and (row.transport == "unix" or row.sockaddr is None):
        shown = row.address
    elif row.sockaddr is not None:
        shown = row.sockaddr.removeprefix("{sa_family=").removesuffix("}")
    else:
        shown = "?"
    return escape(shown)
