"""Who made an attempt: executable, arguments, directory, ancestors, users, session, namespaces.

Rule of this file: columns only, each value once per distinct process. What ran is named by pid, start and number of
execs, and where it was by a number, so a row tells what its process was at the time of the attempt, however short it
lived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from callout.batch import Array, Batch, Coded, Column, Plain, compact, distinct
from callout.enrich import Kernel, Options
from callout.enrich.aside import Aside
from callout.enrich.capabilities import names
from callout.enrich.directories import Directories
from callout.enrich.entities import Ancestor, Entities, Entity, Key, same
from callout.enrich.hashes import Hashes
from callout.enrich.images import Image, weight
from callout.enrich.kept import Weighed
from callout.enrich.users import ANSWER, Names, Users
from callout.footprint import Table, table
from callout.schema import FIELDS

KNOWN, KNOWN_BYTES = 4096, 24 << 20  # processes of which everything is kept as values
ANCESTOR = 450  # bytes of one of their ancestors, about
ANSWERS = 64  # of jobs aside that nobody has fetched
PATIENCE, HASH_PATIENCE = 0.02, 0.2  # seconds that a batch waits for files, at most
LASTING = 30.0  # seconds for which the columns of the same processes are kept at most
AGAIN = 1.0  # seconds between two looks for processes that nothing told of


class Who(NamedTuple):
    """A process, by its values. None: not known."""

    entity: Entity
    image: Image | None
    command_line: str | None
    parent: Image | None
    ancestors: list[dict[str, Any]] | None
    doors: tuple[Key, ...]  # living processes with the same root, itself the first
    names: Names | None  # of its root; None on the host
    on_host: bool


class Processes:
    """The enricher. Used by one thread."""

    kinds: tuple[str, ...] = (
        "RECORD_FORK",
        "RECORD_EXEC",
        "RECORD_TASK",
        "RECORD_EXIT",
        "RECORD_DIRECTORY",
    )

    def __init__(self, options: Options) -> None:
        self._aside = Aside(HASH_PATIENCE if options.hash else PATIENCE, ANSWERS)
        self._users = Users(self._aside)
        self._hashes = Hashes(self._aside) if options.hash else None
        self._known: Weighed[tuple[int, int, int], Who] = Weighed(KNOWN, KNOWN_BYTES)
        self._told: dict[int, tuple[tuple[Ancestor, ...], list[dict[str, Any]]]] = {}
        self._look_at = 0.0
        self._threads: frozenset[int] = frozenset()
        self._entities: Entities
        self._directories: Directories

    def start(self) -> None:
        """Starts the threads that read files and ask for names."""
        self._threads = self._aside.start()

    @property
    def threads(self) -> frozenset[int]:
        """Their ids: a directory service is asked through a connection."""
        return self._threads

    def settle(self) -> None:
        """No row waits longer at the end."""

    def begin(self, kernel: Kernel) -> None:
        """Notes the processes that there are."""
        self._entities = Entities(kernel.btf, kernel.look)
        self._directories = Directories(kernel.btf)
        kernel.look()

    def feed(self, kind: str, records: Array) -> None:
        """Takes records of processes."""
        if kind == "RECORD_FORK":
            self._entities.forked(records)
        elif kind == "RECORD_EXIT":
            self._entities.exited(records)
        elif kind == "RECORD_DIRECTORY":
            self._directories.told(records)
        else:
            self._entities.executed(records, found=kind == "RECORD_TASK")

    def stamp(self, batch: Batch) -> object:
        """What is known about the processes, and for a while their users' names."""
        keys = batch.key("image")
        assert isinstance(keys, Coded)
        found = [self._who(*key) for key in keys.values]
        places = self._where(batch).values
        if not self._aside.idle() or any(who.image is None for who in found):
            return None
        return found, places, time.monotonic() // LASTING

    def add(self, batch: Batch) -> None:
        """Adds its columns. Processes are looked up now."""
        keys = batch.key("image")
        assert isinstance(keys, Coded)
        self._aside.begin()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + AGAIN
            self._entities.renew()
            self._told.clear()
        for name, source in self.columns(batch, keys).items():
            batch.add(name, source, FIELDS[name].quiet)

    def columns(self, batch: Batch, keys: Coded) -> dict[str, Callable[[], Column]]:
        """All columns of this enricher, as functions."""
        found = [self._who(*key) for key in keys.values]
        c, directories = _Makers(keys.codes, found), self._where(batch)

        def image(value: Callable[[Image], Any]) -> Callable[[Who], Any]:
            return lambda who: None if who.image is None else value(who.image)

        def parent(value: Callable[[Image], Any]) -> Callable[[Who], Any]:
            return lambda who: None if who.parent is None else value(who.parent)

        def space(kind: str) -> Callable[[], Column]:
            return c.number(lambda who: _space(who, kind))

        made = {
            "process.executable": c.text(image(lambda i: i.executable)),
            "process.args": c.text(image(lambda i: i.args)),
            "process.command_line": c.text(lambda who: who.command_line),
            "process.working_directory": lambda: directories,
            "process.parent.name": c.text(parent(lambda i: i.name)),
            "process.parent.executable": c.text(parent(lambda i: i.executable)),
            "process.parent.command_line": c.text(parent(_line)),
            "process.ancestors": c.text(lambda who: who.ancestors),
            "process.session_leader.pid": c.number(image(lambda i: i.session)),
            "process.tty.char_device.major": c.number(image(lambda i: i.terminal and i.terminal[0])),
            "process.tty.char_device.minor": c.number(image(lambda i: i.terminal and i.terminal[1])),
            "process.thread.capabilities.effective": lambda: self._capabilities(batch),
            "user.name": lambda: self._named(batch, c, "user.id", 0),
            "user.effective.name": lambda: self._named(batch, c, "user.effective.id", 0),
            "user.audit.id": c.number(image(lambda i: i.login)),
            "user.audit.name": c.text(image(self._login)),
            "group.name": lambda: self._named(batch, c, "group.id", 1),
            "connect.args_cut": c.flag(image(lambda i: i.cut)),
            "connect.executable.deleted": c.flag(image(lambda i: i.deleted)),
            "connect.executable.memfd": c.flag(
                image(lambda i: i.nameless and "/memfd:" in (i.executable or ""))
            ),
            "connect.executable.inode": c.number(image(lambda i: i.file and i.file.inode)),
            "connect.executable.device": c.text(image(_device)),
            "connect.namespace.net": space("net"),
            "connect.namespace.pid": space("pid"),
            "connect.namespace.mnt": space("mnt"),
            "connect.namespace.user": space("user"),
        }
        if self._hashes is not None:
            hashes = [self._hash(who) for who in found]
            made["process.hash.sha256"] = lambda: compact(c.codes, hashes)
        return made

    def _where(self, batch: Batch) -> Coded:
        """Working directories."""
        keys = batch.key("directory")
        assert isinstance(keys, Coded)
        return compact(keys.codes, [self._directories.path(number) for number in keys.values])

    # --- who

    def _who(self, start: int, pid: int, image: int) -> Who:
        key = start, pid, image
        who = self._known.get(key)
        if who is None:
            entity = self._entities.find(start, pid, image)
            who = self._read(entity)
            if entity.image is None:
                return who  # it may yet be found
            self._known.put(key, who, _weight(who))
        if not who.on_host and who.image is not None:
            who = who._replace(names=self._users.names(who.image, self._open(who.doors)))
        return who

    def _read(self, entity: Entity) -> Who:
        image, above = entity.image, self._entities.ancestors(entity)
        own = (entity.start, entity.pid)
        same_root = [a for a in above if a.image and image and a.image.root == image.root]
        return Who(
            entity=entity,
            image=image,
            command_line=_line(image) if image else None,
            parent=above[0].image if above else None,
            ancestors=self._telling(above),
            doors=(own, *((one.start, one.pid) for one in same_root)),
            names=None,
            on_host=self._users.on_host(image) if image else False,
        )

    def _telling(self, above: tuple[Ancestor, ...]) -> list[dict[str, Any]] | None:
        """Ancestors as values: the same for the same ones."""
        known = self._told.get(id(above))
        if known is None:
            if len(self._told) >= KNOWN:
                self._told.clear()
            known = self._told[id(above)] = above, [_told(one) for one in above]
        return known[1] or None

    def _open(self, doors: Sequence[Key]) -> Iterator[Key]:
        return (key for key in doors if same(key[1], key[0]))  # asked only where a database is to be read

    def _hash(self, who: Who) -> str | None:
        if self._hashes is None or who.image is None:
            return None
        return self._hashes.of(who.image, who.entity.pid, who.entity.start, who.doors[1:])

    def _capabilities(self, batch: Batch) -> Column:
        keys = batch.key("caps")
        assert isinstance(keys, Coded)
        return compact(keys.codes, [names(bits) or None for bits in keys.values])

    def _login(self, image: Image) -> str | None:
        return None if image.login is None else self._users.on_this_host(image.login, 0)

    def _named(self, batch: Batch, c: _Makers, ids: str, place: int) -> Column:
        """Names of numbers, each by the database that its process sees."""
        column = batch.column(ids)
        assert isinstance(column, Plain)

        def name(who: Who, number: int) -> str | None:
            if who.on_host:
                return self._users.on_this_host(number, place)
            return who.names[place].get(number) if who.names else None

        return c.with_numbers(column, name)

    def memory(self) -> list[Table]:
        """What is kept."""
        return [
            *self._entities.memory(),
            self._directories.memory(),
            self._known.table("who made attempts"),
            *self._users.memory(),
            *(self._hashes.memory() if self._hashes else ()),
            table("answers not fetched", len(self._aside), ANSWERS, ANSWER),
        ]

    def close(self) -> None:
        """Ends the threads."""
        self._aside.close()


