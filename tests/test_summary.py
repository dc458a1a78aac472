"""Totals: what counts as an attempt, what comes first, and a loss that cannot be overlooked."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from callout.batch import Batch, Coded, Plain
from callout.rows import from_rows
from callout.summary import Summary

ROWS = [
    {"event.action": "attempt"},
    {"event.action": "connect", "connect.verdict": "established"},
    {"event.action": "connect", "connect.verdict": "refused"},
    {"event.action": "connect", "connect.verdict": "refused"},
    {"event.action": "connect", "connect.verdict": "timed_out"},
    {"connect.verdict": "pending"},
]


def test_add_counts_rows_attempts_and_verdicts() -> None:
    summary = Summary(seconds=2.0)
    summary.add(Batch(len(ROWS), from_rows(ROWS)))
    summary.add(Batch(0, {}))
    summary.add(Batch(1, {"connect.verdict": Coded(np.array([1], np.int32), ["unused", "established"])}))
    assert summary.as_dict() == {
        "attempts": 6,
        "rows": 7,
        "related": 0,
        "lost": 0,
        "withheld": 0,
        "late": 0,
        "hidden": 0,
        "habits": {},
        "verdicts": {"refused": 2, "timed_out": 1, "pending": 1, "established": 2},
        "seconds": 2.0,
        "extra": {},
    }
    assert list(summary.as_dict()["verdicts"]) == ["refused", "timed_out", "pending", "established"]


def test_what_is_kept_back_and_what_is_not_written() -> None:
    """Attempts, whatever extra rows belong to them; the sum stays."""
    batch = Batch(len(ROWS), from_rows(ROWS))
    summary, unwritten = Summary(lost=2), Summary()
    for _ in range(3):
        summary.add(batch)
    summary.hide(batch)
    summary.hide(Batch(0, {}))
    unwritten.add(batch)
    summary.lose(unwritten)
    assert (summary.attempts, summary.rows, summary.hidden, summary.lost) == (20, 12, 5, 7)
    assert summary.attempts + 2 == (summary.rows - 2) + summary.hidden + summary.lost
    assert summary.verdicts == Counter(refused=4, established=2, timed_out=2, pending=2)


def test_related_calls_are_rows_but_no_attempts() -> None:
    around = [{"event.action": name} for name in ("socket", "close", "end")]
    batch = Batch(len(ROWS) + 3, from_rows([*ROWS, *around]))
    summary, unwritten = Summary(seconds=1.0), Summary()
    for _ in range(3):
        summary.add(batch)
    summary.hide(batch)
    unwritten.add(batch)
    summary.lose(unwritten)
    assert (summary.attempts, summary.rows, summary.related, summary.hidden, summary.lost) == (
        20,
        18,
        6,
        5,
        5,
    )
    assert summary.attempts == (summary.rows - 2 - summary.related) + summary.hidden + summary.lost
    assert summary.lines()[0].startswith("20 attempts and 6 related calls in 1.00s: ")


def test_verdicts_that_are_no_text_are_refused() -> None:
    with pytest.raises(TypeError, match=r"connect\.verdict"):
        Summary().add(Batch(1, {"connect.verdict": Plain(np.zeros(1))}))


def test_lines_of_everything() -> None:
    summary = Summary(
        attempts=1_234_567,
        rows=4,
        lost=3_000,
        withheld=12,
        late=2,
        hidden=5,
        habits=Counter(nscd=1_200, address_sort_probe=70, happy_eyeballs_loser=1),
        verdicts=Counter(established=1_000_000, refused=20, timed_out=300, pending=1, associated=7),
        seconds=61.2,
        extra={"missed": 4},
    )
    assert summary.lines(width=60) == [
        "1,234,567 attempts in 61.2s: 300 timed_out, 20 refused,",
        "  1 pending, 7 associated, 1,000,000 established",
        "not shown: 5 by filter or count, 12 in the kernel",
        "not shown: 1,271 client habits (see --all): 1,200 nscd,",
        "  70 address_sort_probe, 1 happy_eyeballs_loser",
        "of the rows 2 tell what came later of an attempt that had succeeded",
        "not followed to the end: 4 missed",
        "LOST 3,000 attempts: what is shown is incomplete",
    ]


def test_lines_in_color() -> None:
    summary = Summary(attempts=2, lost=1, verdicts=Counter(refused=1, pending=1, established=1), seconds=0.5)
    assert summary.lines(color=True) == [
        "2 attempts in 500ms: \x1b[31m1 refused\x1b[0m, "
        "\x1b[33m1 pending\x1b[0m, \x1b[32m1 established\x1b[0m",
        "\x1b[1;31mLOST 1 attempt: what is shown is incomplete\x1b[0m",
    ]


def test_one_habit() -> None:
    assert Summary(attempts=1, habits=Counter(nscd=1)).lines() == [
        "1 attempt in 0ns",
        "not shown: a client habit (see --all): 1 nscd",
    ]


def test_nothing_happened() -> None:
    assert Summary().lines() == ["0 attempts in 0ns"]


def test_importing_it_imports_no_numpy() -> None:
    code = "import sys, callout.summary, callout.sinks; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
