"""Every scenario of the laboratory, traced: each attempt has exactly one row, and it says what became of it."""

from __future__ import annotations

import os

import pytest

from callout import laboratory
from callout.lab import SCENARIOS, Scenario, demo, snippet
from callout.lab.known import reason
from callout.lab.runner import COMM
from callout.reference.tables import patterns

from .watch import PATIENCE, TIER

pytestmark = pytest.mark.kernel
EMULATED = (
    60  # seconds of patience beyond which a kernel is emulated, and ten to thirty times slower (tests/matrix)
)
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
    assert run.seen.differences(scenario) == [] or once_more(scenario) == []


def once_more(scenario: Scenario) -> list[str]:
    """What differs in another run. A kernel may run no program above some tasks, and hide what soft interrupts do
    then (bpf/observe/overlooked.h): verdicts are found again, but not their evidence. What is wrong twice is wrong.
    """
    return laboratory.run([scenario], TIER, patience=PATIENCE).seen.differences(scenario)


def test_no_row_too_many(run: laboratory.Run) -> None:
    """Every row of the laboratory's own belongs to an attempt, also to one that found out that it is not possible."""
    made = [shown for scenario in CHOSEN for shown in run.seen.of(scenario) if not shown.attempt.command]
    rows = [row for row in run.seen.rows.values() if row["process.name"] == COMM]
    known = {id(shown.row) for shown in made}
    told = (
        "connect.entry",
        "connect.sockaddr",
        "connect.verdict",
        "connect.cause",
        "connect.errno",
        "connect.return",
    )
    more = [[row.get(name) for name in told] for row in rows if id(row) not in known]
    assert more == []
    assert os.getpid() not in {row["process.pid"] for row in run.seen.rows.values()}


def test_every_habit_of_clients_occurs(run: laboratory.Run) -> None:
    if CHOSEN is not SCENARIOS:
        pytest.skip("needs all scenarios")
    if needed := {"client_curl", "client_eyeballs", "client_psql", "client_redis", "udp_probe"} & set(
        run.impossible
    ):
        pytest.skip(f"not possible here: {needed}")
    needed = set(patterns())
    if PATIENCE > EMULATED:
        needed.discard(
            "fallback"
        )  # is told only where both calls come in one batch: they take too long there
    assert {row.get("connect.pattern") for row in run.seen.rows.values()} >= needed


def test_families_and_ways_in_are_as_listed(run: laboratory.Run) -> None:
    wrong = []
    for scenario in CHOSEN:
        if scenario.name in run.impossible:
            continue
        made = [shown.attempt for shown in run.seen.of(scenario)]
        families = tuple(dict.fromkeys(filter(None, map(snippet.family_name, made))))
        entries = tuple(dict.fromkeys(attempt.call for attempt in made if not attempt.command))
        if families != scenario.address_families or entries not in (scenario.entries, ()):
            wrong.append((scenario.name, families, entries))
    assert wrong == []
