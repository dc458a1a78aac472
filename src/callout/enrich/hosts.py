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
from collections.abc import Mapping
from typing import NamedTuple

from callout.dns import hostname
from callout.enrich.inside import open_inside
from callout.enrich.kept import kept

SIZE = 1 << 20  # bytes of a file that is read
AGAIN = 2.0  # seconds after which a file is looked at again
PATIENCE = 0.05  # seconds that a look may take
STUCK = 4  # threads that may hang
PROCESSES, PLACES, FILES = 4096, 1024, 64  # kept: processes, roots, and different files
NO_NAMES: dict[str, str] = {}


class Root(NamedTuple):
    """What a process sees as `/`: the inode of its mount namespace, and the path of its root there."""

    namespace: str
    path: str


class Contents(NamedTuple):
    """A file by device, inode, time of change and size, and its names by address."""

    file: tuple[int, ...]
    names: dict[str, str]


class Hosts:
    """The files, as they were read last."""

    def __init__(self) -> None:
        self._roots: OrderedDict[Root, tuple[float, dict[str, str]]] = OrderedDict()
        self._files: OrderedDict[tuple[int, ...], dict[str, str]] = OrderedDict()
        self._processes: OrderedDict[tuple[int, int], tuple[float, dict[str, str]]] = OrderedDict()
        self._own = root_of("self")
        self._stuck = 0

    def of(self, process: tuple[int, int]) -> dict[str, str]:
        """Names by address for a process (start, pid); empty where it is gone or its file cannot be read."""
        now = time.monotonic()
        looked, names = self._processes.get(process, (-AGAIN, NO_NAMES))
        if now - looked >= AGAIN:
            names = self._of_root(process[1], now)
            kept(self._processes, process, (now, names), PROCESSES)
        return names

    def _of_root(self, pid: int, now: float) -> dict[str, str]:
        root = root_of(str(pid))
        if root is None:
            return NO_NAMES
        looked, names = self._roots.get(root, (-AGAIN, NO_NAMES))
        if now - looked >= AGAIN:
            names = self._look(pid, root)
            kept(self._roots, root, (now, names), PLACES)
        return names

    def memory(self) -> int:
        """Bytes, about."""
        return 200 * (len(self._roots) + len(self._processes)) + sum(
            250 * len(names) for names in self._files.values()
        )

    def _look(self, pid: int, root: Root) -> dict[str, str]:
        if root == self._own:
            return self._keep(read(pid, self._files))
        if self._stuck >= STUCK:
            return NO_NAMES
        answer: queue.SimpleQueue[Contents | None] = queue.SimpleQueue()
        threading.Thread(target=lambda: answer.put(read(pid, self._files)), daemon=True).start()
        try:
            return self._keep(answer.get(timeout=PATIENCE))
        except queue.Empty:
            self._stuck += 1  # a file system that does not answer
            return NO_NAMES

    def _keep(self, contents: Contents | None) -> dict[str, str]:
        if contents is None:
            return NO_NAMES
        kept(self._files, contents.file, contents.names, FILES)
        return contents.names


def read(pid: int, known: Mapping[tuple[int, ...], dict[str, str]]) -> Contents | None:
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
            return Contents(key, known[key] if key in known else parse(content.read(SIZE)))
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
