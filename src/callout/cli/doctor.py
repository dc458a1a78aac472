"""What this host lets callout see and do, entry path by entry path, and why not.

Every BPF program is loaded and attached for a moment, alone; nothing stays behind. Needs no privileges, but
without them the programs cannot be tried. Exit status: 0 if tracing works here, 3 if it does not.

With --selftest it makes one real attempt by every way out of a process, in a network namespace of its own, under
a live trace, and tells which were seen. Exit status then: 0 if all that callout claims to see was seen, 1 if
not, 3 if tracing does not work here.

With --memory it begins a trace for a moment, and tells what it keeps in memory: every table with its entries and
bytes, now and at most, the rings and maps in the kernel, and the process as a whole. `kill -USR1 PID` makes a running
`callout trace` tell the same of itself, on its standard error. Exit status: 0, or 3 if tracing does not work here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from callout.cli.streams import is_colored, is_terminal
from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.doctor.facts import Check

FORMATS = ("table", "ndjson")
ALSO = ("sends", "ia32")  # as `trace` has them
WIDTH = 80  # wider lines are harder to read, and reports get pasted into mails


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)} (table on a terminal, ndjson in a pipe)",
    )
    parser.add_argument(
        "--selftest", action="store_true", help="take every way out once and see what is seen"
    )
    parser.add_argument(
        "--memory", action="store_true", help="what a trace keeps in memory, table by table, and at most"
    )
    parser.add_argument(
        "--tier", metavar="TIER", help="for --selftest: trampoline, kprobe, tracepoint (the best)"
    )
    for name in ALSO:
        text = f"for --selftest: trace as `callout trace --{name}` does"
        parser.add_argument(f"--{name}", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Examines this host and prints what was found."""
    wants_lines = (args.output or ("table" if is_terminal() else "ndjson")) == "ndjson"
    if args.memory and args.selftest:
        raise UsageError("--memory and --selftest are two questions", "ask one after the other")
    if args.selftest:
        return selftest(args.tier, [name for name in ALSO if getattr(args, name)], wants_lines)
    if args.tier is not None:
        raise UsageError("--tier goes with --selftest", "without it, all tiers are tried")
    for name in ALSO:
        if getattr(args, name):
            raise UsageError(f"--{name} goes with --selftest", "without it, all programs are tried")
    if args.memory:
        from callout.cli import footprint
        from callout.doctor import memory

        found = footprint.fresh()
        sys.stdout.write(memory.ndjson(found) if wants_lines else memory.screen(found))
        return 0
    from callout.doctor import host, programs, report, screen

    checks = report.report(programs.gather(host.gather()))
    sys.stdout.write(screen.ndjson(checks) if wants_lines else table(checks))
    return 0 if report.can_trace(checks) else 3


def selftest(tier: str | None, also: Sequence[str], wants_lines: bool) -> int:
    """Takes every way out and prints what was seen."""
    from callout.doctor import findings, selftest

    before = signal.signal(signal.SIGTERM, ended)
    try:
        observed = selftest.observe(tier, also)
    finally:
        signal.signal(signal.SIGTERM, before)
    found = findings.findings(observed)
    if wants_lines:
        sys.stdout.write(findings.ndjson(found, observed.tier, os.uname().release))
    else:
        sys.stdout.write(table(list(findings.checks(found, observed.tier))))
    return 1 if any(finding.broken for finding in found) else 0


def ended(number: int, frame: object) -> None:
    """Ends in good order, so that the cgroup of the test is removed."""
    sys.exit(128 + number)


def table(checks: Sequence[Check]) -> str:
    """The screen as this terminal, if it is one, takes it."""
    from callout.doctor import screen

    terminal = is_terminal()
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if terminal else WIDTH
    color = terminal and is_colored()
    return screen.table(checks, width, color)
