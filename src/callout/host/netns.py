"""Doing something inside another network namespace, in a thread that ends with it.

Rule of this file: the calling thread never changes its namespace. Sources: setns(2), network_namespaces(7): a network
namespace belongs to a thread, and /proc/sys/net and child processes follow the thread that opens or starts them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from callout.errors import NotPermittedError
from callout.host.elsewhere import elsewhere

CLONE_NEWNET = 0x40000000  # linux/sched.h
OWN = "/proc/thread-self/ns/net"
NAMED = Path("/run/netns")  # ip-netns(8)
T = TypeVar("T")


def inode(path: str) -> int | None:
    """The number of a namespace, as `connect.netns` has it; None where it cannot be read."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def find(number: int | None, pid: int | None = None) -> str | None:
    """A path to the namespace with that number; the process is asked first. None: it is gone or not to be seen.

    Without a number the namespace of the process, else our own.
    """
    if number is None:
        return f"/proc/{pid}/ns/net" if pid and inode(f"/proc/{pid}/ns/net") else OWN if pid is None else None
    for path in candidates(pid):
        if inode(path) == number:
            return path
    return None


def candidates(pid: int | None) -> Iterator[str]:
    """Where a namespace may be found, the nearest first."""
    if pid:
        yield f"/proc/{pid}/ns/net"
    yield OWN
    yield from (f"/proc/{name}/ns/net" for name in os.listdir("/proc") if name.isdigit())
    if NAMED.is_dir():
        yield from (str(path) for path in NAMED.iterdir())


def inside(path: str, work: Callable[[], T]) -> T:
    """The result of ``work``, done inside a namespace. What it raises is raised here.

    Raises NotPermittedError where the namespace cannot be entered.
    """
    if inode(path) == inode(OWN):
        return work()
    return elsewhere("callout-netns", lambda: enter(path), work)


def enter(path: str) -> None:
    """Moves the calling thread into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotPermittedError(f"{path}: {error.strerror}", "run it as root") from error
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise NotPermittedError(
                f"the network namespace {path} cannot be entered: {reason}",
                "run it as root: that takes CAP_SYS_ADMIN",
            )
    finally:
        os.close(descriptor)
