"""Pages that are made of what the program knows: fields, verdicts, causes, ways in, habits, numbers, families.

Rule of this file: one function for each kind, and not one fact of its own. A file under ``pages/`` with the same kind
and name adds text and outcomes; what is made here stays the only place for names and meanings.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from callout import cause, origin
from callout.reference import tables
from callout.reference.page import Page
from callout.schema import FIELDS
from callout.verdict import BY_ERRNO, SUCCESS, VERDICTS, errno_name

CALLS = ("connect", "socketcall")  # what a number of an architecture is looked up for, in order of importance


def pages() -> Iterator[Page]:
    """All of them."""
    for kind in (errors, verdicts, causes, families, entries, patterns, architectures, fields):
        yield from kind()


def errors() -> Iterator[Page]:
    """Every error number of this architecture: what the C library says, and the verdict that it stands for."""
    for name, number in sorted((errno_name(number), number) for number in errno.errorcode):
        facts = {"number": f"{number} on x86-64", "strerror": os.strerror(number)}
        if number in BY_ERRNO:
            facts["verdict"] = f"`{BY_ERRNO[number]}`"
        yield Page("errno", name, facts=facts, aliases=(str(number),))


def verdicts() -> Iterator[Page]:
    """Every verdict, with the outcome that it counts as."""
    for name, meaning in VERDICTS.items():
        outcome = "success" if name in SUCCESS else "unknown" if name == "pending" else "failure"
        names = sorted({errno_name(number) for number, verdict in BY_ERRNO.items() if verdict == name})
        facts = {"event.outcome": f"`{outcome}`"}
        if names:
            facts["errors"] = ", ".join(f"`{error}`" for error in names)
        yield Page("verdict", name, summary=meaning, facts=facts)


def causes() -> Iterator[Page]:
    """Every cause."""
    for name, meaning in cause.meanings().items():
        yield Page("cause", name, summary=meaning)


def families() -> Iterator[Page]:
    """Every address family that Linux has a number for."""
    for row in tables.records("families"):
        facts = {"number": row["number"], "connect(2)": row["connect"]}
        if row["man"]:
            facts["manual"] = row["man"]
        if row["gone"]:
            facts["removed"] = row["gone"]
        yield Page(
            "family", row["family"], summary=row["what"], facts=facts, aliases=tuple(row["aliases"].split())
        )


def entries() -> Iterator[Page]:
    """Every way into the kernel."""
    for name in dict.fromkeys(fact.entry for fact in origin.facts()):
        yield Page("entry", name)


def patterns() -> Iterator[Page]:
    """Every client habit."""
    for name, (meaning, shape) in tables.patterns().items():
        yield Page("pattern", name, summary=meaning, facts={"how it looks": shape})


def architectures() -> Iterator[Page]:
    """Every table of system call numbers that Linux has."""
    for row in tables.records("numbers"):
        facts = {column: row[column] for column in row if column not in ("abi", "aliases") and row[column]}
        summary = f"connect is system call {row['connect']}"
        if row["socketcall"]:
            summary += f"; also socketcall ({row['socketcall']}) with SYS_CONNECT (3)"
        numbers = tuple(row[call] for call in CALLS if row[call])
        yield Page(
            "architecture",
            row["abi"],
            summary=summary,
            facts=facts,
            aliases=(*row["aliases"].split(), *numbers),
        )


def fields() -> Iterator[Page]:
    """Every field of an event."""
    for f in FIELDS.values():
        facts = {"type": f.type, **({"unit": f.unit} if f.unit else {})}
        yield Page("field", f.name, summary=f.doc.removesuffix("."), facts=facts)
