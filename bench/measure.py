"""The measurements: one sample each, raw, nothing derived.

Rule: a measurement starts its tracer afresh and returns what was seen; differences, medians and words are
made from the samples elsewhere (``summary``, ``report``).
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.build import BenchError, Programs
from bench.session import LOOK_SECONDS, READY_SECONDS, Load, Session, attached, ended
from bench.tracers import CALLOUT, UNTRACED, Tracer

PACED_SECONDS = 5
FIRST_ROW_SECONDS = 10.0


@dataclass(frozen=True)
class Workload:
    """A load by name: ``share`` of --count attempts, or PACED_SECONDS of them at ``rate`` a second,
    by ``threads`` together.
    """

    name: str
    mode: str
    share: float = 1.0
    rate: int = 0
    threads: int = 1

    def load(self, count: int, most: int) -> Load:
        """The load to run, with never more than ``most`` attempts."""
        wanted = self.rate * PACED_SECONDS if self.rate else int(count * self.share)
        return Load(self.mode, max(1, min(wanted, most)), self.rate, self.threads)


WORKLOADS = (
    Workload("udp", "udp"),
    Workload("refused", "refused", 0.2),
    Workload("tcp", "tcp", 0.2),
    Workload("nonblock", "nonblock", 0.2),
    Workload("unix", "unix"),
    Workload("served", "served", 0.2),
    Workload("getpid", "getpid", 20.0),
    Workload("2k/s", "udp", rate=2_000),
    Workload("2k/s of 32", "udp", rate=2_000, threads=32),
    Workload("20k/s", "udp", rate=20_000),
)


@dataclass(frozen=True)
class Sample:
    """One load under one tracer. Times in s, or ns where the name says so; ``cpu`` is the tracer's alone."""

    tracer: str
    workload: str
    round: int
    attempts: int
    seconds: float
    p50_ns: int
    p99_ns: int
    rows: int
    lost: int
    cpu_start: float  # until it was ready
    cpu: float  # from ready until it rested after the load
    peak_kib: int

    @property
    def expected(self) -> int:
        """How many rows and losses there must be: one per attempt, none for what is no connect(2)."""
        return 0 if self.workload == "getpid" or self.tracer == UNTRACED else self.attempts

    @property
    def unaccounted(self) -> int:
        """Attempts that are neither a row nor a counted loss; must be 0."""
        return self.expected - self.rows - self.lost


@dataclass(frozen=True)
class Rest:
    """A tracer with nothing to do: start-up and idling. ``first_row`` is None where it cannot be seen."""

    tracer: str
    ready: float
    first_row: float | None
    idle_share: float  # of one CPU


def sample(tracer: Tracer, workload: str, load: Load, programs: Programs, number: int = 0) -> Sample:
    """Run ``load`` under ``tracer`` once; ``number`` is the round's."""
    with attached(tracer, load, programs) as session:
        before = session.cpu_seconds()
        session.go()
        report = session.report(load.seconds + 15.0)
        session.settle()
        used, peak = session.cpu_seconds(), session.peak_kib()
        tally = session.stop()
    return Sample(
        tracer=tracer.name,
        workload=workload,
        round=number,
        attempts=report["attempts"],
        seconds=report["seconds"],
        p50_ns=report["p50_ns"],
        p99_ns=report["p99_ns"],
        rows=tally.rows,
        lost=tally.lost,
        cpu_start=before,
        cpu=used - before,
        peak_kib=peak,
    )


def rest(tracer: Tracer, idle_seconds: float, programs: Programs) -> Rest:
    """Attach, idle for a while, then make a few attempts and see when the first row is there.

    ``first_row`` counts from spawning the tracer, without the idle time: start-up plus one row's way through.
    """
    load = Load("udp", 10)
    with attached(tracer, load, programs) as session:
        session.settle()
        began, before = time.monotonic(), session.cpu_seconds()
        time.sleep(idle_seconds)  # noqa: TID251  idling is what is measured
        idle = (session.cpu_seconds() - before) / (time.monotonic() - began)
        went = time.monotonic()
        session.go()
        session.report(load.seconds + 15.0)
        first_row = None
        if tracer.row_mark:
            first_row = session.ready_seconds + _first_row(session, tracer) - went
        session.stop()
    return Rest(tracer.name, session.ready_seconds, first_row, idle)


def _first_row(session: Session, tracer: Tracer) -> float:
    """When (monotonic) the first row stood in {out}; raises BenchError when it never does."""
    deadline = time.monotonic() + FIRST_ROW_SECONDS
    assert session.process is not None
    while not _holds(session.output.out, tracer.row_mark):
        if ended(session.process, LOOK_SECONDS) or time.monotonic() > deadline:
            raise BenchError(f"{tracer.name}: no row within {FIRST_ROW_SECONDS:g} s, or before its end")
    return time.monotonic()


def _holds(path: Path, mark: bytes) -> bool:
    return path.exists() and mark in path.read_bytes()


def help_seconds() -> float:
    """How long ``callout --help`` takes."""
    began = time.monotonic()
    done = subprocess.run([CALLOUT, "--help"], capture_output=True, timeout=READY_SECONDS, check=False)
    if done.returncode:
        raise BenchError(f"callout --help: exit status {done.returncode}: {done.stderr!r}")
    return time.monotonic() - began
