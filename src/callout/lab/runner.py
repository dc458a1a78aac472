"""What happens inside the laboratory's child process, from its start to its end.

Rule of this file: once ``run`` has entered the namespaces there is no way back, so it belongs into a process
of its own (``child.spawn``). Order: set up, gate, slow ones that need a process of their own, others that
fork, threads for the slow ones, the rest one by one.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Sequence

from callout.errors import NotPermittedError
from callout.lab import libc, named, process
from callout.lab.namespace import enter, enter_alone
from callout.lab.report import Failed, Impossible, Ready, Refused, send
from callout.lab.scenario import Scenario
from callout.lab.ways.base import NotHere
from callout.lab.world import World

COMM = "callout-demo"


def run(names: Sequence[str], report_fd: int, gate_fd: int | None = None, steps: bool = False) -> int:
    """Runs scenarios by name (none: all), reports to ``report_fd``, returns the exit status.

    With ``gate_fd`` it waits there for one byte after everything is set up; at end of file it gives up. With
    ``steps`` it takes another byte before each attempt. Exit status: 0 done, 1 a scenario broke off, 3 no
    namespace can be had. Raises UsageError for an unknown name.
    """
    scenarios = named(names)
    libc.set_name(COMM)
    try:
        namespace = enter()
    except NotPermittedError as error:
        send(report_fd, Refused(error.message, error.remedy))
        return error.exit_status
    possible = []
    for scenario in scenarios:
        if reason := namespace.prepare(scenario):
            send(report_fd, Impossible(scenario.name, reason))
        else:
            possible.append(scenario)
    send(report_fd, Ready(os.getpid(), tuple(scenario.name for scenario in possible)))
    if gate_fd is not None and not os.read(gate_fd, 1):
        return 0
    return 1 if perform_all(possible, report_fd, gate_fd if steps else None) else 0


def perform_all(scenarios: Sequence[Scenario], report_fd: int, gate: int | None = None) -> list[str]:
    """Performs scenarios in the order of this file's rule. Returns the names of those that broke off."""
    broken: list[str] = []

    def perform(scenario: Scenario) -> None:
        try:
            scenario.act(World(scenario.name, report_fd, gate))
        except NotHere as reason:
            send(report_fd, Impossible(scenario.name, f"not possible here: {reason}"))
        except Exception:
            broken.append(scenario.name)
            send(report_fd, Failed(scenario.name, traceback.format_exc()))

    def perform_alone(scenario: Scenario) -> None:
        try:
            if scenario.alone:
                enter_alone()
            scenario.act(World(scenario.name, report_fd, gate))
        except NotHere as reason:
            send(report_fd, Impossible(scenario.name, f"not possible here: {reason}"))
        except Exception:
            send(report_fd, Failed(scenario.name, traceback.format_exc()))
            os._exit(1)

    def ended(scenario: Scenario, child: int) -> None:
        if os.waitpid(child, 0)[1]:
            broken.append(scenario.name)

    started = [
        (s, process.start(lambda s=s: perform_alone(s)))  # type: ignore[misc]
        for s in scenarios
        if s.slow and (s.forks or s.alone)
    ]
    for scenario in scenarios:
        if scenario.alone and not scenario.slow:
            ended(scenario, process.start(lambda s=scenario: perform_alone(s)))  # type: ignore[misc]
        elif scenario.forks and not scenario.slow:
            perform(scenario)
    # Python 3.14 gives the thread's name to the kernel as comm
    threads = [
        threading.Thread(target=perform, args=(s,), name=COMM)
        for s in scenarios
        if s.slow and not (s.forks or s.alone)
    ]
    for thread in threads:
        thread.start()
    for scenario in scenarios:
        if not scenario.forks and not scenario.slow and not scenario.alone:
            perform(scenario)
    for thread in threads:
        thread.join()
    for scenario, child in started:
        ended(scenario, child)
    return broken