class _Makers:
    """Columns from values of the distinct processes of a batch."""

    def __init__(self, codes: Array, found: list[Who]) -> None:
        self.codes, self.found = codes, found

    def text(self, value: Callable[[Who], Any]) -> Callable[[], Column]:
        """A column of text or lists."""
        return lambda: compact(self.codes, [value(who) for who in self.found])

    def number(self, value: Callable[[Who], int | None]) -> Callable[[], Column]:
        """A column of whole numbers."""

        def made() -> Column:
            values = [value(who) for who in self.found]
            numbers = np.array([*(v or 0 for v in values), 0], np.int64)
            valid = np.array([*(v is not None for v in values), False])
            return Plain(numbers[self.codes], valid[self.codes])

        return made

    def flag(self, value: Callable[[Who], bool | None]) -> Callable[[], Column]:
        """A column that is True or absent."""

        def made() -> Column:
            true = np.array([*(bool(value(who)) for who in self.found), False])[self.codes]
            return Plain(true, true)

        return made

    def with_numbers(self, numbers: Plain, value: Callable[[Who, int], str | None]) -> Column:
        """A column of text that depends on the process and on a number of the row."""
        keys = np.empty(len(numbers), [("number", "i8"), ("code", "i8")])
        keys["number"], keys["code"] = numbers.data, self.codes
        if numbers.valid is not None:
            keys["code"][~numbers.valid] = -1
        codes, first = distinct(keys)
        some = keys[first].tolist()
        return compact(
            codes,
            [None if code < 0 else value(self.found[code], number) for number, code in some],
        )


def _weight(who: Who) -> int:
    image = weight(who.image) if who.image else 0
    return 600 + image + ANCESTOR * len(who.ancestors or ()) + len(who.command_line or "")


def _space(who: Who, kind: str) -> int | None:
    spaces = who.entity.spaces
    return (getattr(spaces, kind) or None) if spaces else None


def _told(one: Ancestor) -> dict[str, Any]:
    told = {"pid": one.pid, "name": one.name, "executable": one.image and one.image.executable}
    return {key: value for key, value in told.items() if value is not None}


def _line(image: Image) -> str | None:
    return None if image.args is None else " ".join(image.args)


def _device(image: Image) -> str | None:
    return None if image.file is None else f"{image.file.device >> 20}:{image.file.device & 0xFFFFF}"
