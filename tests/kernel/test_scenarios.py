"""Every scenario of the laboratory, traced: each attempt has exactly one row, and it says what became of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from callout.capture.cgroups import hierarchy
from callout.capture.kernel import KernelSource
from callout.lab import SCENARIOS, Expected, Scenario, demo
from callout.lab.child import spawn
from callout.lab.report import Attempt
from callout.lab.runner import COMM
from callout.narrowing import Narrowing

from .watch import PATIENCE, Watch

pytestmark = pytest.mark.kernel
# Emulated kernels are too slow for those that are about time: there, those of the demonstration.
CHOSEN = demo() if os.environ.get("CALLOUT_TEST_SCENARIOS") == "demo" else SCENARIOS
Row = dict[str, Any]

# Scenarios of which the tracer does not tell the truth yet, with the tiers and the reason. The marks are strict:
# who mends it, takes its line away.
ALL = ("tracepoint", "trampoline", "kprobe")
SEEING = ("trampoline", "kprobe")
BLIND = ("tracepoint",)
NOT_ROUTING = "the error is that of a missing route, but the address is one that such a socket cannot call"
UNFOLLOWED = "a call that sent nothing is told to have been refused by ICMP"
NO_RETURN = "connect.return is -EINTR, though the call never returned"
SOFT = "the ICMP error stays soft, is read by SO_ERROR and forgotten: the close looks like giving up"
PROGRAM = "on this tier a program's errno looks like the kernel's own"
WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "tcp_broadcast": (ALL, NOT_ROUTING),
    "fork_keeps": (ALL, "the exit of a fork that held the socket is taken for a close"),
    "mptcp_refused": (ALL, "the RST comes to the subflow's socket, which is not followed"),
    "mptcp_nb_refused": (ALL, "MPTCP sets the state before the error (__mptcp_subflow_error_report)"),
    "landlock_scope": (SEEING, "scopes are refused by security_unix_stream_connect, which is not observed"),
    "no_neighbour6": (SEEING, "this host's own ICMPv6 error is taken for a router's"),
    "nf_soft": (ALL, SOFT),
    "far_soft": (ALL, SOFT),
    "cgroup_errno_unreach": (BLIND, PROGRAM),
}


class Seen:
    """One run of all scenarios: the laboratory's own truth beside the tracer's rows."""

    def __init__(
        self, attempts: list[Attempt], rows: list[Row], impossible: dict[str, str], tier: str
    ) -> None:
        self.attempts = sorted(attempts, key=lambda attempt: attempt.time)
        self.impossible = impossible
        self.tier = tier
        self.rows: dict[int, Row] = {}  # by attempt
        self.late: dict[int, list[Row]] = {}  # those after the first, which an error made that came later
        for row in rows:
            if self.rows.setdefault(row["connect.id"], row) is not row:
                self.late.setdefault(row["connect.id"], []).append(row)

    def visible(self, scenario: Scenario) -> list[tuple[Attempt, Expected]]:
        """Attempts of a scenario that this tier can see, with what becomes of each."""
        made = [attempt for attempt in self.attempts if attempt.scenario == scenario.name]
        assert len(made) == len(scenario.expected), made
        return [
            (attempt, expected)
            for attempt, expected in zip(made, scenario.expected, strict=True)
            if expected.seen_by is None or self.tier in expected.seen_by
        ]

    def of(self, scenario: Scenario) -> list[tuple[Attempt, Expected, Row]]:
        """Each visible attempt of a scenario with its row: the nth that a thread made is its nth row."""
        mine = {s.name: s for s in CHOSEN if s.name not in self.impossible}
        found = []
        for tid in {attempt.tid for attempt, _ in self.visible(scenario)}:
            names = {attempt.scenario for attempt in self.attempts if attempt.tid == tid}
            made = [pair for name in names for pair in self.visible(mine[name]) if pair[0].tid == tid]
            made.sort(key=lambda pair: pair[0].time)
            rows = [row for row in self.rows.values() if row["process.thread.id"] == tid]
            rows.sort(key=lambda row: row["@timestamp"])
            assert len(made) == len(rows), (tid, made, rows)
            found += [(*pair, row) for pair, row in zip(made, rows, strict=True)]
        found.sort(key=lambda triple: triple[0].time)
        return [triple for triple in found if triple[0].scenario == scenario.name]


@contextmanager
def grouped(pid: int) -> Iterator[str | None]:
    """A cgroup with a process in it, so that only its attempts are seen; None where none can be made."""
    root = hierarchy()
    if root is None or not os.access(root, os.W_OK):
        yield None
        return
    group = Path(root) / f"callout-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        yield group.name
    finally:
        end = time.monotonic() + PATIENCE
        while "populated 1" in (group / "cgroup.events").read_text():  # a dying process is in it to the last
            assert time.monotonic() < end, (group / "cgroup.procs").read_text()
        group.rmdir()


def under_way(source: KernelSource) -> int:
    """Attempts whose final record has not been handed over yet."""
    counts = source.counters()
    return counts.entered - counts.joined - counts.submitted - counts.lost - counts.orphaned


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with ExitStack() as stack:
        child = spawn([scenario.name for scenario in CHOSEN])
        group = stack.enter_context(grouped(child.pid))
        stack.enter_context(child)  # it ends before its cgroup
        source = stack.enter_context(KernelSource(Narrowing(comms=frozenset({COMM}), cgroup=group)))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        watch = Watch(source)
        reader = pool.submit(child.attempts)  # beside us: the pipe does not hold them all
        child.release()
        while not child.finished():
            watch.gather()
        attempts = reader.result()
        impossible = {i.scenario: i.reason for i in child.impossible}
        assert source.tier is not None
        tier = source.tier.name
        shown = [s for s in CHOSEN if s.name not in impossible]
        enough = sum(
            1 + (e.late is not None)
            for s in shown
            for e in s.expected
            if e.seen_by is None or tier in e.seen_by
        )
        # A row that does not come shall fail its own scenario: nothing is waited for when nothing is under way.
        end = time.monotonic() + PATIENCE
        while len(watch.seen) < enough and under_way(source) and time.monotonic() < end:
            watch.gather()
        watch.gather()
        yield Seen(attempts, watch.seen, impossible, tier)


def told(row: Row) -> tuple[str, str | None, str | None, int | None]:
    """What a row says became of its attempt."""
    return (
        row["connect.verdict"],
        row.get("connect.errno"),
        row.get("connect.cause"),
        row.get("connect.return"),
    )


def wanted(expected: Expected, tier: str) -> tuple[str, str | None, str | None, int | None]:
    """The same as the scenario has it."""
    return (expected.verdict, expected.errno, expected.cause_on(tier), expected.return_)


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_scenario(seen: Seen, scenario: Scenario, request: pytest.FixtureRequest) -> None:
    if scenario.name in seen.impossible:
        pytest.skip(f"not possible here: {seen.impossible[scenario.name]}")
    tiers, reason = WRONG.get(scenario.name, ((), ""))
    if seen.tier in tiers:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    triples = seen.of(scenario)
    assert [told(row) for _, _, row in triples] == [wanted(e, seen.tier) for _, e, _ in triples]
    for attempt, expected, row in triples:
        if attempt.error is not None:
            assert row["connect.errno"] == attempt.error
        assert row["connect.fd"] == attempt.fd
        assert row["connect.addrlen"] == attempt.addrlen
        assert row["process.pid"] == attempt.pid
        assert {name: row.get(name) for name in expected.fields} == expected.fields
        late = seen.late.get(row["connect.id"], [])
        assert [told(extra) for extra in late] == (
            [wanted(expected.late, seen.tier)] if expected.late else []
        )


def test_no_row_too_many(seen: Seen) -> None:
    """One row for each attempt that can be seen; what cannot be seen has none."""
    shown = [scenario for scenario in CHOSEN if scenario.name not in seen.impossible]
    visible = [attempt for scenario in shown for attempt, _ in seen.visible(scenario)]
    assert len(seen.rows) == len(visible)
    assert os.getpid() not in {row["process.pid"] for row in seen.rows.values()}
