"""What this host lets callout see and do, entry path by entry path, and why not.

Every BPF program is loaded and attached for a moment, alone; nothing stays behind. Needs no privileges, but
without them the programs cannot be tried. Exit status: 0 if tracing works here, 3 if it does not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

FORMATS = ("table", "ndjson")
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


def run(args: argparse.Namespace) -> int:
    """Examines this host and prints what was found."""
    from callout.doctor import host, programs, report, screen

    checks = report.report(programs.gather(host.gather()))
    terminal = sys.stdout.isatty()
    if (args.output or ("table" if terminal else "ndjson")) == "ndjson":
        text = screen.ndjson(checks)
    else:
        width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if terminal else WIDTH
        color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        text = screen.table(checks, width, color)
    sys.stdout.write(text)
    return 0 if report.can_trace(checks) else 3
