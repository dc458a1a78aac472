"""Where the cgroup v2 hierarchy is mounted, and what directory a cgroup id is.

Rule of this file: reads /proc and /sys, changes nothing. Sources: cgroups(7),
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from callout.errors import NotPermittedError, UsageError


def hierarchy(mounts: str | None = None) -> str | None:
    """Mount point of the cgroup v2 hierarchy, or None. ``mounts``: text as in /proc/self/mounts."""
    for line in (mounts if mounts is not None else Path("/proc/self/mounts").read_text()).splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return unescaped(fields[1])
    return None


def unescaped(path: str) -> str:
    """A path as /proc/self/mounts has it; see proc_mounts(5)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


class Old(NamedTuple):
    """A cgroup v1 hierarchy: one of its controllers, its number and its mount point."""

    controller: str
    number: int
    mount: str


def old() -> Old | None:
    """The cgroup v1 hierarchy that tells containers apart: one that every runtime uses. None where v2 is alone."""
    try:
        rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    except FileNotFoundError:
        return None
    numbers = {row[0]: int(row[1]) for row in rows if row[1].isdigit()}
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for controller in ("pids", "memory", "devices"):
        for fields in mounts if numbers.get(controller) else ():  # 0: not mounted, or in v2
            if fields[2] == "cgroup" and controller in fields[3].split(","):
                return Old(controller, numbers[controller], unescaped(fields[1]))
    return None


def path_of(path: str | None) -> str:
    """The directory of a cgroup v2, given absolute or relative to the hierarchy's root (None: the root)."""
    root = hierarchy()
    if root is None:
        raise NotPermittedError("no cgroup v2 hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    if path is None:
        return root
    full = path if path.startswith(root) else os.path.join(root, path.lstrip("/"))
    if not os.path.isdir(full):
        raise UsageError(f"there is no cgroup {path}", f"give a directory below {root}")
    return full


@contextmanager
def directory(path: str | None) -> Iterator[int]:
    """A descriptor of a cgroup's directory, for programs that attach there; -1 where no hierarchy is mounted."""
    try:
        full = path_of(path)
    except NotPermittedError:
        yield -1
        return
    fd = os.open(full, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
