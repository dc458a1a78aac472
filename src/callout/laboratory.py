"""The laboratory under a live trace: its child runs scenarios, the kernel's rows about them are gathered.

Rule of this file: it acts and gathers; which row belongs to what is decided in ``lab.seen``. The child is put into
a cgroup of its own, where one can be made, so that no one else's attempts are among the rows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callout.capture.cgroups import hierarchy
from callout.doctor.selftest import remove
from callout.errors import CalloutError
from callout.lab import Scenario
from callout.lab.child import Child, spawn
from callout.lab.report import Arranged, Attempt
from callout.lab.seen import Seen
from callout.narrowing import Narrowing
from callout.pattern import Patterns

if TYPE_CHECKING:
    from callout.capture.kernel import KernelSource

PATIENCE = 20.0  # seconds that a row may take after the end of all attempts, while some are under way


class Run:
    """What one run of scenarios left: ``seen``, what was ``arranged`` by scenario, what was ``impossible`` and why.

    ``untraced`` says why there are no rows; empty where there are.
    """

    def __init__(
        self, seen: Seen, told: Sequence[Attempt | Arranged], impossible: dict[str, str], untraced: str
    ) -> None:
        self.seen = seen
        self.impossible = impossible
        self.untraced = untraced
        self.arranged: dict[str, list[str]] = {}
        for report in told:
            if isinstance(report, Arranged):
                self.arranged.setdefault(report.scenario, []).append(report.what)


@contextmanager
def grouped(pid: int) -> Iterator[str | None]:
    """A cgroup with a process in it; None where none can be made. All that is in it ends with the block."""
    root = hierarchy()
    if root is None or not os.access(root, os.W_OK):
        yield None
        return
    group = Path(root) / f"callout-laboratory-{os.getpid()}-{pid}"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(pid))
        yield group.name
    finally:
        if group.exists():
            remove(group)


class Trace:
    """A live source on the laboratory's child, and the rows so far, with their patterns.

    ``each`` is called with every row as it comes, while whoever made the attempt may still be there.
    """

    def __init__(self, source: KernelSource, each: Callable[[dict[str, Any]], None] | None = None) -> None:
        assert source.tier is not None  # once entered, it has one
        self.tier = source.tier.name
        self.rows: list[dict[str, Any]] = []
        self._source = source
        self._each = each
        self._patterns = Patterns()

    def gather(self) -> None:
        """Takes what is there, waiting a moment for more."""
        batch = self._source.read()
        if len(batch):
            self._patterns.mark(batch)
            new = list(batch.rows())
            self.rows.extend(new)
            if self._each is not None:
                for row in new:
                    self._each(row)
        else:
            self._source.wait()

    def settle(self, enough: int, patience: float = PATIENCE) -> None:
        """Gathers until there are ``enough`` rows; one that does not come is not waited for when none is under way."""
        end = time.monotonic() + patience
        while len(self.rows) < enough and self._source.counters().under_way and time.monotonic() < end:
            self.gather()
        self.gather()


@contextmanager
def traced(
    child: Child, tier: str | None = None, each: Callable[[dict[str, Any]], None] | None = None
) -> Iterator[Trace]:
    """A trace of a child that waits at its gate. Raises NotPermittedError; the child ends before its cgroup."""
    from callout.capture.kernel import KernelSource

    with ExitStack() as stack:
        group = stack.enter_context(grouped(child.pid))
        stack.callback(child.close)
        # without a cgroup all of this host is seen, and the rows are told apart by thread and destination
        yield Trace(stack.enter_context(KernelSource(Narrowing(cgroup=group), tier)), each)


def expected_rows(scenarios: Sequence[Scenario], tier: str) -> int:
    """How many rows scenarios make on a tier."""
    return sum(
        1 + (expected.late is not None)
        for scenario in scenarios
        for expected in scenario.expected
        if expected.seen_by is None or tier in expected.seen_by
    )


def run(
    scenarios: Sequence[Scenario],
    tier: str | None = None,
    untraced: str = "",
    patience: float = PATIENCE,
    each: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Runs scenarios, all in one child. ``untraced``: why no trace is tried; ``each``: see Trace. Raises
    CalloutError.
    """
    with spawn([scenario.name for scenario in scenarios]) as child:
        if untraced:
            child.release()
            told = child.told()
            return Run(Seen(attempts_of(told)), told, impossible_in(child), untraced)
        with traced(child, tier, each) as trace:
            told = []
            failure: list[CalloutError] = []
            reader = threading.Thread(target=read, args=(child, told, failure))
            reader.start()  # beside us: the pipe does not hold all reports
            child.release()
            while not (
                failure or child.finished()
            ):  # nobody reads on after a failure: the child would never end
                trace.gather()
            reader.join()
            if failure:
                raise failure[0]
            impossible = impossible_in(child)
            shown = [scenario for scenario in scenarios if scenario.name not in impossible]
            attempts = attempts_of(told)
            # those that found out that their scenario is impossible have rows, too
            tried = sum(attempt.scenario in impossible for attempt in attempts)
            trace.settle(expected_rows(shown, trace.tier) + tried, patience)
            return Run(Seen(attempts, trace.rows, trace.tier), told, impossible, "")


def impossible_in(child: Child) -> dict[str, str]:
    """What a child could not run, and why."""
    return {report.scenario: report.reason for report in child.impossible}


def read(child: Child, told: list[Attempt | Arranged], failure: list[CalloutError]) -> None:
    """Reads a child's reports to their end."""
    try:
        told.extend(child.told())
    except CalloutError as error:
        failure.append(error)


def attempts_of(told: Sequence[Attempt | Arranged]) -> list[Attempt]:
    """The attempts among reports."""
    return [report for report in told if isinstance(report, Attempt)]
