"""Tables that stay small.

Rule of this file: bounded by a number of entries, and by bytes where those are up to others; the one that was given
least recently gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from callout.footprint import Table

K = TypeVar("K")
V = TypeVar("V")


def kept(table: OrderedDict[K, V], key: K, value: V, room: int) -> V:
    """Gives a table an entry, and returns its value; above ``room`` entries the oldest goes."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > room:
        table.popitem(last=False)
    return value


class Weighed(Generic[K, V]):
    """A mapping of at most ``room`` entries that weigh ``most`` bytes together, and one entry in any case."""

    def __init__(self, room: int, most: int) -> None:
        self._room, self._most = room, most
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: K) -> V | None:
        """The value of a key, if it is there."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, weight: int) -> V:
        """Adds or replaces an entry, and returns its value."""
        self.pop(key)
        self._entries[key] = value, weight
        self._bytes += weight
        while len(self._entries) > self._room or (self._bytes > self._most and len(self._entries) > 1):
            self._bytes -= self._entries.popitem(last=False)[1][1]
        return value

    def pop(self, key: K) -> None:
        """Removes an entry, if it is there."""
        found = self._entries.pop(key, None)
        if found is not None:
            self._bytes -= found[1]

    def refresh(self, key: K) -> None:
        """The entry, which is there, was used: others go first."""
        self._entries.move_to_end(key)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def values(self) -> list[V]:
        """All values, the oldest first."""
        return [value for value, _ in self._entries.values()]

    def table(self, name: str) -> Table:
        """What is kept."""
        return Table(name, len(self._entries), self._room, self._bytes, self._most)
