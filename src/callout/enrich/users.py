"""Names of users and groups: from the user database of the root that a process has.

Rule of this file: a number has the name that its own root gives it (a container's /etc/passwd), or none; the
host's name for it would be a lie. A user namespace's own numbers are found by its map (user_namespaces(7)). On the
host the files come first, and only for what is not in them its directory service is asked: that takes time, and
connects by itself, which is an attempt of ours.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from callout.enrich.aside import Aside
from callout.enrich.entities import Key, same
from callout.enrich.images import Image
from callout.enrich.inside import read_inside
from callout.enrich.kept import Weighed, kept
from callout.footprint import Table, table

KEPT = 60  # seconds that a container's database is believed
ROOTS, ROOTS_BYTES = 256, 8 << 20  # of which databases are kept
NAMES = 2048  # users, and groups, of one database
NAME = 120  # bytes of one
ANSWER = 2 * NAMES * NAME  # of a database at most
ASKED = 4096  # answers of a directory service


class Names(NamedTuple):
    """One root's database, by the host's numbers."""

    users: dict[int, str]
    groups: dict[int, str]


class Users:
    """Databases by root and user namespace. ``aside`` reads them."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._own = os.stat("/proc/self/ns/mnt").st_ino, os.stat("/").st_ino
        self._user_space = os.stat("/proc/self/ns/user").st_ino
        self._known: Weighed[tuple[object, int], tuple[float, Names]] = Weighed(ROOTS, ROOTS_BYTES)
        self._asked: OrderedDict[tuple[int, int], str | None] = OrderedDict()
        self._files = Names({}, {})
        self._read_at = 0.0

    def on_this_host(self, number: int, place: int) -> str | None:
        """Name of a user (place 0) or group (1) of the host."""
        if not self._read_at or time.monotonic() - self._read_at >= KEPT:
            self._files, self._read_at = host_files(), time.monotonic()
        name = self._files[place].get(number)
        if name is None:
            key = place, number
            if key in self._asked:
                return self._asked[key]
            ready, name = self._aside.ask(key, lambda: _asked(number, place))
            if ready:
                self._aside.forget(key)
                kept(self._asked, key, name, ASKED)
        return name

    def on_host(self, image: Image) -> bool:
        """Whether the process has our own root and our own numbers."""
        return (image.root.mnt, image.root.inode) == self._own and image.spaces.user == self._user_space

    def names(self, image: Image, doors: Iterable[Key]) -> Names | None:
        """The database of a process that is not on the host; ``doors``: living processes that have its root."""
        place = image.root, image.spaces.user
        known = self._known.get(place)
        if known is not None and time.monotonic() - known[0] < KEPT:
            return known[1]
        ways = tuple(doors)
        # one question for a root, whoever has it: should its files never answer, one thread is lost to them
        ready, found = self._aside.ask(place, lambda: first(ways)) if ways else (False, None)
        if ready:
            self._aside.forget(place)
        if found is not None:
            size = NAME * (len(found.users) + len(found.groups))
            return self._known.put(place, (time.monotonic(), found), size)[1]
        return known[1] if known else None

    def memory(self) -> list[Table]:
        """What is kept, about."""
        asked = table("answers of directory services", len(self._asked), ASKED, 2 * NAME)
        return [self._known.table("user databases"), asked]


def first(doors: Iterable[Key]) -> Names | None:
    """The database by the first process through which it can be read."""
    for start, pid in doors:
        with suppress(OSError):
            if (found := read(pid, start)) is not None:
                return found
    return None


def read(pid: int, start: int) -> Names | None:
    """The database that a process sees, None if it has gone. Raises OSError where there is none."""
    users, groups = read_inside(pid, "/etc/passwd"), b""
    with suppress(OSError):
        groups = read_inside(pid, "/etc/group")
    maps = [Path(f"/proc/{pid}/{name}").read_text() for name in ("uid_map", "gid_map")]
    found = Names(_table(users, maps[0]), _table(groups, maps[1]))
    return found if same(pid, start) else None


def host_files() -> Names:
    """The host's own files, as far as they can be read."""
    whole = "0 0 4294967295"
    found = []
    for path in ("/etc/passwd", "/etc/group"):
        try:
            found.append(_table(Path(path).read_bytes(), whole))
        except OSError:
            found.append({})
    return Names(*found)


def _table(database: bytes, mapping: str) -> dict[int, str]:
    """Names by the host's numbers. passwd(5) and group(5) both have the name first and the number third."""
    ranges = [[int(number) for number in line.split()] for line in mapping.splitlines()]
    names: dict[int, str] = {}
    for line in database.splitlines():
        fields = line.split(b":")
        if len(fields) < 3 or not fields[2].isdigit() or len(names) >= NAMES:
            continue
        inner = int(fields[2])
        for first, outer, count in ranges:
            if first <= inner < first + count:
                names.setdefault(outer + inner - first, os.fsdecode(fields[0]))
    return names


def _asked(number: int, place: int) -> str | None:
    """What a directory service says (nsswitch.conf(5)); it may be far away."""
    try:
        return grp.getgrgid(number).gr_name if place else pwd.getpwuid(number).pw_name
    except KeyError:
        return None
