"""The containers, pods and units that a user asked for: which cgroups they are, and whether a row is theirs.

Rule of this file: the kernel side lets through what is in the cgroups found at the start, in any that is made
later, and in cgroups v1; which of these are meant is decided here, by name, so a container that is made anew under
its name is followed. What does not exist at the start is refused: waiting for a name that is misspelt would be
for ever.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from callout.batch import Coded
from callout.enrich.cgroup_paths import Home, containers_of, home
from callout.enrich.cgroups import everything
from callout.enrich.container import Container
from callout.errors import UsageError
from callout.narrowing import Narrowing, units_of

if TYPE_CHECKING:
    from callout.batch import Array, Batch
    from callout.enrich.workload import Workloads

ROOM = 16  # cgroups that the kernel side compares (record.h)
HEX = re.compile("[0-9a-f]{3,64}")
PATIENCE = 0.5  # seconds to wait for the name of a container that is new


class Place(NamedTuple):
    """A cgroup that exists. ``containers``: ids from the outermost to the innermost."""

    id: int
    path: str
    home: Home
    containers: tuple[str, ...]


def places(mount: str) -> Iterator[Place]:
    """Every cgroup of a hierarchy."""
    for identifier, path in everything(mount):
        yield Place(identifier, path, home(path), containers_of(path))


class Chosen:
    """What was asked for; ``get`` gives what a runtime said of a container."""

    def __init__(self, wanted: Narrowing, get: Callable[[str], Container | None]) -> None:
        self.containers = wanted.containers or frozenset()
        self.pods = wanted.pods or frozenset()
        self.units = wanted.units or frozenset()
        self._get = get

    def words(self, place: Home, containers: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Which of the words a cgroup satisfies, each with the option that it was given to."""
        for identifier in containers:
            said = self._get(identifier)
            for word in self.containers:
                if (
                    word == identifier
                    or (HEX.fullmatch(word) and identifier.startswith(word))
                    or (said and said.name == word)
                ):
                    yield "container", word
            pod = said.pod if said else None
            for word in self.pods if pod else ():
                namespace, slash, name = word.rpartition("/")
                if pod and pod.name == name and (not slash or pod.namespace == namespace):
                    yield "pod", word
        for word in self.units:
            if place.unit in units_of(word):
                yield "unit", word
        for word in self.pods:
            if place.pod == word:  # by its UID
                yield "pod", word

    def matches(self, place: Home, containers: Iterable[str]) -> bool:
        """Whether a cgroup is one of those asked for: of each kind that was asked for, one."""
        kinds = {kind for kind, _ in self.words(place, containers)}
        asked = {"container": self.containers, "pod": self.pods, "unit": self.units}
        return kinds == {kind for kind, words in asked.items() if words}

    def unknown(self, found: Iterable[Place]) -> list[tuple[str, str]]:
        """The words that no cgroup satisfies."""
        missing = [
            *(("container", word) for word in sorted(self.containers)),
            *(("pod", word) for word in sorted(self.pods)),
            *(("unit", word) for word in sorted(self.units)),
        ]
        for place in found:
            for pair in self.words(place.home, place.containers):
                if pair in missing:
                    missing.remove(pair)
        return missing


REMEDY = {
    "container": "`docker ps`, `crictl ps` or `podman ps` lists those that run; to wait for one, use a filter: "
    "container.name = '{word}'",
    "pod": "`crictl pods` lists those of this host; to wait for one, use a filter: "
    "orchestrator.resource.name = '{word}'",
    "unit": "`systemctl list-units` lists those that run; to wait for one, use a filter: service.name = '{word}'",
}


def narrowed(wanted: Narrowing, chosen: Chosen, mounts: tuple[str | None, str | None]) -> Narrowing:
    """The narrowing for the kernel side. Raises UsageError for what does not exist."""
    v2, v1 = [list(places(mount)) if mount else [] for mount in mounts]
    if missing := chosen.unknown([*v2, *v1]):
        kind, word = missing[0]
        raise UsageError(f"there is no {kind} {word!r} running here", REMEDY[kind].format(word=word))
    matched = {place.path: place.id for place in v2 if chosen.matches(place.home, place.containers)}
    tops = [number for path, number in matched.items() if os.path.dirname(path) not in matched]
    if wanted.cgroup or not v2 or len(tops) > ROOM:
        return wanted  # the mask alone decides
    return replace(wanted, below=tuple(sorted(tops)), newer=max(place.id for place in v2))


def mask(chosen: Chosen, workloads: Workloads) -> Callable[[Batch], Array]:
    """Which rows are of what was asked for."""
    decided: dict[tuple[int, int], bool] = {}

    def one(identifier: int) -> bool:
        work = workloads.work(identifier)
        if work is None:
            return False
        key = identifier, workloads.registry.changes
        if key not in decided:
            if len(decided) > 65536:
                decided.clear()
            if work.home.container and (work.container is None or work.container.name is None):
                workloads.registry.settle(PATIENCE)
            decided[key] = chosen.matches(work.home, containers_of(work.path))
        return decided[key]

    def rows(batch: Batch) -> Array:
        column = batch.key("cgroup")
        assert isinstance(column, Coded)
        values = np.array([*(one(int(identifier)) for identifier in column.values), False])
        return values[column.codes]

    return rows
