"""Tables that stay small.

Rule of this file: bounded by a number of entries; the one that was given least recently gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def kept(table: OrderedDict[K, V], key: K, value: V, room: int) -> V:
    """Gives a table an entry, and returns its value; above ``room`` entries the oldest goes."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > room:
        table.popitem(last=False)
    return value
