"""What a run came to: attempts, verdicts, and everything that is missing.

Rule of this file: counts only, and cheap to import. Attempts made are rows, hidden, habits, withheld or lost,
always (``Summary`` says it exactly), and a loss is never silent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callout import terminal
from callout.terminal import paint

if TYPE_CHECKING:
    from callout.batch import Batch

# Verdicts that are no failure, best last; all others are failures and come first in the totals.
MILD = ("pending", "dissolved", "associated", "established")
ATTEMPT = "connect"  # event.action of a row that is an attempt with its verdict
PHASE = "attempt"  # of the extra row of --phases, about an attempt that has its own row


@dataclass
class Summary:
    """Totals of one run; sources and the pipeline may set any of them.

    ``attempts`` were made; ``rows`` were handed to the output (the extra rows of --phases and the ``related``
    calls of -e network included);
    ``hidden`` were kept back here, by the filter or because they came after the last row asked for;
    ``habits`` too, by the name of each, because they are client habits that are no failures;
    ``withheld`` were kept back by the kernel side; ``lost`` were seen but never got here, or could not be
    written. ``late``: rows, among those before, that tell what came later of an attempt that had a row already.
    ``extra`` counts whatever else a source could not follow, by its own words (``orphaned``: the
    kernel side gave them up). ``seconds`` is how long the run took.

    At the end of a run
    ``attempts = rows - extra rows - related - late + hidden + habits + withheld + lost + orphaned``.
    Attempts that are still under way then are rows too, with the verdict `pending`.
    """

    attempts: int = 0
    rows: int = 0
    related: int = 0
    lost: int = 0
    withheld: int = 0
    late: int = 0
    hidden: int = 0
    habits: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    extra: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Counts the rows of a batch, and the attempts and verdicts among them."""
        self.rows += len(batch)
        made, around = _kinds(batch)
        self.attempts += made
        self.related += around
        self.verdicts.update(_tally(batch, "connect.verdict"))

    def hide(self, batch: Batch) -> None:
        """Counts the attempts of a batch that is kept back."""
        made, _ = _kinds(batch)
        self.hidden += made
        self.attempts += made

    def set_aside(self, batch: Batch) -> None:
        """Counts the attempts of a batch of client habits that is kept back, each by its pattern."""
        self.habits.update(_tally(batch, "connect.pattern"))
        self.attempts += len(batch)

    def lose(self, unwritten: Summary) -> None:
        """Turns rows that were counted before they could not be written into losses."""
        self.rows -= unwritten.rows
        self.related -= unwritten.related
        self.lost += unwritten.attempts
        self.verdicts -= unwritten.verdicts

    def as_dict(self) -> dict[str, Any]:
        """All totals, for programs."""
        return {
            "attempts": self.attempts,
            "rows": self.rows,
            "related": self.related,
            "lost": self.lost,
            "withheld": self.withheld,
            "late": self.late,
            "hidden": self.hidden,
            "habits": dict(self.habits.most_common()),
            "verdicts": dict(self.by_gravity()),
            "seconds": self.seconds,
            "extra": dict(self.extra),
        }

    def by_gravity(self) -> list[tuple[str, int]]:
        """Verdicts and their counts: failures before the rest, then the most frequent first."""

        def gravity(item: tuple[str, int]) -> tuple[int, int, str]:
            verdict, count = item
            return (MILD.index(verdict) + 1 if verdict in MILD else 0, -count, verdict)

        return sorted(self.verdicts.items(), key=gravity)

    def lines(self, color: bool = False, width: int = 80) -> list[str]:
        """The totals for people, at most ``width`` columns where words allow; a loss is last and loud."""
        made = f"{self.attempts:,} attempt{'s' * (self.attempts != 1)}"
        if self.related:
            made += f" and {self.related:,} related call{'s' * (self.related != 1)}"
        head = f"{made} in {terminal.duration(int(self.seconds * 1e9))}"
        tallies = [(f"{count:,} {verdict}", _color(verdict)) for verdict, count in self.by_gravity()]
        lines = _wrap(head + ": " if tallies else head, tallies, width, color)
        kept = [(self.hidden, "by filter or count"), (self.withheld, "in the kernel")]
        if any(count for count, _ in kept):
            told = ", ".join([f"{count:,} {where}" for count, where in kept if count])
            lines.append(f"not shown: {told}")
        if self.habits:
            number = self.habits.total()
            many = "a client habit" if number == 1 else f"{number:,} client habits"
            parts = [(f"{count:,} {name}", "") for name, count in self.habits.most_common()]
            lines += _wrap(f"not shown: {many} (see --all): ", parts, width, color)
        if self.late:
            many = "1 tells" if self.late == 1 else f"{self.late:,} tell"
            lines.append(f"of the rows {many} what came later of an attempt that had succeeded")
        if self.extra:
            told = ", ".join([f"{count:,} {what}" for what, count in self.extra.items()])
            lines.append(paint(f"not followed to the end: {told}", "yellow", color))
        if self.lost:
            one = self.lost == 1
            words = f"LOST {self.lost:,} attempt{'' if one else 's'}: what is shown is incomplete"
            lines.append(paint(words, "loud", color))
        return lines


def _color(verdict: str) -> str:
    return {"pending": "yellow"}.get(verdict, "green" if verdict in MILD else "red")


def _kinds(batch: Batch) -> tuple[int, int]:
    """How many rows of a batch are attempts, and how many are calls around them."""
    actions = _tally(batch, "event.action")
    around = actions.total() - actions[ATTEMPT] - actions[PHASE]
    return len(batch) - actions[PHASE] - around, around


def _tally(batch: Batch, name: str) -> Counter[str]:
    """How often each value of a column occurs; empty where the batch does not have it."""
    import numpy as np

    from callout.batch import Coded

    if name not in batch or not len(batch):
        return Counter()
    column = batch.column(name)
    if not isinstance(column, Coded):
        raise TypeError(f"{name} holds text and has to be a Coded column")
    counts = np.bincount(column.codes + 1, minlength=len(column.values) + 1)[1:]
    tally: Counter[str] = Counter()
    for code in np.flatnonzero(counts).tolist():
        tally[column.values[code]] += int(counts[code])
    return tally


def _wrap(head: str, pieces: list[tuple[str, str]], room: int, color: bool) -> list[str]:
    """``head`` and the pieces with commas between, broken between pieces; later lines are indented."""
    lines, line, used = [], head, terminal.width(head)
    for i, (text, paint_as) in enumerate(pieces):
        glue = "" if not i else ", "
        end = "," if i + 1 < len(pieces) else ""
        if i and used + len(glue) + terminal.width(text + end) > room:
            lines.append(line + ",")
            line, used, glue = "  ", 2, ""
        line += glue + paint(text, paint_as, color)
        used += len(glue) + terminal.width(text)
    return [*lines, line]
