#!/usr/bin/env python3
"""The kernel tests in every kernel of the matrix, with every tier of programs: `make test-matrix`.

    python tests/matrix/run.py [--all] [--allow-missing] [SERIES...]

The rule: one boot per kernel; within it guest.py runs the tests tier by tier, with the Python that runs this
(which has callout installed). Output is pytest's, as it comes. At the end stand the failures of all, and a
line per kernel and one of the whole, worded as pytest words its own.

6.1 and 6.12 are tested unless others are named, and must be had unless --allow-missing is given; of the rest,
one that cannot be had is skipped, with the reason. Exit status: 0 if nothing failed; 1 if a test failed, a
boot did not finish or a needed kernel is missing; 130 on Ctrl-C, 143 on SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1]))

from matrix import kernels

NEEDED = ("6.1", "6.12")
TIMEOUT = 900.0
"""Seconds for one boot and all its tests."""
MARGIN = 90.0
"""Seconds of these for the boot, and for pytest to tell what failed when it was interrupted."""
NOT_ALL_RUN = "not all tests were run"
ORDER = ("failed", "passed", "skipped", "errors")


def read_results(results: Path) -> tuple[Counter[str], list[str]]:
    """What the JUnit files in `results` say: numbers by the words of ORDER, and one line per failure."""
    counts: Counter[str] = Counter()
    lines = []
    words = {"failure": "failed", "error": "errors", "skipped": "skipped"}
    for file in sorted(results.glob("*.xml")):
        root = ElementTree.parse(file)
        counts["passed"] += sum(int(suite.get("tests", 0)) for suite in root.iter("testsuite"))
        for case in root.iter("testcase"):
            bad = [child for child in case if child.tag in words]
            counts.update(words[child.tag] for child in bad)
            counts["passed"] -= bool(bad)  # what was interrupted is a case too, but no test of the suite
            for child in bad:
                if child.tag != "skipped":
                    said = (child.get("message") or "").partition("\n")[0]
                    place = f"{case.get('classname')}::{case.get('name')}"
                    lines.append(f"FAILED {file.stem} {place} - {said}")
    return counts, lines


def rule(text: str) -> str:
    """A line across the screen with a text in it."""
    return f" {text} ".center(80, "=")


def closing(counts: Counter[str], seconds: float, title: str = "") -> str:
    """A line as pytest closes with: `=== 1 failed, 20 passed in 3.21s ===`; `title` stands before it all."""
    told = [
        f"{counts[word]} {'error' if word == 'errors' and counts[word] == 1 else word}"
        for word in ORDER
        if counts[word]
    ]
    took = f"{seconds:.2f}s" + (f" ({timedelta(seconds=int(seconds))})" if seconds >= 60 else "")
    return rule(f"{title}{', '.join(told) or 'no tests ran'} in {took}")


def test_in(series: str, kernel: kernels.Kernel, timeout: float) -> tuple[Counter[str], list[str]]:
    """Boots `kernel` and runs everything in it; as `read_results`, an unfinished boot being one error."""
    with tempfile.TemporaryDirectory(prefix=".results-", dir=kernels.cache()) as name:
        guest = str(Path(__file__).with_name("guest.py"))
        # the guest sees this tree: it may be read-only there, and must stay as it is in any case
        seconds = str(max(timeout - MARGIN, timeout / 2))
        command = ["env", "PYTHONDONTWRITEBYTECODE=1", sys.executable, guest, name, seconds]
        line = ["run", series, "--timeout", str(timeout), "--rw", name, "--", *command]
        try:
            status = kernels.boot(kernel, kernels.parser().parse_args(line))
            why = NOT_ALL_RUN if status == 2 else f"ended with status {status}"
        except kernels.KernelError as error:
            status, why = kernels.TOOL_FAILED, str(error)
        counts, lines = read_results(Path(name))
    if status > 1 or (status and not lines):  # 1 is for failures that have a line each
        counts["errors"] += 1
        lines.append(f"ERROR {why}")
    return counts, lines


def test_all(wanted: Sequence[str], needed: Sequence[str], timeout: float) -> int:
    """Every kernel in turn, then the closing lines; returns the exit status."""
    began = time.monotonic()
    total: Counter[str] = Counter()
    told = []
    for series in wanted:
        start = time.monotonic()
        try:
            kernel = kernels.prepared(series) or kernels.fetch(series)
        except kernels.KernelError as error:
            word = "errors" if series in needed else "skipped"
            total[word] += 1
            told.append(f"{'ERROR' if series in needed else 'SKIPPED'} {error}")  # it names the series
            print(told[-1], flush=True)
            continue
        print(rule(f"Linux {kernel.release}"), flush=True)
        counts, lines = test_in(series, kernel, timeout)
        total += counts
        told += [f"{series}: {line}" for line in lines]
        told.append(closing(counts, time.monotonic() - start, f"{kernel.release}: "))
        print(told[-1], flush=True)
    print(rule("kernels"), *told, closing(total, time.monotonic() - began), sep="\n", flush=True)
    return int(bool(total["failed"] + total["errors"]))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="run.py", description="Run the kernel tests in emulated Debian kernels."
    )
    top.add_argument(
        "series", nargs="*", metavar="SERIES", help=f"of {', '.join(kernels.SERIES)} [{' '.join(NEEDED)}]"
    )
    top.add_argument("--all", action="store_true", help="every series that can be had")
    top.add_argument("--allow-missing", action="store_true", help=f"do not insist on {' and '.join(NEEDED)}")
    top.add_argument("--timeout", type=float, default=TIMEOUT, metavar="S", help="for one boot [%(default)g]")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks; returns the exit status."""
    top = parser()
    options = top.parse_args(arguments)
    for series in options.series:
        if series not in kernels.SERIES:
            top.error(f"{series}: cannot be had; there are {', '.join(kernels.SERIES)}")
    wanted = tuple(kernels.SERIES) if options.all else tuple(options.series) or NEEDED
    try:
        kernels.need_tools()
        return test_all(wanted, () if options.allow_missing else NEEDED, options.timeout)
    except kernels.KernelError as error:
        kernels.say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the guest ends too
    sys.exit(main())
