"""Which path a cgroup id is: told by the kernel when a cgroup is made, looked up for those that were there before.

Rule of this file: an id is looked up once, in time that does not grow with the number of cgroups. The id of a
cgroup v2 is the inode number of its directory and what open_by_handle_at(2) takes (kernfs, since Linux 5.5; on
64-bit hosts it is never used again). Ids with the bit V1 are those of one cgroup v1 hierarchy, where
containers are on hosts that do not have them in v2.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from callout.enrich.cgroup_paths import DELETED
from callout.enrich.kept import Weighed
from callout.footprint import Table

KEPT, KEPT_BYTES = 65536, 32 << 20  # cgroups: the least recently used are forgotten
ENTRY = 300  # bytes of one beside its path
V1 = 1 << 63  # as in bpf/record.h
FILEID_KERNFS = 0xFE  # include/linux/exportfs.h
HANDLE = struct.Struct("=IiQ")  # struct file_handle: its bytes, its type, and the id that kernfs takes


class Cgroups:
    """Paths by cgroup id, below the mount points of cgroup v2 and of one v1 hierarchy (None: not mounted)."""

    def __init__(self, v2: str | None, v1: str | None = None) -> None:
        self._mounts = v2, v1
        self._paths: Weighed[int, str | None] = Weighed(KEPT, KEPT_BYTES)
        self._handles = True

    def made(self, identifier: int, path: str) -> None:
        """A cgroup was made."""
        self._keep(identifier, path)

    def path(self, identifier: int) -> str | None:
        """The path of a cgroup from the root of its hierarchy; None for one that was gone when first asked for."""
        if identifier in self._paths:
            self._paths.refresh(identifier)
            return self._paths.get(identifier)
        mount = self._mounts[bool(identifier & V1)]
        found = self._look(mount, identifier & ~V1) if mount and identifier else None
        self._keep(identifier, found)
        return found

    def __len__(self) -> int:
        return len(self._paths)

    def memory(self) -> Table:
        """What is kept, about."""
        return self._paths.table("cgroups")

    def _keep(self, identifier: int, path: str | None) -> None:
        self._paths.put(identifier, path, ENTRY + len(path or ""))

    def _look(self, mount: str, identifier: int) -> str | None:
        if self._handles:
            try:
                return by_handle(mount, identifier)
            except OSError:
                self._handles = False  # without CAP_DAC_READ_SEARCH, or on another kind of file system
        return by_walk(mount, identifier)


@cache
def libc() -> Any:
    """The C library, for a call that Python does not have."""
    return ctypes.CDLL(None, use_errno=True)


def by_handle(mount: str, identifier: int) -> str | None:
    """The path below ``mount`` of a cgroup that exists; None for one that is gone. Raises OSError where the
    kernel does not answer that way.
    """
    root = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handle = HANDLE.pack(8, FILEID_KERNFS, identifier)
        fd = libc().open_by_handle_at(root, handle, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if fd < 0:
            number = ctypes.get_errno()
            if number in (errno.ESTALE, errno.ENOENT):
                return None
            raise OSError(number, os.strerror(number), mount)
        try:
            return below(mount, os.readlink(f"/proc/self/fd/{fd}").removesuffix(DELETED))
        finally:
            os.close(fd)
    finally:
        os.close(root)


def by_walk(mount: str, identifier: int) -> str | None:
    """The same by looking at every directory."""
    return next((path for number, path in everything(mount) if number == identifier), None)


def everything(mount: str) -> Iterator[tuple[int, str]]:
    """Id and path of every cgroup that exists."""
    for directory, _, _ in os.walk(mount):
        try:
            number = os.stat(directory).st_ino
        except FileNotFoundError:
            continue
        yield number, below(mount, directory)


def below(mount: str, directory: str) -> str:
    """A directory as a path from the root of its hierarchy."""
    inside = directory == mount or directory.startswith(mount + "/")
    path = directory[len(mount) :] if inside else directory
    return "/" + path.lstrip("/")
