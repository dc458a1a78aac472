"""The reference's tables: CSV files that pages show whole, and that numbers are looked up in.

Rule of this file: reading only; each table is read once, and only when it is asked for. Nothing is said here that
does not stand in the file.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files

TABLES = {
    "numbers": "syscall_numbers.csv",
    "history": "kernel_history.csv",
    "icmp": "icmp_errno.csv",
    "cgroup": "cgroup_hooks.csv",
    "families": "families.csv",
    "shells": "reverse_shells.csv",
}
PLACE = re.compile(r"\{(\w+)\}")


def text(name: str) -> str:
    """A file that came with the package."""
    return files("callout").joinpath(f"reference/{name}").read_text(encoding="utf-8")


@cache
def table(name: str) -> tuple[tuple[str, ...], ...]:
    """All rows of one of TABLES, its head first."""
    return tuple(tuple(row) for row in csv.reader(text(TABLES[name]).splitlines()))


def records(name: str) -> list[dict[str, str]]:
    """The rows of one of TABLES by the names in its head."""
    head, *rows = table(name)
    return [dict(zip(head, row, strict=True)) for row in rows]


def filled(place: re.Match[str]) -> str:
    """What stands for a place that one has to fill in; an option that depends on the address is left out."""
    return "" if place[1] == "v6" else place[1].upper()


@cache
def next_steps() -> dict[str, list[tuple[str, str]]]:
    """Commands that tell more about a cause, and what for; a word in capitals stands for what one has to fill in."""
    steps: dict[str, list[tuple[str, str]]] = {}
    for row in csv.DictReader(text("why_next.csv").splitlines()):
        command, purpose = (PLACE.sub(filled, row[key]) for key in ("command", "purpose"))
        steps.setdefault(row["cause"], []).append((command, purpose))
    return steps


@cache
def patterns() -> dict[str, tuple[str, str]]:
    """Client habits that are no failures: meaning and shape."""
    return {
        row["pattern"]: (row["meaning"], row["shape"])
        for row in csv.DictReader(text("patterns.csv").splitlines())
    }
