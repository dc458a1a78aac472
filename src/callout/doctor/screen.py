"""The report as text for people, and as lines of JSON for programs.

Rule of this file: pure. Only printable ASCII reaches a terminal; colour marks states and headings only.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from itertools import groupby

from callout.doctor.facts import Check

HEADINGS = {
    "kernel": "the kernel",
    "process": "this process",
    "host": "this host",
    "tier": "entry of the call: tiers of programs, best first",
    "socket": "after the call: programs that follow the socket",
    "entity": "processes: who made an attempt",
    "name": "names of destinations",
    "path": "ways out, and what observes them here",
    "way": "ways out, each taken once",
}
STATE_WIDTH = 6
COLORS = {"ok": "32", "warn": "33", "no": "31"}
BOLD = "1"


def ndjson(checks: Sequence[Check]) -> str:
    """One JSON object a line: check, state, detail, and remedy (null if there is none)."""
    return "".join(
        json.dumps({"check": c.name, "state": c.state, "detail": c.detail, "remedy": c.remedy or None}) + "\n"
        for c in checks
    )


def table(checks: Sequence[Check], width: int = 80, color: bool = False) -> str:
    """The whole screen, wrapped to ``width`` columns."""
    labels = max(len(label(check)) for check in checks) + 2
    lines: list[str] = []
    for group, members in groupby(checks, lambda check: check.name.partition(".")[0]):
        heading = HEADINGS.get(group)
        if heading:
            lines += ["", painted(heading, BOLD, color)]
        for check in members:
            # what stands alone needs no column for labels
            column = labels if heading else len(check.name) + 1
            lines += entry(check, column, width, color)
    return "\n".join(lines) + "\n"


def label(check: Check) -> str:
    """The last part of the name, set in where it belongs to the line above."""
    *parents, own = check.name.split(".")
    return "  " * max(0, len(parents) - 1) + own


def entry(check: Check, column: int, width: int, color: bool) -> list[str]:
    """The lines of one check."""
    margin = STATE_WIDTH + column
    room = max(20, width - margin)
    texts = wrapped(check.detail, room)
    if check.remedy:
        lead, *rest = wrapped(check.remedy, room - 3)
        texts += ["-> " + lead, *("   " + line for line in rest)]
    first = painted(check.state, COLORS[check.state], color) + " " * (STATE_WIDTH - len(check.state))
    return [first + label(check).ljust(column) + texts[0], *(" " * margin + line for line in texts[1:])]


def wrapped(text: str, room: int) -> list[str]:
    """Text in lines, without splitting words unless one is longer than a line."""
    return textwrap.wrap(printable(text), room, break_on_hyphens=False) or [""]


def printable(text: str) -> str:
    """Text with everything that a terminal might obey written as an escape."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def painted(text: str, code: str, color: bool) -> str:
    """Text in a colour (ECMA-48 SGR)."""
    return f"\033[{code}m{text}\033[0m" if color else text
