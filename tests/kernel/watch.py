"""Watching our own attempts: the live source, narrowed to processes that the test started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callout.capture.kernel import KernelSource
from callout.narrowing import Narrowing

# seconds after which something that must come is missing; emulated kernels are slow
PATIENCE = float(os.environ.get("CALLOUT_TEST_PATIENCE", "20"))
TIER = os.environ.get("CALLOUT_TEST_TIER")  # of every live source, instead of the best; see conftest.py
CALLOUT = [sys.executable, "-m", "callout"]


class Watch:
    """Rows of a live source, gathered until enough have come."""

    def __init__(self, source: KernelSource) -> None:
        self.source = source
        self.seen: list[dict[str, Any]] = []

    def gather(self) -> None:
        """Takes what is there, waiting a moment for more."""
        batch = self.source.read()
        if len(batch):
            self.seen.extend(batch.rows())
        else:
            self.source.wait()

    def until(
        self, enough: Callable[[list[dict[str, Any]]], bool], patience: float = PATIENCE
    ) -> list[dict[str, Any]]:
        """All rows so far, once ``enough`` says so; fails the test when it takes too long."""
        end = time.monotonic() + patience
        while not enough(self.seen):
            assert time.monotonic() < end, f"only {len(self.seen)} rows came: {self.seen[-5:]}"
            self.gather()
        return self.seen

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Exactly ``count`` rows, oldest first; fails when more have come."""
        rows = self.until(lambda seen: len(seen) >= count)
        assert len(rows) == count, rows
        return sorted(rows, key=lambda row: row["@timestamp"])


@contextmanager
def watch(
    narrowing: Narrowing | None = None, tier: str | None = None, related: bool = False
) -> Iterator[Watch]:
    """Watches this process (or what ``narrowing`` says)."""
    with KernelSource(narrowing or Narrowing(pids=frozenset({os.getpid()})), tier, related=related) as source:
        yield Watch(source)


@contextmanager
def traced(path: Path, *arguments: str, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`callout trace` with these arguments, ready; ended by SIGINT when the block ends."""
    ready = path / "ready"
    process = subprocess.Popen(
        [*CALLOUT, "trace", "--ready-file", str(ready), *(["--tier", TIER] if TIER else []), *arguments],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen},
    )
    try:
        end = time.monotonic() + PATIENCE
        while not ready.exists():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < end, "the tracer did not become ready"
            os.sched_yield()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def finish(process: subprocess.Popen[bytes]) -> tuple[list[dict[str, Any]], str]:
    """Ends a tracer that writes NDJSON in good order: its rows and what it said."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()], err.decode()


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """A process of its own that runs ``code`` once a line comes on its standard input."""
    gate = "import sys; sys.stdin.readline()\n"
    return subprocess.Popen([sys.executable, "-c", gate + code, *arguments], stdin=subprocess.PIPE, **options)


def go(process: subprocess.Popen[bytes]) -> int:
    """Opens the gate of ``python`` and waits for its end; returns its status."""
    process.communicate(b"\n", timeout=PATIENCE)
    return process.returncode


def run(arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """One whole run of the command line."""
    return subprocess.run(
        [*CALLOUT, *arguments], capture_output=True, text=True, timeout=PATIENCE * 3, check=False, **options
    )
