"""``python -m callout.lab.ways``: takes every way once, each in a forked process, one JSON report a line.

Rule of this file: the child's end of ``stage``. Order: namespace, gate, the ways one by one, and last the mark,
a UDP connect of this very process: when its row has come, no row of the others is still to come.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import traceback

from callout.errors import CalloutError
from callout.lab import libc
from callout.lab.address import inet
from callout.lab.namespace import enter
from callout.lab.ways import WAYS, NotHere, Way
from callout.lab.ways.base import DISCARD, HOST

PATIENCE = 30  # seconds after which the kernel ends an attempt that hangs; emulated kernels are slow
STACK = 800  # characters of a traceback that a report keeps: all reports together must fit into the pipe


def tell(pipe: int, /, **report: object) -> None:
    """Writes one report."""
    os.write(pipe, json.dumps(report).encode() + b"\n")


def take(way: Way, fd: int) -> None:
    """Takes one way in a process of its own and reports what came of it, or how that process ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(PATIENCE)
            made = way.act()
            tell(fd, way=way.name, pid=os.getpid(), fd=made.fd, address=made.address.hex(), result=made.result,
                 note=made.note)  # fmt: skip
            status = 0
        except NotHere as reason:
            tell(fd, way=way.name, pid=os.getpid(), not_here=str(reason))
            status = 0
        except BaseException:
            tell(fd, way=way.name, pid=os.getpid(), failed=traceback.format_exc()[-STACK:])
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        name = signal.Signals(os.WTERMSIG(ended)).name
        tell(fd, way=way.name, pid=child, not_here=f"the kernel ended the process that tried it by {name}")


def run(report: int) -> int:
    """Everything, as this file's rule says. Returns the exit status."""
    try:
        enter()
    except CalloutError as error:
        tell(report, refused=error.message, remedy=error.remedy)
        return error.exit_status
    tell(report, ready=os.getpid())
    if not os.read(0, 1):
        return 0
    for way in WAYS:
        take(way, report)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marker:
        libc.connect(marker.fileno(), inet(HOST, DISCARD), 16)
    return 0


def main() -> int:
    """Runs what ``stage`` asks for."""
    parser = argparse.ArgumentParser(prog="python -m callout.lab.ways", description="take every way out once")
    parser.add_argument("--report", type=int, default=1, metavar="FD", help="where reports go (default: 1)")
    parser.add_argument("--parent", type=int, required=True, metavar="PID", help="die with PID")
    options = parser.parse_args()
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != options.parent:  # it ended before the line above
        return 1
    return run(options.report)


sys.exit(main())
