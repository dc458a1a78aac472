"""Every way out taken once, under a live trace: what the table of coverage claims, proved on this host.

Rule of this file: it acts and gathers; what the rows mean is decided in ``findings``. The trace is narrowed to
a cgroup of our own, so that nothing of ours is attached to the root of the hierarchy; without a hierarchy the
programs for datagrams do not attach at all. The cgroup goes with the test, also when it fails.
Source: Documentation/admin-guide/cgroup-v2.rst (cgroup.kill, cgroup.events).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from callout.capture.cgroups import hierarchy
from callout.errors import NotPermittedError
from callout.lab.ways.stage import Stage, Taken, spawn
from callout.narrowing import Narrowing
from callout.summary import Summary

if TYPE_CHECKING:
    from callout.capture.kernel import KernelSource

PATIENCE = 30  # seconds that the last row may take after the last attempt; it takes 50 ms where all is well


class Observed(NamedTuple):
    """What was done and what was seen: ``attached`` are programs by name, ``rows`` by process."""

    tier: str
    attached: frozenset[str]
    taken: list[Taken]
    rows: dict[int, list[dict[str, Any]]]
    late: frozenset[int]  # attempts whose row came only when the trace ended
    hierarchy: bool  # whether there is a cgroup v2 hierarchy
    also: frozenset[str] = frozenset()  # options of the trace


@contextmanager
def own_cgroup(root: str | None) -> Iterator[Path | None]:
    """A cgroup for the length of a block, None where there is no hierarchy. NotPermittedError if none is granted."""
    if root is None:
        yield None
        return
    place = Path(root) / f"callout-selftest-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        raise NotPermittedError(
            f"the self-test cannot make a cgroup of its own below {root} ({error.strerror})",
            "run it as root of the host; in a container: with /sys/fs/cgroup writable",
        ) from error
    try:
        yield place
    finally:
        remove(place)


def remove(place: Path) -> None:
    """Ends what still runs in a cgroup of ours and removes it; waits for the kernel, not for time."""
    if (kill := place / "cgroup.kill").exists():  # Linux 5.14
        kill.write_text("1")
    with (place / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while "populated 0" not in events.read():
            poll.poll(1000)
            events.seek(0)
    place.rmdir()


def observe(tier: str | None = None, also: Sequence[str] = ()) -> Observed:
    """Takes every way under a trace of one tier (None: the best). Raises CalloutError or OSError.

    ``also``: with programs that are loaded only when asked for (see ``capture.tiers.OPTIONS``).
    """
    from callout.capture.kernel import KernelSource

    root = hierarchy()
    with own_cgroup(root) as place, spawn() as stage:
        if place:
            (place / "cgroup.procs").write_text(str(stage.pid))
        # without a hierarchy there is no narrowing that io_uring's threads share, so all is read and sorted here
        with KernelSource(Narrowing(cgroup=str(place) if place else None), tier, also=also) as source:
            assert source.tier is not None  # once entered, it has one
            attached = frozenset(state.program.name for state in source.states if state.error is None)
            stage.release()
            rows = list(gather(source, stage))
            late = list(ending(source))
            taken = stage.taken()
            name = source.tier.name
    found: dict[int, list[dict[str, Any]]] = {}
    for row in (*rows, *late):
        found.setdefault(row["process.pid"], []).append(row)
    ids = frozenset(row["connect.id"] for row in late)
    return Observed(name, attached, taken, found, ids, root is not None, frozenset(also))


def gather(source: KernelSource, stage: Stage) -> Iterator[dict[str, Any]]:
    """All rows up to the mark; without it, those that have come after PATIENCE."""
    end = None
    marked = False
    while not marked and (end is None or time.monotonic() < end):
        batch = source.read()
        for row in batch.rows() if len(batch) else ():
            marked |= row["process.pid"] == stage.pid
            yield row
        if end is None and stage.finished():
            end = time.monotonic() + PATIENCE
        if not len(batch):
            source.wait()


def ending(source: KernelSource) -> Iterator[dict[str, Any]]:
    """What is under way or in the ring after the mark, by detaching."""
    for batch in source.finish(Summary()):
        if len(batch):
            yield from batch.rows()
