"""``python -m callout.lab [NAME...]``: runs scenarios in this process, one JSON report a line.

Rule of this file: the child's end of ``child.spawn``; by hand, there is no gate and reports go to
standard output.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from callout.errors import CalloutError
from callout.lab import libc
from callout.lab.runner import run


def main() -> int:
    """Runs what the command line asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m callout.lab", description="run laboratory scenarios")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios (default: all)")
    parser.add_argument("--report", type=int, default=1, metavar="FD", help="where reports go (default: 1)")
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="wait for a byte on standard input; die with PID"
    )
    parser.add_argument("--steps", action="store_true", help="take a byte before each attempt, too")
    options = parser.parse_args()
    if options.parent is not None:
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() != options.parent:  # it ended before the line above
            return 1
    try:
        return run(options.names, options.report, None if options.parent is None else 0, options.steps)
    except CalloutError as error:
        print(f"callout.lab: {error}", file=sys.stderr)
        return error.exit_status


sys.exit(main())
