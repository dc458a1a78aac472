"""Measure what tracing connect(2) costs, for every tracer that is installed, in one interleaved run.

Rule: workload by workload, round by round, tracer after tracer (A B C, A B C, …), so that whatever the
machine does meanwhile meets them all. Run as ``python -m bench.overhead``, as root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from bench.build import BENCH, BenchError, Programs, build
from bench.measure import WORKLOADS, Rest, Sample, help_seconds, rest, sample
from bench.report import Run, page
from bench.summary import summarise, summarise_rests
from bench.tracers import CALLOUT, UNTRACED, Tracer, chosen

REST = "rest"
PAGE = BENCH.parent / "docs" / "overhead.md"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; exits with 2 on a name that does not exist."""
    names = [workload.name for workload in WORKLOADS] + [REST]
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--count", type=int, default=200_000, help="attempts; slow loads make a share of them"
    )
    parser.add_argument("--only", default=",".join(names), help="workloads, of: %(default)s")
    parser.add_argument("--tracers", default="", help="beginnings of tracer names, separated by commas")
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="the raw samples")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="FILE", help="docs/overhead.md")
    options = parser.parse_args(argv)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(names):
        parser.error(f"--only: no workload is called {', '.join(sorted(unknown))}; of: {', '.join(names)}")
    if options.rounds < 1 or options.count < 1 or options.idle_seconds <= 0:
        parser.error("--rounds, --count and --idle-seconds must be positive")
    try:
        options.tracers, options.remarks = chosen([name for name in options.tracers.split(",") if name])
    except ValueError as error:
        parser.error(f"--tracers: {error}")
    return options


@dataclass
class Results:
    """What the runs gave: samples, rests, and a sentence for each run that failed."""

    samples: list[Sample] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)
    helps: list[float] = field(default_factory=list)  # seconds of `callout --help`
    failures: list[str] = field(default_factory=list)

    def failed(self, run: str, error: BenchError) -> str:
        """Note a failure in one line; what to say about it."""
        self.failures.append(f"{run} failed: {' '.join(str(error).split())}")
        return f"failed: {error}"


def plan(names: Sequence[str], rounds: int, tracers: Sequence[Tracer]) -> Iterator[tuple[str, int, Tracer]]:
    """The order of the runs: (workload, round, tracer)."""
    for name in names:
        for number in range(rounds):
            for tracer in tracers:
                if name != REST or tracer.name != UNTRACED:  # no tracer has no start-up
                    yield name, number, tracer


def measure(options: argparse.Namespace, programs: Programs, say: Callable[[str], None]) -> Results:
    """Every planned run, with a line on each; one that fails is reported and the others go on."""
    results = Results()
    workloads = {workload.name: workload for workload in WORKLOADS}
    for name, number, tracer in plan(options.only, options.rounds, options.tracers):
        try:
            if name == REST:
                rested = rest(tracer, options.idle_seconds, programs)
                results.rests.append(rested)
                told = f"ready {rested.ready:.3f} s  idle {rested.idle_share:.3%}"
            else:
                load = workloads[name].load(options.count, tracer.most)
                taken = sample(tracer, name, load, programs, number)
                results.samples.append(taken)
                if tracer.exact and taken.unaccounted:
                    raise BenchError(f"{tracer.name}: {taken.unaccounted} attempts unaccounted for")
                told = f"p50 {taken.p50_ns:>9,} ns  cpu {taken.cpu:7.3f} s"
                told += f"  rows {taken.rows:,} + lost {taken.lost:,} of {taken.expected:,}"
        except BenchError as error:
            told = results.failed(f"{name}, round {number + 1}", error)
        say(f"{name:9} {tracer.name:20} {told}")
    try:
        for _ in range(options.rounds if REST in options.only and CALLOUT.exists() else 0):
            results.helps.append(help_seconds())
    except BenchError as error:
        say(results.failed("callout --help", error))
    return results


def machine() -> str:
    """CPU model and count, memory: what figures depend on."""
    cpuinfo, meminfo = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    total = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    memory = f", {int(total[1]) / 2**20:.0f} GiB of memory" if total else ""
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs{memory}"


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Measure, print the page, and keep what was asked for; 1 when a run failed or lost count."""
    options = parse(argv)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    for remark in options.remarks:
        say(remark)
    programs = build()
    results = measure(options, programs, say)
    if options.json:
        raw = [asdict(one) for one in results.samples]
        raw += [asdict(one) for one in results.rests]
        options.json.write_text(json.dumps(raw, indent=1) + "\n")
    text = page(
        Run(
            machine=machine(),
            kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
            command=shlex.join(["python", "-m", "bench.overhead", *argv]),
            rounds=options.rounds,
            cells=summarise(results.samples),
            rests=summarise_rests(results.rests),
            help_seconds=median(results.helps) if results.helps else None,
            remarks=[*options.remarks, *results.failures],
        )
    )
    print(text, end="")
    if options.write:
        options.write.write_text(text)
    return 1 if results.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
