"""Kernel tests inside one booted kernel: most with the tier that callout picks, some with each other tier.

    python tests/matrix/guest.py RESULTS SECONDS

The rule: run.py starts it in a guest, and nobody else needs it. RESULTS is a directory that gets one file in
JUnit's format per tier, named after it. After SECONDS the tests are interrupted as by Ctrl-C, so that pytest
still tells what failed until then. Exit status: 0 if all passed, 1 if one failed, 2 if not all were run.
Everything is emulated, so the other tiers are tested where they differ: at the entry and exit of the call; every
scenario of the laboratory runs on the tier that callout picks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from callout.capture.kernel import KernelSource
from callout.capture.tiers import TIERS

KERNEL_TESTS = Path(__file__).parents[1] / "kernel"
OTHERS = tuple(
    str(KERNEL_TESTS / name)
    for name in ("test_loads.py", "test_scenarios.py", "test_rows.py", "test_many.py", "test_overlooked.py")
)
TOLD = (*OTHERS, str(KERNEL_TESTS / "test_why_lab.py"))
"""For the other tiers, whose evidence is less: that nothing is told wrongly because of it."""
PROCESSES = (
    "test_executables_without_a_name",
    "test_a_recording_brings_everything_back",
    "test_directories_at_the_time_of_each_attempt",
)
"""Of the tests of who made an attempt, which start a tracer each: between them they need all its programs."""
WHOLE = (
    *OTHERS,
    str(KERNEL_TESTS / "test_leftover.py"),
    *(f"{KERNEL_TESTS / 'test_processes.py'}::{name}" for name in PROCESSES),
)
"""What differs by kernel and tier, and does not hang on time: a guest is ten to thirty times slower than a machine."""
SCALE = {"CALLOUT_TEST_PATIENCE": "120"}
"""Longer waits than on a real machine."""
FEW = {"CALLOUT_TEST_SCENARIOS": "demo"}
"""Of the scenarios those of the demonstration: for the tiers that callout does not pick."""
MODULES = ("vsock_loopback",)
"""What scenarios need, and a kernel does not load by itself."""


def best() -> str:
    """The tier that callout picks in this kernel. Raises NotPermittedError when none loads."""
    with KernelSource() as source:
        assert source.tier is not None
        return source.tier.name


def runs(chosen: str) -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
    """Of each tier, `chosen` first: its name, the tests to run, the variables that tell the tests."""
    yield chosen, WHOLE, {}
    for tier in TIERS:
        if tier.name != chosen:
            yield tier.name, TOLD, {"CALLOUT_TEST_TIER": tier.name, **FEW}


def wait(tests: subprocess.Popen[bytes], deadline: float) -> int:
    """Waits for pytest, which is interrupted at the deadline (of time.monotonic); returns its exit status."""
    try:
        return tests.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print("\nmatrix: the time is up", file=sys.stderr, flush=True)
        tests.send_signal(signal.SIGINT)
        return tests.wait()


def main(results: Path, seconds: float) -> int:
    """Runs them all, whatever fails, while there is time."""
    deadline = time.monotonic() + seconds
    status = 0
    for module in MODULES:  # without one its scenarios say what is missing
        subprocess.run(["modprobe", "--quiet", module], check=False)
    for name, paths, variables in runs(best()):
        if time.monotonic() >= deadline:
            print(f"matrix: no time for tier {name}", file=sys.stderr, flush=True)
            return 2
        print(f"\nLinux {os.uname().release}, tier {name}", flush=True)
        pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--must-run", "--durations=10"]
        environment = {**os.environ, **SCALE, **variables}
        tests = subprocess.Popen([*pytest, f"--junitxml={results / name}.xml", *paths], env=environment)
        ended = wait(tests, deadline)
        status = max(status, ended if ended in (0, 1) else 2)  # 1 is pytest's for failed tests
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
