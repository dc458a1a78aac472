"""`callout lab run --pause`: one scenario after the other, each attempt made when Enter is pressed.

Rule of this file: the attempt is shown before it is made; the laboratory's child waits for us, not we for it.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from callout import laboratory
from callout.cli.streams import say
from callout.errors import CalloutError, NotPermittedError
from callout.lab import Scenario
from callout.lab.child import Child, spawn
from callout.lab.report import Announced, Arranged, Attempt, Failed, Impossible, Report
from callout.lab.seen import Seen

if TYPE_CHECKING:
    from callout.cli.lab_screen import Screen


def walk(scenarios: Sequence[Scenario], tier: str | None, untraced: str, screen: Screen) -> int:
    """All scenarios, step by step."""
    if untraced:
        say(f"callout: not traced: {untraced}")
    for scenario in scenarios:
        one(scenario, tier, untraced, screen)
    return 0


def enter(what: str) -> None:
    """Waits for Enter. Raises KeyboardInterrupt at the end of input."""
    print(f"-- Enter {what} ", end="", flush=True)
    if not sys.stdin.readline():
        raise KeyboardInterrupt


def one(scenario: Scenario, tier: str | None, untraced: str, screen: Screen) -> None:
    """One scenario: what is in place, then each attempt, what was seen of it, and what that means."""
    print(screen.heading(scenario))
    with spawn([scenario.name], steps=True) as child:
        if child.impossible:
            print(*screen.labelled("", [report.reason for report in child.impossible]), "", sep="\n")
            return
        with nullcontext(None) if untraced else laboratory.traced(child, tier) as trace:
            enter("to prepare it")
            child.release()
            told = attempts(child, scenario, screen, trace)
            if trace is not None:
                trace.settle(laboratory.expected_rows([scenario], trace.tier))
                seen = Seen(told, trace.rows, trace.tier)
            else:
                seen = Seen(told)
            made = seen.of(scenario)
            for number, shown in enumerate(made, 1):
                print(*screen.attempt(shown, number if len(made) > 1 else 0, trace is None), sep="\n")
            print(*screen.labelled("claimed", seen.differences(scenario)), "", sep="\n")


def attempts(
    child: Child, scenario: Scenario, screen: Screen, trace: laboratory.Trace | None
) -> list[Attempt]:
    """Lets each attempt be made when Enter is pressed; returns all of them."""
    reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
    reader = threading.Thread(target=pump, args=(child, reports), daemon=True)
    reader.start()
    told: list[Attempt] = []
    announced: list[Attempt] = []
    while (report := following(reports, trace)) is not None:
        if isinstance(report, Arranged):
            print(*screen.labelled("in place", [report.what]), sep="\n")
        elif isinstance(report, Announced):
            announced.append(report.attempt)
            print(*screen.code([*announced]), sep="\n")
            enter("to make the call" if len(announced) == 1 else "to make the next call")
            child.release()
        elif isinstance(report, Attempt):
            told.append(report)
        elif isinstance(report, Failed):
            raise CalloutError(f"the scenario {report.scenario} broke off", report.reason)
        elif isinstance(report, Impossible):
            raise NotPermittedError(f"{report.scenario}: {report.reason}")
    return told


def pump(child: Child, reports: queue.SimpleQueue[Report | None]) -> None:
    """Hands on what the child reports; None at the end."""
    for report in child.reports():
        reports.put(report)
    reports.put(None)


def following(reports: queue.SimpleQueue[Report | None], trace: laboratory.Trace | None) -> Report | None:
    """The next report; meanwhile rows are gathered."""
    while True:
        try:
            return reports.get(timeout=0.05 if trace is None else 0)
        except queue.Empty:
            if trace is not None:
                trace.gather()
