"""Stories and groups as text for people, and as rows for programs.

Rule of this file: pure. A line never takes more than the width where words allow; what processes chose is escaped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from callout.schema import nest
from callout.story.group import Group
from callout.story.model import Step, Story
from callout.terminal import cut, duration, escape, pad, paint, width

SHADES = {"certain": "green", "likely": "yellow", "unknown": "red"}
HELD = {
    "certain": "what was seen leaves nothing else",
    "likely": "it fits what was seen; something else would look the same",
    "unknown": "what was seen does not tell",
}
ABOUT = (
    "@timestamp", "process.pid", "process.name", "user.id", "destination.ip", "destination.port",
    "destination.address", "destination.domain", "network.transport", "connect.id", "connect.verdict",
    "connect.errno", "connect.evidence", "connect.netns",
)  # fmt: skip


def story_lines(
    story: Story, columns: int = 80, color: bool = False, zone: tzinfo | None = None
) -> Iterator[str]:
    """One story for people."""
    began = story.row.get("@timestamp")
    when = "" if began is None else f" at {clock(began, zone)}"
    yield paint(cut(escape(story.headline) + when, columns), "loud", color)
    yield ""
    yield from wrapped(story.sentence, columns, "  ")
    yield ""
    if story.cause:
        yield (
            f"  cause       {story.cause}  "
            + paint(story.confidence, SHADES[story.confidence], color)
            + paint(f" ({HELD[story.confidence]})", "dim", color)
        )
    yield from labelled("evidence", story.evidence, columns)
    yield from labelled("this host", [f"{look.text} [{look.source}]" for look in story.looks], columns)
    if story.possible:
        label = "or" if story.confidence == "likely" else "possible"
        yield from labelled(label, story.possible, columns)
    yield ""
    for step in story.steps:
        yield from wrapped(step.text, columns, f"  {moment(step):>10}  ")
    if story.advice:
        yield ""
        for advice in story.advice:
            yield "  $ " + escape(advice.command)
            yield from (paint(line, "dim", color) for line in wrapped(advice.purpose, columns, "      "))


def moment(step: Step) -> str:
    """When a step was: ``+1.02s``, ``≈+1.00s`` where it was worked out."""
    if step.at is None:
        return ""
    return ("" if step.seen else "≈") + "+" + (duration(step.at) if step.at else "0")


def labelled(label: str, texts: Sequence[str], columns: int) -> Iterator[str]:
    """Texts behind a label, one a line."""
    for i, text in enumerate(texts):
        yield from wrapped(text, columns, f"  {label if not i else '':<10}  ")


def wrapped(text: str, columns: int, head: str) -> Iterator[str]:
    """Text behind ``head``, harmless and wrapped; later lines are indented as far."""
    yield from textwrap.wrap(
        escape(text),
        max(columns, 40),
        initial_indent=head,
        subsequent_indent=" " * width(head),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head]


def group_lines(
    groups: Sequence[Group], columns: int = 80, color: bool = False, zone: tzinfo | None = None
) -> Iterator[str]:
    """A table of groups: a line each, and below it who and the sentence."""
    if not groups:
        return
    room = min(
        max(columns - 54, 21), max([len("destination"), *(width(escape(g.destination)) for g in groups)])
    )
    yield paint(f"count  {pad('destination', room)}  {'cause':<22}  {'sure':<8}  last", "dim", color)
    for group in groups:
        story = group.story()
        last = "" if group.last is None else clock(group.last, zone)
        where = pad(cut(escape(group.destination), room), room)
        sure = paint(f"{story.confidence:<8}", SHADES[story.confidence], color)
        yield f"{group.count:>5}  {where}  {story.cause:<22}  {sure}  {last}".rstrip()
        names = ", ".join(escape(name) for name in group.processes)
        error = str(group.latest.get("connect.errno") or group.latest.get("connect.verdict"))
        yield from (
            paint(part, "dim", color)
            for part in wrapped(f"{names}: {error}. {story.sentence}", columns, " " * 7)
        )


def clock(ns: int, zone: tzinfo | None = None) -> str:
    """Local time of day."""
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, zone):%H:%M:%S}"


def utc(ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds, as the other outputs have it."""
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09}Z"


def story_row(story: Story) -> dict[str, Any]:
    """One story for programs: what is known of the attempt under its usual names, the rest under ``why``."""
    row = {name: story.row[name] for name in ABOUT if name in story.row}
    if "@timestamp" in row:
        row["@timestamp"] = utc(row["@timestamp"])
    return nest(row) | {
        "why": {
            "cause": story.cause or None,
            "confidence": story.confidence,
            "sentence": story.sentence,
            "evidence": list(story.evidence),
            "possible": list(story.possible),
            "looks": [
                {"about": look.about, "says": look.says, "text": look.text, "source": look.source}
                for look in story.looks
            ],
            "steps": [
                {"text": step.text, "seen": step.seen} | ({} if step.at is None else {"at": step.at})
                for step in story.steps
            ],
            "next": [{"command": a.command, "purpose": a.purpose} for a in story.advice],
        }
    }


def group_row(group: Group) -> dict[str, Any]:
    """One group for programs."""
    story = group.story()
    row = {
        name: group.latest[name] for name in ABOUT if name in group.latest and name.startswith("destination.")
    }
    times = {} if group.last is None else {"first": utc(group.first), "last": utc(group.last)}
    return nest(row) | {
        "connect": {
            name.partition(".")[2]: group.latest[name]
            for name in ("connect.id", "connect.verdict", "connect.errno")
            if name in group.latest
        },
        "why": {
            "cause": story.cause,
            "confidence": story.confidence,
            "sentence": story.sentence,
            "count": group.count,
            **times,
            "processes": group.processes,
        },
    }
