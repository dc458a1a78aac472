"""The reference's tables: CSV files that pages show whole, and that numbers are looked up in.

Rule of this file: reading only; each table is read once, and only when it is asked for. Nothing is said here that
does not stand in the file.
"""

from __future__ import annotations

import csv
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


@cache
def patterns() -> dict[str, tuple[str, str]]:
    """Client habits that are no failures: meaning and shape."""
    return {
        row["pattern"]: (row["meaning"], row["shape"])
        for row in csv.DictReader(text("patterns.csv").splitlines())
    }
