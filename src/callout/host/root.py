"""Doing something with the files of another process: in its mount namespace, below its root, from its directory.

Rule of this file: the calling thread never moves; a thread of its own does, which ends with the work. So a path is what
it is to that process, links, length and all, and no path of ours (``/proc/PID/root/...``) takes its place: a link in it
that is absolute would lead to our files. The work must not import anything. Sources: setns(2), mount_namespaces(7):
whoever enters one must share root and directory with nobody (CLONE_FS).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from callout.errors import NotPermittedError
from callout.host.elsewhere import elsewhere

CLONE_FS, CLONE_NEWNS = 0x00000200, 0x00020000  # linux/sched.h
T = TypeVar("T")


def same(pid: int, path: str) -> bool:
    """Whether a path is the same file to a process as to us. Raises OSError where that cannot be seen."""
    if path.startswith("@"):
        return True  # a name without a file: it belongs to the network namespace
    places = ("ns/mnt", "root") if path.startswith("/") else ("ns/mnt", "root", "cwd")
    return all(
        os.path.samestat(os.stat(f"/proc/{pid}/{place}"), os.stat(f"/proc/self/{place}")) for place in places
    )


def inside(pid: int, path: str, work: Callable[[], T]) -> T:
    """The result of ``work``, which uses ``path``, done where the process is. What it raises is raised here.

    Raises NotPermittedError where we may not go there, or the process is gone.
    """
    try:
        ours = same(pid, path)
    except OSError as error:
        raise refused(pid, error.strerror) from error
    return work() if ours else elsewhere("callout-root", lambda: enter(pid), work)


def refused(pid: int, reason: str | None) -> NotPermittedError:
    """Why the files of a process cannot be reached."""
    return NotPermittedError(f"the files of process {pid} cannot be reached: {reason}", "run it as root")


def enter(pid: int) -> None:
    """Moves the calling thread to where a process sees its files. Raises NotPermittedError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(status: int) -> None:
        if status:
            raise refused(pid, os.strerror(ctypes.get_errno()))

    with ExitStack() as stack:
        try:
            opened = []
            for place, flags in (("ns/mnt", os.O_RDONLY), ("root", os.O_PATH), ("cwd", os.O_PATH)):
                opened.append(os.open(f"/proc/{pid}/{place}", flags | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
            space, root, directory = opened
            checked(libc.unshare(CLONE_FS))
            if not os.path.samestat(os.fstat(space), os.stat("/proc/thread-self/ns/mnt")):
                checked(libc.setns(space, CLONE_NEWNS))
            os.fchdir(root)
            os.chroot(".")
            os.fchdir(directory)
        except OSError as error:
            raise refused(pid, error.strerror) from error
