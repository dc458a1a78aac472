"""Processes of a scenario: started, met at the place where they wait, and ended.

Rule of this file: no time anywhere. Whether somebody is inside a call is asked of the kernel
(/proc/PID/task/TID/syscall, proc(5)).
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

from callout.lab import libc

NOBODY = 65534


def start(act: Callable[[], None]) -> int:
    """A child process that does ``act`` and ends with status 0, or 1 after an exception. Returns its pid.

    It dies with the thread that started it.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            act()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def finish(child: int, by: int = 0) -> None:
    """Waits for a child's end. Raises RuntimeError if it was neither status 0 nor, if given, signal ``by``."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != -by:
        raise RuntimeError(f"the process was to end with {-by}, but ended with {code}")


def run(act: Callable[[], None]) -> None:
    """Does ``act`` in a child process. Raises RuntimeError when that breaks off."""
    finish(start(act))


def become_nobody() -> None:
    """Gives up root for good, in this process."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def wait_in_connect(pid: int, tid: int | None = None, call: str = "connect") -> None:
    """Returns once a thread sleeps inside connect(2), or another call. Raises OSError when it ends before."""
    path = f"/proc/{pid}/task/{tid or pid}/syscall"
    while True:
        with open(path) as file:
            number = file.read().split(" ", 1)[0]
        if number == str(libc.NUMBER[call]):
            return
        if number == "":  # ended, and not yet waited for
            raise ProcessLookupError(f"process {pid} ended before it was seen in {call}")
        os.sched_yield()
