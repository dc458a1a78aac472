"""A memory cgroup (v1) of our own, at whose limit calls fail and nobody is killed.

Rule of this file: it is made below the one that this process is in, and is gone with its block.
Source: Documentation/admin-guide/cgroup-v1/memory.rst.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def controller() -> Path | None:
    """The memory cgroup (v1) of this process; None where memory belongs to cgroup v2, or to nobody."""
    with open("/proc/self/mounts") as file:
        mounts = [line.split(" ") for line in file]
    places = [words[1] for words in mounts if words[2] == "cgroup" and "memory" in words[3].split(",")]
    with open("/proc/self/cgroup") as file:
        found = [line.rstrip("\n").split(":", 2) for line in file]
    own = [path for _, controllers, path in found if "memory" in controllers.split(",")]
    return Path(places[0] + own[0].rstrip("/")) if places and own else None


def available() -> str | None:
    """Need ``memory``: a memory cgroup of our own, whose limit fails calls and kills nobody."""
    parent = controller()
    if parent is None:
        return "memory is limited by cgroup v2, whose OOM killer comes before an error"
    try:
        with limited(parent):
            pass
    except OSError as error:
        return f"no memory cgroup can be made in {parent} ({error.strerror}; run it as root)"
    return None


@contextmanager
def limited(parent: Path) -> Iterator[Path]:
    """A memory cgroup without a limit yet, in which nobody is killed. Raises OSError."""
    group = parent / f"callout-lab-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.oom_control").write_text("1")
        yield group
    finally:
        group.rmdir()


def limit(group: Path) -> None:
    """Sets a limit at what is in use, or as little above as the kernel takes."""
    most = int((group / "memory.usage_in_bytes").read_text())
    while True:
        try:
            (group / "memory.limit_in_bytes").write_text(str(most))
            return
        except OSError as error:  # more has come into use meanwhile
            if error.errno != errno.EBUSY:
                raise
            most += 65536
