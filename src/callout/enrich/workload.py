"""Container, pod, unit and slice of an attempt, by the cgroup that its process was in.

Rule of this file: a cgroup becomes one ``Workload``, made once and made anew only when something was learned
about its container; a row costs the look-up of a code. A container is asked for as soon as its cgroup is made,
so that one that lives for a moment has its name.
"""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from callout.batch import Coded, compact
from callout.capture.cgroups import hierarchy, old
from callout.enrich.cgroup_paths import Home, home
from callout.enrich.cgroups import V1, Cgroups, everything
from callout.enrich.container import Container
from callout.enrich.registry import Registry
from callout.enrich.runtimes.sources import Question, sources
from callout.footprint import Table, table

if TYPE_CHECKING:
    from callout.batch import Array, Batch, Column
    from callout.enrich import Kernel, Options

KEPT = 16384  # workloads
SETTLE = 1.5  # seconds that the beginning and the end of a trace wait for answers at most
WORK_BYTES = 800  # of one with its path, measured with sys.getsizeof on a Docker host
RECORD = "RECORD_CGROUP"
USER = re.compile(r"/user-(\d+)\.slice/")


class Workload(NamedTuple):
    """What a cgroup says and what its runtime says, together."""

    path: str
    home: Home
    container: Container | None


def runtime(work: Workload) -> str | None:
    """The path knows best: Docker's API is also served by Podman."""
    return work.home.runtime or (work.container.runtime if work.container else None)


def of_container(member: str) -> Callable[[Workload], Any]:
    """A column of what the runtime said; None for what is empty."""
    return lambda work: (getattr(work.container, member) or None) if work.container else None


def of_pod(member: str) -> Callable[[Workload], Any]:
    """A column of what the runtime said of the pod."""
    return lambda work: (
        (getattr(work.container.pod, member) or None) if work.container and work.container.pod else None
    )


def is_pod(work: Workload) -> bool:
    """Whether it is in a pod of Kubernetes."""
    return bool(work.home.pod or (work.container and work.container.pod))


COLUMNS: dict[str, Callable[[Workload], Any]] = {
    "container.id": lambda work: work.home.container,
    "container.name": of_container("name"),
    "container.image.name": of_container("image"),
    "container.runtime": runtime,
    "container.labels": of_container("labels"),
    "orchestrator.type": lambda work: "kubernetes" if is_pod(work) else None,
    "orchestrator.namespace": of_pod("namespace"),
    "orchestrator.resource.id": lambda work: work.home.pod or of_pod("uid")(work),
    "orchestrator.resource.name": of_pod("name"),
    "orchestrator.resource.type": lambda work: "pod" if is_pod(work) else None,
    "orchestrator.resource.label": lambda work: pairs(of_pod("labels")(work)),
    "service.name": lambda work: work.home.unit,
    "connect.slice": lambda work: work.home.slice,
    "connect.cgroup": lambda work: work.path,
}


def pairs(labels: dict[str, str] | None) -> list[str] | None:
    """Labels as ECS has them: a list of `key:value`."""
    return [f"{key}:{value}" for key, value in sorted(labels.items())] if labels else None


class Workloads:
    """The enricher. ``start`` before programs are loaded, so that ``threads`` can be left out of the trace."""

    kinds: tuple[str, ...] = (RECORD,)

    def __init__(
        self, options: Options, registry: Registry | None = None, cgroups: Cgroups | None = None
    ) -> None:
        self.mounts = hierarchy(), getattr(old(), "mount", None)
        self.cgroups = Cgroups(*self.mounts) if cgroups is None else cgroups
        self.registry = Registry(sources(os.environ)) if registry is None else registry
        self._known: OrderedDict[int, tuple[int, Workload | None]] = OrderedDict()
        self._end: float | None = None

    def start(self) -> None:
        """Begins to ask the runtimes of this host."""
        self.registry.start()

    @property
    def threads(self) -> frozenset[int]:
        """Thread ids that connect to runtimes."""
        return self.registry.threads

    def begin(self, kernel: Kernel) -> None:
        """Looks at the cgroups that there are, and waits a moment for the names of their containers."""
        for mount, mark in zip(self.mounts, (0, V1), strict=True):
            for identifier, path in everything(mount) if mount else ():
                self.made(identifier | mark, path)
        self.registry.settle(SETTLE)

    def feed(self, kind: str, records: Array) -> None:
        """Cgroups that were made: their containers are asked for before anything runs in them."""
        for identifier, path in zip(records["id"].tolist(), records["path"].tolist(), strict=True):
            self.made(identifier, os.fsdecode(path.partition(b"\0")[0]))

    def made(self, identifier: int, path: str) -> None:
        """There is such a cgroup."""
        self.cgroups.made(identifier, path)
        self._ask(path)

    def add(self, batch: Batch) -> None:
        """The columns of COLUMNS. Cgroups are looked up now, what the runtimes said when a column is asked for."""
        key = batch.key("cgroup")
        assert isinstance(key, Coded)
        codes, identifiers = key.codes, list(key.values)
        for identifier in identifiers:
            if identifier not in self._known:
                self.work(identifier)

        def later(value: Callable[[Workload], Any]) -> Callable[[], Column]:
            return lambda: compact(codes, [work and value(work) for work in map(self.work, identifiers)])

        for name, value in COLUMNS.items():
            batch.add(name, later(value))

    def stamp(self, batch: Batch) -> object:
        """What is known about the cgroups."""
        key = batch.key("cgroup")
        assert isinstance(key, Coded)
        return [self.work(identifier) for identifier in key.values]

    def work(self, identifier: int) -> Workload | None:
        """What is known about a cgroup now; None for one that was gone before it was seen."""
        changes = self.registry.changes
        known = self._known.get(identifier)
        if known and known[0] == changes:
            return known[1]
        path = self.cgroups.path(identifier)
        found = None
        if path is not None:
            place = home(path)
            if known is None:
                self._ask(path)
            found = Workload(path, place, self.registry.get(place.container) if place.container else None)
        self._known[identifier] = changes, found
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found

    def asked(self, identifier: int) -> bool:
        """Whether an answer about the container of a cgroup is still to come."""
        work = self.work(identifier)
        return bool(work and work.home.container and self.registry.pending(work.home.container))

    def settle(self) -> None:
        """At the end of a trace: waits for open questions, SETTLE seconds in all."""
        now = time.monotonic()
        self._end = self._end or now + SETTLE
        self.registry.settle(max(0.0, self._end - now))

    def look(self) -> None:
        """Waits, SETTLE seconds at most, for what the runtimes have, of the containers that there are too: some are
        only asked about containers of their own (``runtimes.sources``).
        """
        for mount in filter(None, self.mounts):
            for _, path in everything(mount):
                self._ask(path)
        self.registry.settle(SETTLE)

    def problems(self) -> list[str]:
        """Which runtimes did not answer, where a container has no name for it."""
        return sorted(set(self.registry.problems.values())) if self.registry.nameless() else []

    def memory(self) -> list[Table]:
        """What is kept, about."""
        known = table("cgroups that made attempts", len(self._known), KEPT, WORK_BYTES)
        return [self.cgroups.memory(), known, *self.registry.memory()]

    def close(self) -> None:
        """Ends the threads."""
        self.registry.close()

    def _ask(self, path: str) -> None:
        place = home(path)
        if place.container:
            owner = USER.search(path + "/")
            self.registry.want(Question(place.container, place.runtime, int(owner[1]) if owner else None))
