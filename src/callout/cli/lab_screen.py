"""The laboratory for people: the list of scenarios, a page for each that ran, and what a check found.

Rule of this file: what it is given, laid out for a terminal of a width; nothing is looked up or run.
"""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from callout.cli import lab_data
from callout.lab import Scenario, snippet, snippet_c, snippet_python
from callout.lab.seen import Shown
from callout.sinks import Target
from callout.sinks.table import COLUMNS, Row, TableSink
from callout.terminal import escape, pad, paint

if TYPE_CHECKING:
    from callout.laboratory import Run

LABEL = 10  # columns for what stands on the left of a page
HEADS = ("name", "family", "entry", "verdict", "errno", "cause")
WIDEST = {"name": 22, "family": 10, "entry": 17, "verdict": 16, "errno": 15, "cause": 21}
STATES = {
    "as claimed": ("ok", "green"),
    "known": ("known", "yellow"),
    "impossible": ("--", "dim"),
    "differs": ("no", "red"),
    "mended": ("no", "red"),
}


class Screen:
    """Text for a terminal of ``width`` columns, with ``color`` or without."""

    def __init__(self, width: int, color: bool) -> None:
        self.width = max(width, 60)
        self.color = color
        self._rows = TableSink(Target(io.BytesIO(), None, False, self.width - LABEL, color))

    def listing(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """All rows as a table; the sentence beside them where there is room, else below."""
        heads, widths = self.columns(rows)
        beside = self.width - sum(widths) - 2 * len(widths) >= max(len(row["sentence"]) for row in rows)
        head = "  ".join(pad(name, width) for name, width in zip(heads, widths, strict=True))
        lines = [paint(head + ("  sentence" if beside else ""), "dim", self.color)]
        for row in rows:
            texts = [shorter(row[head], WIDEST[head]) for head in heads]
            line = "  ".join(pad(text, width) for text, width in zip(texts, widths, strict=True))
            left = [word for head in HEADS if head not in heads for word in row[head] if word != "connect"]
            sentence = f"{row['sentence']} ({', '.join(left)})" if left else row["sentence"]
            lines += [f"{line}  {sentence}".rstrip()] if beside else self.below(line, sentence)
        return "\n".join(lines) + "\n"

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[int]]:
        """The columns that have room in a line, and how wide they are."""
        for heads in (
            HEADS,
            ("name", "family", "verdict", "errno", "cause"),
            ("name", "verdict", "errno", "cause"),
        ):
            cells = [[shorter(row[head], WIDEST[head]) for head in heads] for row in rows]
            widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
            if sum(widths) + 2 * (len(widths) - 1) <= self.width:
                break
        return heads, widths

    def below(self, line: str, sentence: str) -> Iterator[str]:
        """A line and the sentence below it."""
        yield line.rstrip()
        for text in textwrap.wrap(sentence, self.width - 4):
            yield "    " + paint(text, "dim", self.color)

    def page(self, scenario: Scenario, run: Run) -> str:
        """A scenario that ran: what was in place, the calls, what was seen and what it means."""
        lines = [self.heading(scenario)]
        if scenario.name in run.impossible:
            lines += self.labelled("", [run.impossible[scenario.name]])
            return "\n".join(lines) + "\n\n"
        made = run.seen.of(scenario)
        lines += self.labelled("in place", lab_data.arranged(scenario, run.arranged.get(scenario.name, ())))
        lines += self.code([shown.attempt for shown in made])
        for number, shown in enumerate(made, 1):
            lines += self.attempt(shown, number if len(made) > 1 else 0, bool(run.untraced))
        lines += self.labelled("claimed", run.seen.differences(scenario))
        return "\n".join(lines) + "\n\n"

    def heading(self, scenario: Scenario) -> str:
        """Name, sentence and kind."""
        kind = ", ".join([*scenario.address_families, *scenario.entries])
        return f"{paint(scenario.name, 'green', self.color)}  {scenario.sentence}\n{' ' * LABEL}{kind}"

    def code(self, attempts: Sequence[Any]) -> Iterator[str]:
        """The calls in C and in Python; the commands of those that other programs made."""
        own = [attempt for attempt in attempts if not attempt.command]
        commands = list(dict.fromkeys(attempt.command for attempt in attempts if attempt.command))
        yield from self.labelled("command", commands)
        if own:
            yield from self.labelled("in C", snippet_c.lines(own))
            yield from self.labelled("in Python", snippet_python.lines(own))

    def attempt(self, shown: Shown, number: int, untraced: bool) -> Iterator[str]:
        """One attempt: what strace shows of it, what callout does, and what that means."""
        if number:
            yield paint(f"{number}.", "dim", self.color)
        strace = snippet.strace(shown.attempt)
        yield from self.labelled("strace", [strace] if strace else [])
        if shown.row is not None:
            rows = [shown.row, *shown.late]
            yield from self.labelled("callout", [line for row in rows for line in self.row(row)])
        elif not untraced:
            yield from self.labelled("callout", ["no row: this tier of programs does not see it"])
        why = lab_data.why(shown)
        yield from self.labelled("why", wrapped(f"{why[:1].upper()}{why[1:]}.", self.width - LABEL))
        if remedy := lab_data.remedy(shown):
            told = wrapped(f"{remedy[:1].upper()}{remedy[1:]}.", self.width - LABEL)
            yield from self.labelled("remedy", told)

    def row(self, row: Mapping[str, Any]) -> list[str]:
        """A row as `callout trace` prints it."""
        return list(self._rows.lines(Row(*(row.get(name) for name in COLUMNS))))

    def labelled(self, label: str, texts: Iterable[str]) -> Iterator[str]:
        """Lines with a label before the first of them."""
        for text in texts:
            yield (paint(pad(label, LABEL), "dim", self.color) + text).rstrip()
            label = ""

    def differences(self, found: Sequence[Mapping[str, Any]], run: Run) -> str:
        """What a check found: scenarios that are not as claimed, and the totals."""
        lines = []
        for one in found:
            state, color = STATES[one["result"]]
            if one["result"] == "as claimed":
                continue
            texts = [text for text in (one["reason"], *one["differences"]) if text]
            if one["result"] == "mended":
                texts[0] = f"is as claimed now, but known for: {texts[0]}"
            name = pad(one["name"], WIDEST["name"])
            room = self.width - 7 - len(name) - 1
            parts = [part for text in texts for part in wrapped(escape(text), room)]
            lines.append(paint(pad(state, 7), color, self.color) + f"{name} {parts[0]}")
            lines += (" " * (8 + len(name)) + part for part in parts[1:])
        counts = Counter(one["result"] for one in found)
        words = [f"{counts[result]} {result}" for result in STATES if counts[result]]
        where = "not traced" if run.untraced else f"tier {run.seen.tier}"
        lines.append(f"{len(found)} scenario{'s' * (len(found) != 1)}: {', '.join(words)} ({where})")
        return "\n".join(lines) + "\n"


def shorter(value: str | Sequence[str], room: int) -> str:
    """A cell: several values are separated by commas, those that have no room are counted."""
    if isinstance(value, str):
        return value
    if not value:
        return "-"
    for count in range(len(value), 0, -1):
        more = f" +{len(value) - count}" if count < len(value) else ""
        if len(text := ",".join(value[:count]) + more) <= room or count == 1:
            return text
    return ""


def wrapped(text: str, room: int) -> list[str]:
    """Text in lines."""
    return textwrap.wrap(text, max(room, 20), break_on_hyphens=False, break_long_words=False) or [""]
