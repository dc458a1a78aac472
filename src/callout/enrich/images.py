"""What a process runs, read from one record of an exec.

Rule of this file: the only one that knows how such a record packs its text. Bytes become text as everywhere here
(``os.fsdecode``), so each byte that is not UTF-8 comes back exactly.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from callout.btf import Btf

UNSET = 0xFFFFFFFF  # login user of a process that nobody logged in for (audit)


class Spaces(NamedTuple):
    """Inode numbers of namespaces, 0 where not known."""

    net: int
    pid: int
    mnt: int
    user: int


class Root(NamedTuple):
    """What tells file systems apart: mount namespace, device and inode of the root directory."""

    mnt: int
    device: int
    inode: int


class File(NamedTuple):
    """A file as the kernel names it: ``device`` is major << 20 | minor, ``changed`` its ctime in nanoseconds."""

    device: int
    inode: int
    changed: int


class Image(NamedTuple):
    """An executable with its arguments, running. None: not known."""

    name: str
    executable: str | None
    deleted: bool
    nameless: bool
    file: File | None
    args: list[str] | None
    cut: bool
    login: int | None
    session: int | None
    terminal: tuple[int, int] | None
    spaces: Spaces
    root: Root


class Reader:
    """Reads records of the object that is loaded."""

    def __init__(self, btf: Btf) -> None:
        flags = btf.enum("image_flag")
        self._dtype = btf.layout("exec").dtype
        fields: Any = self._dtype.fields
        self.head = int(fields["text"][1])
        self._heads = np.dtype(
            {
                "names": [name for name in self._dtype.names or () if name != "text"],
                "formats": [fields[name][0] for name in self._dtype.names or () if name != "text"],
                "offsets": [fields[name][1] for name in self._dtype.names or () if name != "text"],
                "itemsize": self.head,
            }
        )
        self._exe_cut = flags["IMAGE_EXE_CUT"]
        self._deleted, self._nameless = flags["IMAGE_EXE_DELETED"], flags["IMAGE_EXE_NAMELESS"]
        self._args_cut, self._no_args = flags["IMAGE_ARGS_CUT"], flags["IMAGE_ARGS_UNREADABLE"]

    def image(self, record: bytes, args: bytes | None = None) -> Image:
        """From the used part of a record; ``args``: arguments that it does not have itself."""
        r = np.frombuffer(record, self._heads, 1)[0]
        flags, at = int(r["flags"]), self.head
        exe = int(r["exe_size"])
        packed = record[at + exe :] if args is None else args
        known = args is not None or not flags & self._no_args
        found = arguments(packed) if known else None
        tty = int(r["tty"])
        login = int(r["auid"])
        return Image(
            name=os.fsdecode(bytes(r["comm"])),
            executable=path(record[at : at + exe], bool(flags & self._exe_cut)) if exe else None,
            deleted=bool(flags & self._deleted),
            nameless=bool(flags & self._nameless),
            file=File(int(r["device"]), int(r["inode"]), int(r["changed"])) if r["inode"] else None,
            args=found,
            cut=bool(flags & self._args_cut),
            login=None if login == UNSET else login,
            session=int(r["session"]) or None,
            terminal=(tty >> 20, tty & 0xFFFFF) if tty else None,
            spaces=Spaces(int(r["net"]), int(r["pidns"]), int(r["mnt"]), int(r["user"])),
            root=Root(int(r["mnt"]), int(r["root_device"]), int(r["root_inode"])),
        )


def weight(image: Image) -> int:
    """Bytes that it takes, about (sys.getsizeof): arguments are many objects."""
    args = image.args or ()
    return 900 + 60 * len(args) + sum([len(text) for text in args]) + len(image.executable or "")


def path(names: bytes, cut: bool) -> str:
    """A path from its names, last to first, each ended by NUL; ``...`` stands for names that are missing."""
    parts = names.split(b"\0")[-2::-1]
    return os.fsdecode((b".../" if cut else b"/") + b"/".join(parts))


def arguments(packed: bytes) -> list[str]:
    """Arguments as they stand in memory: each ended by NUL, the last of a list that was cut perhaps not."""
    parts = packed.split(b"\0")
    if parts and not parts[-1]:
        parts.pop()
    return [os.fsdecode(part) for part in parts]
