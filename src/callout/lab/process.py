"""Processes of a scenario: started, met at the place where they wait, and ended.

Rule of this file: no time anywhere. Whether somebody is inside a call is asked of the kernel
(/proc/PID/task/TID/syscall, proc(5)).
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def blocked(act: Callable[[], None], call: str = "connect", by: int = 0) -> Iterator[int]:
    """A process that does ``act``: the block is done once it waits in its call, and has its pid.

    Its end comes after the block: as ``finish`` with ``by``.
    """
    child = start(act)
    wait_in_connect(child, call=call)
    yield child
    finish(child, by)


@contextmanager
def blocked_thread(act: Callable[[], object]) -> Iterator[None]:
    """A thread that does ``act``: the block is done once it waits in connect(2). Its end comes after the block."""
    thread = threading.Thread(target=act)
    thread.start()
    assert thread.native_id is not None
    wait_in_connect(os.getpid(), thread.native_id)
    yield
    thread.join()
