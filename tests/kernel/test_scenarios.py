"""Every scenario of the laboratory, traced: each attempt has exactly one row, and it says what became of it."""

from __future__ import annotations

import os

import pytest

from callout import laboratory
from callout.lab import SCENARIOS, Scenario, demo
from callout.lab.known import reason
from callout.lab.runner import COMM

from .watch import PATIENCE, TIER

pytestmark = pytest.mark.kernel
# Emulated kernels are too slow for those that are about time: there, those of the demonstration.
CHOSEN = demo() if os.environ.get("CALLOUT_TEST_SCENARIOS") == "demo" else SCENARIOS


@pytest.fixture(scope="module")
def run() -> laboratory.Run:
    return laboratory.run(CHOSEN, TIER, patience=PATIENCE)


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_scenario(run: laboratory.Run, scenario: Scenario, request: pytest.FixtureRequest) -> None:
    if scenario.name in run.impossible:
        pytest.skip(run.impossible[scenario.name])
    assert run.seen.tier is not None
    if why := reason(scenario.name, run.seen.tier):
        request.applymarker(pytest.mark.xfail(reason=why, strict=True, raises=AssertionError))
    assert run.seen.differences(scenario) == []


def test_no_row_too_many(run: laboratory.Run) -> None:
    """One row for each attempt that can be seen; what cannot be seen has none."""
    shown = [scenario for scenario in CHOSEN if scenario.name not in run.impossible]
    made = [shown for scenario in shown for shown in run.seen.of(scenario) if not shown.attempt.command]
    rows = [row for row in run.seen.rows.values() if row["process.name"] == COMM]
    assert len(rows) == sum(shown.visible for shown in made)
    assert os.getpid() not in {row["process.pid"] for row in run.seen.rows.values()}
