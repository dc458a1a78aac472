"""A socket file as a process sees it: whether it is there, what it is, and which permission is missing.

Rule of this file: looks where the process is (``root``), so that containers and chroots see their own files. Sources:
path_resolution(7), unix(7): connecting takes write permission on the file, search permission on each directory.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from callout.errors import NotPermittedError
from callout.host import root

File = tuple[int, int]
"""Device (major << 20 | minor, as the kernel has it) and inode number."""
CAP_DAC_OVERRIDE = 1  # linux/capability.h: no permission is asked for


@dataclass(frozen=True)
class Found:
    """``kind``: socket, missing, or what else is there; ``refused``: the part without permission, and which."""

    kind: str
    refused: str | None = None
    file: File | None = None


def look_at(path: str, pid: int, uid: int | None, gid: int | None) -> Found | None:
    """What a process finds at a path; None where its file system cannot be seen, or the path is a name without file."""
    if path.startswith("@"):
        return None
    try:
        groups = groups_of(pid) | ({gid} if gid is not None else set())
        return root.inside(pid, path, lambda: looked(path, uid, groups))
    except NotPermittedError:
        return None


def looked(path: str, uid: int | None, groups: set[int]) -> Found:
    """The same with the files of this thread. Permissions are those of the directories that the path names."""
    place = "/" if path.startswith("/") else "."
    for part in [part for part in path.split("/") if part]:
        if uid and not allowed(place, uid, groups, 1):
            return Found("hidden", f"{place} (search permission)")
        place = os.path.join(place, part)
        try:
            found = os.stat(place)
        except OSError:
            return Found("missing")
    file = os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino
    if uid and not allowed(place, uid, groups, 2):
        return Found(kind_of(found.st_mode), f"{path} (write permission)", file)
    return Found(kind_of(found.st_mode), None, file)


def kind_of(mode: int) -> str:
    """What is there."""
    if stat.S_ISSOCK(mode):
        return "socket"
    return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "something else"


def allowed(place: str, uid: int, groups: set[int], bit: int) -> bool:
    """Whether the mode bits allow it: 1 search, 2 write. Access lists are not looked at."""
    try:
        found = os.stat(place)
    except OSError:
        return False
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return bool(found.st_mode >> shift & bit)


def caller(pid: int) -> dict[str, int]:
    """The fields of a row about who a process is now. Whom no permission stops is user 0 here."""
    found = {"process.pid": pid}
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return found
    for line in status:
        key, _, value = line.partition(":")
        if key == "Uid":
            found["user.id"], found["user.effective.id"] = map(int, value.split()[:2])
        elif key == "Gid":
            found["group.id"] = int(value.split()[1])
        elif key == "CapEff" and int(value, 16) >> CAP_DAC_OVERRIDE & 1:
            found["user.effective.id"] = 0
    return found


def groups_of(pid: int) -> set[int]:
    """Groups of a process; empty where it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("Gid:", "Groups:")):
                return {int(word) for word in line.split()[1:]}
    except OSError:
        return set()
    return set()
