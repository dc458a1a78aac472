"""What is kept in memory, table by table, and the most that it may be.

Rule of this file: plain values. Bytes of Python's tables are estimates from numbers of entries, which tests compare
with what tracemalloc sees; those of arrays are exact.
"""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """One bounded table: entries now and at most, bytes now and at most."""

    name: str
    entries: int
    most: int
    bytes: int
    most_bytes: int


def table(name: str, entries: int, most: int, each: int, longest: int = 0) -> Table:
    """A table whose entries take about ``each`` bytes; ``longest``: by how much one can be larger than that."""
    return Table(name, entries, most, entries * each, most * (each + longest))
