"""What it costs to know who: processes that live a moment, traced with enrichment and without.

Rule: in each round the same load (fork, exec, connect, exit; eight at a time) runs under every set of enrichers, so
that what else the machine does falls on all alike; shown are medians of the tracer's CPU time, all threads, from the
first process until the last row. Each row goes through the pipeline and the NDJSON sink, as with `callout trace`.
Exit status 1 if an attempt is neither a row nor a counted loss, or a row does not say who.
Run as ``python -m bench.enrich``, as root.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.build import BENCH, WARNINGS, BenchError, Step
from bench.session import process_cpu_seconds
from callout import pipeline
from callout.capture.kernel import KernelSource
from callout.enrich import Options
from callout.enrich.names import Names
from callout.enrich.place import Places
from callout.enrich.processes import Processes
from callout.enrich.workload import Workloads
from callout.enrichment import Enrichment
from callout.narrowing import Narrowing
from callout.sinks import Target, open_sink
from callout.summary import Summary

RATE = 10_000 / 60  # processes a second: 10,000 a minute
WIDTH = 8
SETS = {
    "none": (),
    "processes": (Processes,),
    "processes, cgroups": (Processes, Workloads),
    "all": (Processes, Workloads, Names, Places),
}
PATIENCE = 30.0


class Sample(NamedTuple):
    """One load under one set; ``idle`` is the tracer's CPU share before it."""

    cpu: float
    seconds: float
    rows: int
    nameless: int
    idle: float


def tracer(name: str, port: int, ready: str, out: str) -> int:
    """What a child of this program does: traces the attempts to a port until it is told to stop."""
    summary, stop = Summary(), pipeline.Stop()
    narrowing = Narrowing(ports=frozenset({port}))
    with Enrichment(Options(), SETS[name]) as enrichment:
        source = KernelSource(
            narrowing, urgent=True, listeners=enrichment.listeners, hidden=enrichment.threads
        )
        with source, Path(out).open("wb") as file:
            sink = open_sink("ndjson", Target(file, out))
            stop.on_signals()
            enrichment.begin(source)
            Path(ready).touch()
            pipeline.run(source, sink, summary, stop, enrichment=enrichment if SETS[name] else None)
            sink.close(summary)
    print(json.dumps(summary.as_dict()))
    return 0


def generator() -> Path:
    """The load, compiled if it is out of date."""
    into = BENCH / "build"
    into.mkdir(parents=True, exist_ok=True)
    source, output = BENCH / "processes.c", into / "processes"
    flags = (*WARNINGS, "-static", "-std=gnu11", "-D_GNU_SOURCE", "-o", str(output), str(source))
    step = Step(output, (source,), (os.environ.get("CC", "cc"), *flags))
    if step.due():
        step.run()
    return output


def sample(name: str, load: Path, rate: float, count: int, port: int) -> Sample:
    """Runs the load under a tracer of its own. Raises BenchError for attempts that are not accounted for."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        ready, out = Path(directory) / "ready", Path(directory) / "rows"
        command = [sys.executable, "-m", "bench.enrich", "--tracer", name, str(port), str(ready), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                until(ready.exists, process)
                began, before = time.monotonic(), process_cpu_seconds(process.pid)
                time.sleep(1.0)  # noqa: TID251  idling is what is measured
                idle = (process_cpu_seconds(process.pid) - before) / (time.monotonic() - began)
                before = process_cpu_seconds(process.pid)
                words = [str(load), str(round(rate)), str(count), str(WIDTH), str(port)]
                done = subprocess.run(
                    words, capture_output=True, text=True, timeout=count / rate * 4 + 30, check=True
                )
                until(lambda: lines(out) >= count, process)
                used = process_cpu_seconds(process.pid) - before
            finally:
                process.send_signal(signal.SIGINT)
                said = json.loads(process.communicate(timeout=PATIENCE)[0])
        rows = [json.loads(line) for line in out.read_bytes().splitlines()]
        if said["rows"] + said["lost"] != count:
            raise BenchError(f"{name}: {count} attempts, but {said['rows']} rows and {said['lost']} lost")
        wanted = {str(number) for number in range(count)}
        told = {row["process"]["args"][2] for row in rows if "args" in row["process"]}
        return Sample(used, float(done.stdout), len(rows), len(wanted - told), idle)


def until(come: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Waits until something has come. Raises BenchError where it does not, or the tracer ends."""
    end = time.monotonic() + PATIENCE
    while not come():
        if process.poll() is not None or time.monotonic() > end:
            raise BenchError("the tracer ended, or did not do its work in time")
        time.sleep(0.02)  # noqa: TID251  looking costs the tracer nothing


def lines(path: Path) -> int:
    """How many rows a file has."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def table(taken: dict[str, list[Sample]]) -> list[str]:
    """Medians, as a table in Markdown."""
    found = [
        "| enrichers | of one CPU | µs a process | ratio | idle |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    base = 0.0
    for name, samples in taken.items():
        each = median(one.cpu / one.rows for one in samples)
        share = median(one.cpu / one.seconds for one in samples)
        base = base or each
        idle = median(one.idle for one in samples)
        found.append(f"| {name} | {share:.2%} | {each * 1e6:.0f} | {each / base:.2f} | {idle:.2%} |")
    return found


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Measures and prints."""
    if argv[:1] == ("--tracer",):
        name, port, ready, out = argv[1:]
        return tracer(name, int(port), ready, out)
    parser = argparse.ArgumentParser(prog="python -m bench.enrich", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=RATE, help="processes a second (10,000 a minute)")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(argv)
    load, count = generator(), round(options.rate * options.seconds)
    taken: dict[str, list[Sample]] = {name: [] for name in SETS}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        for _ in range(options.rounds):
            for name in SETS:
                taken[name].append(sample(name, load, options.rate, count, held.getsockname()[1]))
    print(*table(taken), sep="\n")
    nameless = sum(one.nameless for name, samples in taken.items() if SETS[name] for one in samples)
    print(f"\n{count} processes a round at {options.rate:.0f} a second; {nameless} rows did not say who")
    return 1 if nameless else 0


if __name__ == "__main__":
    try:
        sys.exit(main(tuple(sys.argv[1:])))
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"bench: {error}")
