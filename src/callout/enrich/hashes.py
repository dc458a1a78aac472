"""SHA-256 of executables, on request.

Rule of this file: a file is hashed once as long as neither its inode nor its time of change differ (ctime, which
nobody can set back). What is hashed is the very file that runs: by /proc/PID/exe, or by its path where that still
leads to the same inode.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress

from callout.enrich.aside import Aside
from callout.enrich.entities import Key, same
from callout.enrich.images import File, Image
from callout.enrich.inside import open_inside
from callout.enrich.kept import kept
from callout.footprint import Table, table

KEPT = 8192  # files
ENTRY = 400  # bytes of one


class Hashes:
    """Digests by file. ``aside`` computes them."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._digests: OrderedDict[File, str] = OrderedDict()

    def of(self, image: Image, pid: int, start: int, doors: Iterable[Key]) -> str | None:
        """The digest of what a process runs, if it is there; ``doors``: other processes with the same root."""
        file = image.file
        if file is None:
            return None
        if (known := self._digests.get(file)) is not None:
            return known
        path, others = image.executable, tuple(doors)
        ready, digest = self._aside.ask(file, lambda: digest_of(file, path, pid, start, others))
        if ready:
            self._aside.forget(file)  # if it could not be read through this process, another may come
        return kept(self._digests, file, digest, KEPT) if digest else None

    def memory(self) -> list[Table]:
        """What is kept."""
        return [table("hashes", len(self._digests), KEPT, ENTRY)]


def digest_of(file: File, path: str | None, pid: int, start: int, doors: Iterable[Key]) -> str | None:
    """SHA-256 of a file, in hexadecimal; None where it cannot be reached any more."""
    for descriptor in _ways(file, path, pid, start, doors):
        with open(descriptor, "rb") as content:
            if _is(os.fstat(descriptor), file):
                import hashlib  # with it comes all of OpenSSL: 3 MB for whoever asked for no hash

                return hashlib.file_digest(content, "sha256").hexdigest()
    return None


def _ways(file: File, path: str | None, pid: int, start: int, doors: Iterable[Key]) -> Iterable[int]:
    with suppress(OSError):
        yield os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC)
    for door_start, door in doors if path else ():
        with suppress(OSError):
            if same(door, door_start):
                yield open_inside(door, path or "")
    with suppress(OSError):
        if path and _is(os.stat(path), file):  # else it is not opened: what stands there may be a device
            yield os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _is(found: os.stat_result, file: File) -> bool:
    ours = found.st_ino, found.st_ctime_ns
    return ours == (file.inode, file.changed) and stat.S_ISREG(found.st_mode)
