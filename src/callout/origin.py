"""Where each argument of an attempt comes from, and whether it could change while it was read.

Rule of this file: the facts stand in ``reference/origin.csv``, by way into the kernel (`connect.entry`); here they
are only looked up. ``copy`` is the address as the kernel copied it. Tags are those of Tracee's event pages: K
read from kernel memory, U from user memory, TOCTOU can change between check and use, OPT not always there.

Sources: net/socket.c (__sys_connect, move_addr_to_kernel, socketcall), io_uring/net.c (io_connect_prep).
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from callout.batch import Batch

COLUMN = "connect.origin"
ARGUMENTS = ("sockfd", "addr", "addrlen", "copy")


class Fact(NamedTuple):
    """One argument of one way in. ``seen``: `call` or `socket`, where it matters which was observed, or empty."""

    entry: str
    seen: str
    argument: str
    memory: str
    can_change: bool
    tags: tuple[str, ...]
    why: str


@cache
def facts() -> tuple[Fact, ...]:
    """Everything that is known, in order."""
    text = files("callout").joinpath("reference/origin.csv").read_text(encoding="utf-8")
    return tuple(
        Fact(r["entry"], r["seen"], r["argument"], r["from"], r["can_change"] == "yes",
             tuple(r["tags"].split()), r["why"])
        for r in csv.DictReader(text.splitlines())
    )  # fmt: skip


def of(entry: str, seen: str) -> dict[str, Fact]:
    """The facts about one way in by argument; ``seen``: `call` or `socket`."""
    return {f.argument: f for f in facts() if f.entry == entry and f.seen in ("", seen)}


def describe(entry: str, returned: bool, fd: bool, address: bool, copy: bool) -> dict[str, Any] | None:
    """`connect.origin` of a row: what it has of sockfd, addr, addrlen and the kernel's copy; None for no entry."""
    known = {"sockfd": fd, "addr": address, "addrlen": address, "copy": copy}
    return {
        argument: {"from": fact.memory, "can_change": fact.can_change}
        for argument, fact in of(entry, "call" if returned else "socket").items()
        if known[argument] or (argument == "copy" and "OPT" not in fact.tags)
    } or None


def add(batch: Batch) -> None:
    """Adds the column; a batch that has it, or no `connect.entry`, stays as it is."""
    from callout.batch import Coded, coded
    from callout.picked import present

    entries = batch.column("connect.entry") if "connect.entry" in batch else None
    if COLUMN in batch or not isinstance(entries, Coded):
        return
    keys = entries.codes.astype("i8") + 1
    for there in (
        present(batch, "connect.return"),
        present(batch, "connect.fd"),
        present(batch, "connect.addrlen"),
        present(batch, "source.port") | present(batch, "connect.swapped"),
    ):
        keys = keys << 1 | there
    names = [None, *entries.values]

    def value(key: Any) -> dict[str, Any] | None:
        bits, name = int(key), names[int(key) >> 4]
        return name and describe(name, bool(bits & 8), bool(bits & 4), bool(bits & 2), bool(bits & 1))

    batch.add(COLUMN, coded(keys, value))
