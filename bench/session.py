"""One load under one tracer: start both, say go, read what each used, stop both.

Rule: the load is set up and waiting before the tracer attaches, and the tracer is idle again before its CPU
time is read, so start-up, work and shut-down are never mixed. Every wait has an end; every process started
here ends here.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.build import BENCH, BenchError, Programs
from bench.tracers import CALLOUT, Output, Tally, Tracer

READY_SECONDS = 60.0
STOP_SECONDS = 60.0
SETTLE_SECONDS = 30.0
SETTLED_SHARE = 0.10  # of one CPU, over SETTLE_STEP: below that a tracer has no backlog left
SETTLE_STEP = 0.1
LOOK_SECONDS = 0.001  # between two looks at a file that is to appear


@dataclass(frozen=True)
class Load:
    """What the generator is asked for; ``rate`` 0: as fast as it can; ``seconds``: the safety bound."""

    mode: str
    count: int
    rate: int = 0
    threads: int = 1
    seconds: int = 120

    def argv(self, program: Path, ready: Path) -> list[str]:
        """The generator's command line, in its own network namespace and waiting for go."""
        words = [str(program), self.mode, "--netns", "--wait", "--ready-file", str(ready)]
        words += ["--count", str(self.count), "--threads", str(self.threads), "--seconds", str(self.seconds)]
        return words + (["--rate", str(self.rate)] if self.rate else [])


@dataclass
class Session:
    """A tracer (or none) attached to a load that waits for ``go``."""

    tracer: Tracer
    load: subprocess.Popen[bytes]
    process: subprocess.Popen[bytes] | None  # the tracer; the same as load when it wraps
    output: Output
    ready_seconds: float  # from spawning the tracer to its ready file
    spawned: float

    def go(self) -> None:
        """Let the load begin."""
        assert self.load.stdin is not None
        self.load.stdin.write(b"\n")
        self.load.stdin.flush()

    def report(self, seconds: float) -> dict[str, Any]:
        """The load's JSON line; raises BenchError when it does not come, or when attempts are missing."""
        line = _line(self.load, seconds, f"{self.tracer.name}: the load")
        report: dict[str, Any] = json.loads(line)
        if not report["complete"]:
            raise BenchError(f"{self.tracer.name}: the load met its time limit; lower --count: {line!r}")
        return report

    def cpu_seconds(self) -> float:
        """CPU time of the tracer so far, all threads, to the nanosecond."""
        return process_cpu_seconds(self.process.pid) if self.process else 0.0

    def settle(self) -> None:
        """Wait until the tracer has worked off what came in; raises BenchError when it never rests."""
        deadline = time.monotonic() + SETTLE_SECONDS
        used = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(SETTLE_STEP)  # noqa: TID251  the time over which CPU use is measured
            before, used = used, self.cpu_seconds()
            if used - before < SETTLED_SHARE * SETTLE_STEP:
                return
        raise BenchError(f"{self.tracer.name}: still busy {SETTLE_SECONDS:g} s after the load ended")

    def peak_kib(self) -> int:
        """Highest resident set of the tracer so far, KiB (VmHWM, proc_pid_status(5)); 0 without a tracer."""
        if self.process is None:
            return 0
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        if not found:
            raise BenchError(f"{self.tracer.name}: no VmHWM, the process has ended")
        return int(found[1])

    def stop(self) -> Tally:
        """End tracer and load, and read what the tracer delivered."""
        if self.process is not None and not self.tracer.wraps:
            self.process.send_signal(signal.SIGINT)
            status = _wait(self.process, self.tracer.name)
            if status not in (0, 130, -signal.SIGINT):
                raise BenchError(f"{self.tracer.name}: exit status {status}: {_tail(self.output.stderr)}")
        assert self.load.stdin is not None
        self.load.stdin.close()
        if _wait(self.load, "the load") != 0:
            raise BenchError(f"{self.tracer.name}: the load failed: {_tail(self.output.stderr)}")
        return self.tracer.tally(self.output)


def process_cpu_seconds(pid: int) -> float:
    """CPU time of a whole process by its id, in seconds, to the nanosecond.

    The clock id is CPUCLOCK_SCHED of that process, as clock_getcpuclockid(3) makes it
    (include/linux/posix-timers.h).
    """
    return time.clock_gettime((~pid << 3) | 2)


@contextmanager
def attached(tracer: Tracer, load: Load, programs: Programs) -> Iterator[Session]:
    """Start the load, then the tracer on it, wait until both are ready; end what is left on the way out."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        output = Output(*(directory / part for part in ("stdout", "stderr", "out", "summary")))
        ready, load_ready = directory / "ready", directory / "load-ready"
        load_argv = load.argv(programs.load, load_ready)
        started: list[subprocess.Popen[bytes]] = []
        with output.stdout.open("wb") as stdout, output.stderr.open("wb") as stderr:
            try:
                begin = time.monotonic()
                first = tracer.argv({"out": str(output.out)}, load_argv) if tracer.wraps else load_argv
                loading = _start(started, first, stderr, None)
                _await_file(load_ready, loading, output.stderr, f"{tracer.name}: the load")
                process = loading if tracer.wraps else None
                if tracer.command and not tracer.wraps:
                    values = {
                        "pid": str(loading.pid), "out": str(output.out), "ready": str(ready),
                        "summary": str(output.summary), "floor": str(programs.floor),
                        "callout": str(CALLOUT), "bench": str(BENCH),
                    }  # fmt: skip
                    begin = time.monotonic()
                    process = _start(started, tracer.argv(values, ()), stderr, stdout)
                    _await_file(ready, process, output.stderr, tracer.name)
                yield Session(tracer, loading, process, output, time.monotonic() - begin, begin)
            finally:
                for child in reversed(started):
                    _end(child)


def _start(
    started: list[subprocess.Popen[bytes]], argv: list[str], stderr: IO[bytes], stdout: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    """Start a load (``stdout`` None: talked to through pipes) or a tracer (streams into files)."""
    stdin = subprocess.PIPE if stdout is None else subprocess.DEVNULL
    child = subprocess.Popen(argv, stdin=stdin, stdout=stdout or subprocess.PIPE, stderr=stderr)
    started.append(child)
    return child


def _end(child: subprocess.Popen[bytes]) -> None:
    """The way out: what still runs is killed; closing the pipes ends a load whose wrapper was killed."""
    if child.poll() is None:
        child.kill()
        child.wait(STOP_SECONDS)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a child ends within ``seconds``; how to look for something again and again while it lives."""
    descriptor = os.pidfd_open(child.pid)  # readable once the process has ended, pidfd_open(2)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _await_file(path: Path, child: subprocess.Popen[bytes], stderr: Path, who: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not path.exists():
        if ended(child, LOOK_SECONDS) and not path.exists():
            raise BenchError(f"{who}: ended with {child.wait()} before it was ready: {_tail(stderr)}")
        if time.monotonic() > deadline:
            raise BenchError(f"{who}: not ready after {READY_SECONDS:g} s: {_tail(stderr)}")


def _line(child: subprocess.Popen[bytes], seconds: float, who: str) -> bytes:
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], seconds)[0]:
        raise BenchError(f"{who}: no report within {seconds:g} s")
    line: bytes = child.stdout.readline()
    if not line.endswith(b"\n"):
        raise BenchError(f"{who}: ended without a report")
    return line


def _wait(child: subprocess.Popen[bytes], who: str) -> int:
    try:
        return child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{who}: still there {STOP_SECONDS:g} s after it was asked to stop") from None


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-2000:].strip() or "(it said nothing)"
