"""A bounded mapping in which no owner takes another's place.

Rule of this file: whoever fills it pushes out what is their own: first an owner's oldest entry, then that of the
owner in the same group who was quiet for longest, then that of the fullest group. Groups are network namespaces,
owners are processes: a container that floods its resolver loses names of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Limits(NamedTuple):
    """How many entries there may be of one owner, in one group, and in all; and how many groups."""

    owner: int
    group: int
    total: int
    groups: int = 1024


class _Group(Generic[K, V]):
    def __init__(self) -> None:
        self.owners: OrderedDict[Hashable, OrderedDict[K, V]] = OrderedDict()
        self.count = 0


class Fair(Generic[K, V]):
    """The mapping. ``dropped`` is called with each entry that leaves it, other than by being replaced."""

    def __init__(self, limits: Limits, dropped: Callable[[K, V], None] | None = None) -> None:
        self._limits = limits
        self._dropped = dropped
        self._groups: OrderedDict[Hashable, _Group[K, V]] = OrderedDict()
        self._places: dict[K, tuple[Hashable, Hashable]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def get(self, key: K) -> V | None:
        """The value of a key, if it is still there."""
        place = self._places.get(key)
        return None if place is None else self._groups[place[0]].owners[place[1]][key]

    def put(self, group: Hashable, owner: Hashable, key: K, value: V) -> None:
        """Adds or replaces an entry, which is its owner's newest then. A key belongs to whoever put it last."""
        place = self._places.get(key)
        if place is not None:
            self._take(key, place)
        there = self._groups.get(group)
        if there is None:
            there = self._groups[group] = _Group()
        entries = there.owners.get(owner)
        if entries is None:
            entries = there.owners[owner] = OrderedDict()
        self._groups.move_to_end(group)
        there.owners.move_to_end(owner)
        entries[key] = value
        there.count += 1
        self._places[key] = group, owner
        if len(entries) > self._limits.owner:
            self.drop(next(iter(entries)))
        elif there.count > self._limits.group:
            self._shrink(there)
        elif len(self._places) > self._limits.total:
            fullest = max(self._groups.values(), key=lambda one: one.count)
            for _ in range(1 + fullest.count // 16):  # some at once: looking for it takes time
                self._shrink(fullest)
        if len(self._groups) > self._limits.groups:
            quiet = next(iter(self._groups.values()))
            while quiet.count:
                self._shrink(quiet)

    def drop(self, key: K) -> None:
        """Removes an entry, if it is there."""
        place = self._places.get(key)
        if place is not None:
            value = self._take(key, place)
            if self._dropped:
                self._dropped(key, value)

    def _shrink(self, group: _Group[K, V]) -> None:
        quiet = next(iter(group.owners.values()))
        self.drop(next(iter(quiet)))

    def _take(self, key: K, place: tuple[Hashable, Hashable]) -> V:
        group = self._groups[place[0]]
        entries = group.owners[place[1]]
        value = entries.pop(key)
        group.count -= 1
        del self._places[key]
        if not entries:
            del group.owners[place[1]]
            if not group.owners:
                del self._groups[place[0]]
        return value
