"""The processes of this host, each named by pid and start, so that a pid that is used again is another process.

Rule of this file: records are kept as they came, and read when somebody asks for their process: most never make
an attempt. What has ended is forgotten first, the oldest first; what lives still can be found again by looking.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from callout.batch import Array
from callout.btf import Btf
from callout.enrich.images import Image, Reader, Spaces, weight
from callout.enrich.kept import Weighed
from callout.footprint import Table, table

UNKNOWN = -1  # number of an image

Key: TypeAlias = tuple[int, int]  # start on CLOCK_BOOTTIME in nanoseconds, pid
MOST = 32768  # processes that are kept, and images
MOST_BYTES = 48 << 20  # of their records
ENDED = 16384  # of which this many have ended: verdicts may come later than that
READ, READ_BYTES = 4096, 16 << 20  # images that stay read
DEEPEST = 64  # ancestors that are followed
ENTRY = 320  # bytes of an entry beside its record: keys, tuple, places in tables (sys.getsizeof, rounded up)
TICK = 10_000_000  # nanoseconds of the clock in /proc/PID/stat, USER_HZ = 100: proc_pid_stat(5)


class Life(NamedTuple):
    """A process as it was forked; where only an exec was seen, ``image`` at that time is UNKNOWN."""

    parent: Key
    image: int
    name: str
    spaces: Spaces | None


class Entity(NamedTuple):
    """A process at the time of an attempt. ``image`` is None where nothing was seen of what it runs.

    ``spaces``: its namespaces as at its fork or exec, whichever was later.
    """

    pid: int
    start: int
    life: Life | None
    image: Image | None
    spaces: Spaces | None


class Ancestor(NamedTuple):
    """One of those that started a process, the nearest first."""

    pid: int
    start: int
    name: str | None
    image: Image | None


class Entities:
    """The table. ``look``: makes the kernel report all living processes, which come through ``noted``."""

    def __init__(self, btf: Btf, look: Callable[[], None]) -> None:
        self._reader = Reader(btf)
        self._look = look
        self._lives: OrderedDict[Key, Life] = OrderedDict()
        self._records: OrderedDict[tuple[int, int, int], tuple[bytes, bytes | None]] = OrderedDict()
        self._bytes = 0
        self._images: Weighed[tuple[int, int, int], Image] = Weighed(READ, READ_BYTES)
        self._numbers: dict[Key, list[int]] = {}  # images of each process
        self._ended: OrderedDict[Key, None] = OrderedDict()
        self._looked = False
        self._above: dict[tuple[Key, int], tuple[Ancestor, ...]] = {}

    # --- from the kernel

    def forked(self, records: Array) -> None:
        """Takes records of forks."""
        names = ("start", "pid", "parent_start", "ppid", "image", "net", "pidns", "mnt", "user", "comm")
        columns = [records[name].tolist() for name in names]
        for start, pid, parent_start, ppid, image, net, pidns, mnt, user, comm in zip(*columns, strict=True):
            name = comm.decode("utf-8", "surrogateescape")
            self._live((start, pid), Life((parent_start, ppid), image, name, Spaces(net, pidns, mnt, user)))

    def executed(self, records: Array, found: bool) -> None:
        """Takes records of execs; ``found``: of processes that were running when we looked."""
        names = ("start", "pid", "parent_start", "ppid", "image", "exe_size", "args_size")
        columns = [records[name].tolist() for name in names]
        octets, size, head = records.view(np.uint8).data, records.dtype.itemsize, self._reader.head
        for i, (start, pid, parent_start, ppid, image, exe, args) in enumerate(zip(*columns, strict=True)):
            key = start, pid
            if key not in self._lives:
                self._live(key, Life((parent_start, ppid), UNKNOWN, "", None))
            if found and (start, pid, image) in self._records:
                continue  # seen running: that record has the arguments
            record = octets[i * size : i * size + head + exe + args].tobytes()
            self._note(key, image, record, _command_line(pid, start) if found else None)

    def exited(self, records: Array) -> None:
        """Takes records of exits."""
        for key in zip(records["start"].tolist(), records["pid"].tolist(), strict=True):
            if key in self._lives:
                self._ended[key] = None
        while len(self._ended) > ENDED:
            self._forget(self._ended.popitem(last=False)[0])

    def _live(self, key: Key, life: Life) -> None:
        self._lives[key] = life
        while len(self._lives) > MOST:
            self._forget(self._oldest())

    def _note(self, key: Key, image: int, record: bytes, args: bytes | None) -> None:
        place = (*key, image)
        self._bytes += len(record) + len(args or b"")
        self._records[place] = record, args
        self._numbers.setdefault(key, []).append(image)
        while self._bytes > MOST_BYTES or len(self._records) > MOST:
            self._forget(self._oldest())

    def _oldest(self) -> Key:
        return self._ended.popitem(last=False)[0] if self._ended else next(iter(self._lives))

    def _forget(self, key: Key) -> None:
        self._lives.pop(key, None)
        self._ended.pop(key, None)
        for image in self._numbers.pop(key, ()):
            record, args = self._records.pop((*key, image), (b"", None))
            self._bytes -= len(record) + len(args or b"")
            self._images.pop((*key, image))

    # --- asked

    def find(self, start: int, pid: int, image: int) -> Entity:
        """A process as it was when its number of execs was ``image``."""
        key = start, pid
        seen = self._image(key, image)
        if seen is None and not self._looked:
            self._looked = (
                True  # once until ``renew``: a process that has gone is not found however often we look
            )
            self._look()
            seen = self._image(key, image)
        life = self._lives.get(key)
        own = (start, pid, image) in self._records
        spaces = life.spaces if life and not own else seen.spaces if seen else None
        return Entity(pid, start, life, seen, spaces)

    def renew(self) -> None:
        """From now on it may look again; called now and then."""
        self._looked = False
        self._above.clear()

    def ancestors(self, entity: Entity) -> tuple[Ancestor, ...]:
        """Who started it, and who started that, as far as is known: also those that have ended. The same object for
        all that one process started, until ``renew``.
        """
        life = entity.life
        if life is None:
            return ()
        place = life.parent, life.image
        above = self._above.get(place)
        if above is None:
            if len(self._above) >= READ:
                self._above.clear()
            above = self._above[place] = tuple(self._followed(life))
        return above

    def _followed(self, life: Life | None) -> list[Ancestor]:
        found: list[Ancestor] = []
        while life is not None and life.parent[1] and len(found) < DEEPEST:
            start, pid = life.parent
            image = self._started_by(life)
            life = self._lives.get(life.parent)
            name = image.name if image else life.name if life else _name(pid, start)
            found.append(Ancestor(pid, start, name or None, image))
        return found

    def _started_by(self, life: Life) -> Image | None:
        """What the parent ran at the fork; what it ran last, where that is not known."""
        image = self._image(life.parent, life.image)
        if image is None:
            numbers = self._numbers.get(life.parent, ())
            known = (self._image(life.parent, number) for number in reversed(numbers))
            image = next((found for found in known if found), None)
        return image

    def _image(self, key: Key, number: int) -> Image | None:
        """What the process runs, or what the one ran that it was forked from."""
        for _ in range(DEEPEST):
            place = (*key, number)
            known = self._images.get(place)
            if known is None and place in self._records:
                known = self._reader.image(*self._records[place])
                self._images.put(place, known, weight(known))
            if known is not None:
                return known
            life = self._lives.get(key)
            if life is None or life.image != number or life.parent == key:
                return None  # it has called exec since, and that record is missing
            key = life.parent
        return None

    def memory(self) -> list[Table]:
        """What is kept, about."""
        used = self._bytes + ENTRY * len(self._records)
        return [
            table("processes", len(self._lives), MOST, ENTRY),
            Table("what they run", len(self._records), MOST, used, MOST_BYTES + ENTRY * MOST),
            self._images.table("what they run, in use"),
        ]

    def __len__(self) -> int:
        return len(self._lives)


def same(pid: int, start: int, root: Path = Path("/proc")) -> bool:
    """Whether the process that has this pid now began at ``start`` (nanoseconds of CLOCK_BOOTTIME)."""
    try:
        fields = (root / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return len(fields) > 19 and int(fields[19]) == start // TICK


def _name(pid: int, start: int) -> str | None:
    """Name of a living process of which the kernel reports nothing."""
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n")
    except OSError:
        return None
    return os.fsdecode(name) if same(pid, start) else None


def _command_line(pid: int, start: int) -> bytes | None:
    """Arguments of a living process."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return line[:4096] if same(pid, start) else None
