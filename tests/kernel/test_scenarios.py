"""Every scenario of the laboratory, traced: each attempt has exactly one row, and it says what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from callout.capture.kernel import KernelSource
from callout.lab import SCENARIOS, Scenario
from callout.lab.child import spawn
from callout.lab.report import Attempt
from callout.lab.runner import COMM
from callout.narrowing import Narrowing

from .watch import Watch

pytestmark = pytest.mark.kernel


class Seen:
    """One run of all scenarios: the laboratory's own truth beside the tracer's rows."""

    def __init__(
        self, attempts: list[Attempt], rows: list[dict[str, Any]], impossible: dict[str, str]
    ) -> None:
        self.attempts = attempts
        self.rows = rows
        self.impossible = impossible

    def of(self, scenario: str) -> list[tuple[Attempt, dict[str, Any]]]:
        """Attempts of a scenario with the row of each: the nth call of a thread is its nth row."""
        pairs = []
        for tid in {attempt.tid for attempt in self.attempts}:
            made = sorted((a for a in self.attempts if a.tid == tid), key=lambda a: a.time)
            rows = sorted(
                (r for r in self.rows if r["process.thread.id"] == tid), key=lambda r: r["@timestamp"]
            )
            assert len(made) == len(rows), (tid, made, rows)
            pairs += [(a, r) for a, r in zip(made, rows, strict=True) if a.scenario == scenario]
        return sorted(pairs, key=lambda pair: pair[0].time)


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with spawn() as child, KernelSource(Narrowing(comms=frozenset({COMM}))) as source:
        watch = Watch(source)
        child.release()
        while not child.finished():
            watch.gather()
        attempts = child.attempts()
        watch.until(lambda rows: len(rows) >= len(attempts))
        yield Seen(attempts, watch.seen, {i.scenario: i.reason for i in child.impossible})


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_scenario(seen: Seen, scenario: Scenario) -> None:
    if scenario.name in seen.impossible:
        pytest.skip(f"not possible here: {seen.impossible[scenario.name]}")
    pairs = seen.of(scenario.name)
    assert len(pairs) == len(scenario.expected)
    for (attempt, row), expected in zip(pairs, scenario.expected, strict=True):
        assert row["connect.return"] == attempt.return_
        told = (
            row["connect.verdict"],
            row.get("connect.errno"),
            row.get("connect.cause"),
            row["connect.return"],
        )
        assert told == (expected.verdict, expected.errno, expected.cause, expected.return_)
        if attempt.error is not None:
            assert row["connect.errno"] == attempt.error
        assert row["connect.fd"] == attempt.fd
        assert row["connect.addrlen"] == attempt.addrlen
        assert row["process.pid"] == attempt.pid


def test_no_row_too_many(seen: Seen) -> None:
    assert len(seen.rows) == len(seen.attempts)
    assert len({row["connect.id"] for row in seen.rows}) == len(seen.rows)
    assert os.getpid() not in {row["process.pid"] for row in seen.rows}
