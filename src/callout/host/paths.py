"""A socket file as a process sees it: whether it is there, what it is, and which permission is missing.

Rule of this file: looks through /proc/PID/root, so that containers and chroots see their own files. Sources:
path_resolution(7), unix(7): connecting takes write permission on the file, search permission on each directory.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """``kind``: socket, missing, or what else is there; ``refused``: the part without permission, and which."""

    kind: str
    refused: str | None = None


def look_at(path: str, pid: int, uid: int | None, gid: int | None) -> Found | None:
    """What a process finds at a path; None where its file system cannot be seen, or the path is relative."""
    root = f"/proc/{pid}/root"
    if not path.startswith("/") or not os.path.isdir(root):
        return None
    groups = groups_of(pid) | ({gid} if gid is not None else set())
    place = root
    parts = [part for part in path.split("/") if part]
    for i, part in enumerate(parts):
        if uid and not allowed(place, uid, groups, 1):
            return Found("hidden", f"{named(place, root)} (search permission)")
        place = os.path.join(place, part)
        try:
            mode = os.stat(place, follow_symlinks=i < len(parts) - 1).st_mode
        except OSError:
            return Found("missing", None)
    if stat.S_ISLNK(mode):
        return None  # leads out of the root that we look through
    if uid and not allowed(place, uid, groups, 2):
        return Found(kind_of(mode), f"{path} (write permission)")
    return Found(kind_of(mode))


def named(place: str, root: str) -> str:
    """A directory as the process names it."""
    return place.removeprefix(root) or "/"


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


def groups_of(pid: int) -> set[int]:
    """Groups of a process; empty where it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("Gid:", "Groups:")):
                return {int(word) for word in line.split()[1:]}
    except OSError:
        return set()
    return set()
