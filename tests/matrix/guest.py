"""The kernel tests inside one booted kernel: all with the tier that callout picks, some with each other tier.

    python tests/matrix/guest.py RESULTS

The rule: run.py starts it in a guest, and nobody else needs it. RESULTS is a directory that gets one file in
JUnit's format per tier, named after it; a tier without a file did not finish. Exit status: 0 if all passed.
Everything is emulated, so the other tiers are tested where they differ: at the entry and exit of the call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from callout.capture.kernel import KernelSource
from callout.capture.tiers import TIERS

KERNEL_TESTS = Path(__file__).parents[1] / "kernel"
WHOLE = (str(KERNEL_TESTS),)
OTHERS = (
    *(str(KERNEL_TESTS / name) for name in ("test_scenarios.py", "test_rows.py")),
    f"{KERNEL_TESTS / 'test_doctor_kernel.py'}::test_the_table_of_ways_out_is_true_here",
)
PATIENCE = "120"
"""Seconds, against 20 on a real machine: here a command line needs several to start."""


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
            yield tier.name, OTHERS, {"CALLOUT_TEST_TIER": tier.name}


def main(results: Path) -> int:
    """Runs them all, whatever fails."""
    failed = False
    for name, tests, variables in runs(best()):
        print(f"\nLinux {os.uname().release}, tier {name}", flush=True)
        pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--must-run", "--durations=10"]
        environment = {**os.environ, "CALLOUT_TEST_PATIENCE": PATIENCE, **variables}
        done = subprocess.run(
            [*pytest, f"--junitxml={results / name}.xml", *tests], env=environment, check=False
        )
        failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
