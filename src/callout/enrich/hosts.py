"""Names from the hosts file that a process sees: that of its mount namespace and root.

Rule of this file: never in the way. The file may be a container's, and so an enemy's: it is looked for below that
root only, must be a plain file of a bearable size, and is read by a thread that nobody waits for long. Files are read
again when they changed, and looked at again after a while. Loopback addresses have no name here: many a blocklist
gives them thousands.

Sources: hosts(5), proc_pid_root(5), namespaces(7).
"""

from __future__ import annotations

import ipaddress
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from callout.dns import hostname
from callout.enrich.inside import open_inside
from callout.enrich.kept import Weighed, kept
from callout.footprint import Table, table

SIZE = 1 << 20  # bytes of a file that is read
AGAIN = 2.0  # seconds after which a file is looked at again
PATIENCE = 0.05  # seconds that a look may take
STUCK = 4  # threads that may hang
PROCESSES, PLACES = 4096, 1024  # kept: processes and roots
FILES, FILES_BYTES = 64, 16 << 20  # different files
NAME, PLACE = 250, 300  # bytes of a name with its address, of a process or root
NO_NAMES: dict[str, str] = {}

FileId: TypeAlias = tuple[int, ...]  # device, inode, time of change and size
NO_FILE: FileId = ()


class Root(NamedTuple):
    """What a process sees as `/`: the inode of its mount namespace, and the path of its root there."""

    namespace: str
    path: str


class Contents(NamedTuple):
    """A file and its names by address."""

    file: FileId
    names: dict[str, str]


class Hosts:
    """The files, as they were read last."""

    def __init__(self) -> None:
        self._roots: OrderedDict[Root, tuple[float, FileId]] = OrderedDict()
        self._files: Weighed[FileId, dict[str, str]] = Weighed(FILES, FILES_BYTES)
        self._processes: OrderedDict[tuple[int, int], tuple[float, FileId]] = OrderedDict()
        self._own = root_of("self")
        self._stuck = 0

    def of(self, process: tuple[int, int]) -> dict[str, str]:
        """Names by address for a process (start, pid); empty where it is gone or its file cannot be read."""
        now = time.monotonic()
        looked, file = self._processes.get(process, (-AGAIN, NO_FILE))
        if now - looked >= AGAIN:
            file = self._of_root(process[1], now)
            kept(self._processes, process, (now, file), PROCESSES)
        return self._files.get(file) or NO_NAMES

    def _of_root(self, pid: int, now: float) -> FileId:
        root = root_of(str(pid))
        if root is None:
            return NO_FILE
        looked, file = self._roots.get(root, (-AGAIN, NO_FILE))
        if now - looked >= AGAIN:
            file = self._look(pid, root)
            kept(self._roots, root, (now, file), PLACES)
        return file

    def memory(self) -> list[Table]:
        """What is kept, about."""
        places = len(self._roots) + len(self._processes)
        return [
            self._files.table("names: hosts files"),
            table("names: whose hosts file", places, PLACES + PROCESSES, PLACE),
        ]

    def _look(self, pid: int, root: Root) -> FileId:
        if root == self._own:
            return self._keep(read(pid, self._files.get))
        if self._stuck >= STUCK:
            return NO_FILE
        answer: queue.SimpleQueue[Contents | None] = queue.SimpleQueue()
        threading.Thread(target=lambda: answer.put(read(pid, self._files.get)), daemon=True).start()
        try:
            return self._keep(answer.get(timeout=PATIENCE))
        except queue.Empty:
            self._stuck += 1  # a file system that does not answer
            return NO_FILE

    def _keep(self, contents: Contents | None) -> FileId:
        if contents is None:
            return NO_FILE
        self._files.put(contents.file, contents.names, NAME * (1 + len(contents.names)))
        return contents.file


def read(pid: int, known: Callable[[FileId], dict[str, str] | None]) -> Contents | None:
    """The hosts file that a process sees, if it is one; ``known`` files are not read again."""
    try:
        file = open_inside(pid, "/etc/hosts")
    except OSError:
        return None
    with open(file, "rb") as content:
        found = os.fstat(file)
        key = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
        if found.st_size > SIZE:
            return None
        try:
            return Contents(key, known(key) or parse(content.read(SIZE)))
        except OSError:
            return None


def root_of(pid: str) -> Root | None:
    """What a process sees as `/`; None where it is gone."""
    try:
        return Root(os.readlink(f"/proc/{pid}/ns/mnt"), os.readlink(f"/proc/{pid}/root"))
    except OSError:
        return None


def parse(content: bytes) -> dict[str, str]:
    """Addresses with the first name that the file gives them, as the C library answers when it is asked."""
    names: dict[str, str] = {}
    for line in content.splitlines():
        fields = line.partition(b"#")[0].split()
        if len(fields) < 2:
            continue
        try:
            address = ipaddress.ip_address(fields[0].partition(b"%")[0].decode("ascii"))
        except ValueError:
            continue
        if not address.is_loopback and not address.is_unspecified:
            names.setdefault(str(address), hostname(fields[1][:255]))
    return names
