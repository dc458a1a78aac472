#!/usr/bin/env python3
"""Writes the table of docs/why.md: what `callout why` says of each failure that the laboratory makes.

    sudo python scripts/why_table.py    run all scenarios, traced, and write the table

Rule of this file: every line was seen in that run, told as the command tells it, with its looks at the host. What
differs from run to run (process numbers, chosen ports, durations) is left out. tests/kernel/test_why_lab.py makes the
failures again and compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from callout import laboratory
from callout.host import looks
from callout.lab import SCENARIOS, Scenario
from callout.story import Look, Story, tell

PAGE = Path(__file__).resolve().parent.parent / "docs/why.md"
PART = re.compile(r"(<!-- table: scripts/why_table.py -->\n).*?(<!-- end of table -->\n)", re.DOTALL)


class Line(NamedTuple):
    """One failed attempt: what the laboratory claims, and what was told. ``number``: of the attempts of a scenario."""

    scenario: str
    number: int
    claimed: str
    errno: str
    cause: str
    confidence: str
    sentence: str
    story: Story


def lines(
    tier: str | None = None, scenarios: tuple[Scenario, ...] = SCENARIOS
) -> tuple[list[Line], laboratory.Run]:
    """Runs scenarios and tells each failed attempt."""
    found: dict[int, tuple[Look, ...]] = {}

    def look(row: dict[str, Any]) -> None:
        if row.get("event.outcome") == "failure" and row["connect.id"] not in found:
            found[row["connect.id"]] = looks(row)

    run = laboratory.run(scenarios, tier, each=look)
    return list(told(run, found, scenarios)), run


def told(
    run: laboratory.Run, found: dict[int, tuple[Look, ...]], scenarios: tuple[Scenario, ...]
) -> Iterator[Line]:
    """The lines of a run."""
    for scenario in scenarios:
        for number, shown in enumerate(run.seen.of(scenario), 1):
            row, claim = shown.row, shown.expected
            if row is None or row.get("event.outcome") != "failure":
                continue
            other = claim.without.get(run.seen.tier or "", "unknown")  # told by what this tier sees instead
            claimed = claim.cause or claim.verdict if other == "unknown" else other
            story = tell(row, found.get(row["connect.id"], ()))
            yield Line(
                scenario.name, number, claimed, str(row.get("connect.errno", "")),
                story.cause, story.confidence, steady(story.sentence), story,
            )  # fmt: skip


def steady(text: str) -> str:
    """A sentence without what differs from run to run."""
    text = re.sub(r"\[\d+\]", "", text)
    text = re.sub(r"(?<=Descriptor )\d+", "…", text)
    text = re.sub(r"(?<=within )[\d.]+(ns|µs|ms|s)|(?<=after )[\d.]+(ns|µs|ms|s)", "…", text)
    text = re.sub(r":(3[3-9]\d{3}|[456]\d{4})\b", ":…", text)
    return re.sub(r"/callout-lab-[\w-]+|(?<=callout-lab)-\d+", "…", text)


def table(made: list[Line]) -> str:
    """The lines as Markdown."""
    rows = ["| scenario | errno | cause | how sure | sentence |", "| --- | --- | --- | --- | --- |"]
    for line in made:
        name = f"`{line.scenario}`" + (f" ({line.number})" if line.number > 1 else "")
        sentence = line.sentence.replace("|", "\\|")
        error = f"`{line.errno}`" if line.errno else ""
        rows.append(f"| {name} | {error} | `{line.cause}` | {line.confidence} | {sentence} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Runs and writes; 1 where something certain was wrong."""
    made, run = lines()
    wrong = [line for line in made if line.confidence == "certain" and line.cause != line.claimed]
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PART.sub(lambda m: f"{m[1]}\n{table(made)}\n{m[2]}", text), encoding="utf-8")
    right = sum(line.cause == line.claimed for line in made)
    print(
        f"{len(made)} failures told on the {run.seen.tier} tier: {right} causes as claimed, {len(wrong)} wrong"
    )
    for line in made:
        if line.cause != line.claimed:
            print(
                f"  {line.scenario} ({line.number}): {line.cause} ({line.confidence}), claimed {line.claimed}"
            )
            for look in line.story.looks:
                print(f"      {look.about} {look.says}: {look.text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
