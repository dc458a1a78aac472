"""All enrichers of one live trace, as one.

Rule of this file: ENRICHERS is the list; what each does is its own. Their columns are added before a filter is
evaluated, so filters work on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from callout.enrich import Asking, ByKind, Enricher, Kernel, Options
from callout.enrich.chosen import Chosen, narrowed
from callout.enrich.chosen import mask as chosen_mask
from callout.enrich.holding import Holding
from callout.enrich.names import Names
from callout.enrich.place import Places
from callout.enrich.processes import Processes
from callout.enrich.ripening import Ripening
from callout.enrich.workload import Workloads

if TYPE_CHECKING:
    from callout.batch import Array, Batch
    from callout.footprint import Table
    from callout.narrowing import Narrowing

    Mask: TypeAlias = Callable[[Batch], Array]

ENRICHERS: tuple[Callable[[Options], Enricher], ...] = (Processes, Workloads, Names, Places)


class Enrichment:
    """A context manager, entered before the source: ``listeners`` and ``threads`` go to it, ``begin`` follows."""

    def __init__(
        self, options: Options | None = None, makers: Sequence[Callable[[Options], Enricher]] = ENRICHERS
    ) -> None:
        options = options or Options()
        self.parts = [make(options) for make in makers if options.names or make is not Names]
        names = [part for part in self.parts if isinstance(part, Names)]
        ordered = options.related
        self._ripening = Ripening(names[0].greeted, names[0].again, ordered) if names else None
        workloads = [part for part in self.parts if isinstance(part, Workloads)]
        self._holding = Holding(workloads[0].asked, ordered=ordered) if workloads else None
        self._asking = [part for part in self.parts if isinstance(part, Asking)]
        self._by_kind = [part for part in self.parts if isinstance(part, ByKind)]
        self._by_row = [part for part in self.parts if not isinstance(part, ByKind)]

    @property
    def listeners(self) -> dict[str, Callable[[Array], None]]:
        """Who takes records from the kernel, by kind."""
        kinds = dict.fromkeys(kind for part in self.parts for kind in part.kinds)

        def feed(kind: str) -> Callable[[Array], None]:
            takers = [part.feed for part in self.parts if kind in part.kinds]

            def taken(records: Array) -> None:
                for take in takers:
                    take(kind, records)

            return taken

        return {kind: feed(kind) for kind in kinds}

    def narrowed(self, wanted: Narrowing, mask: Mask | None) -> tuple[Narrowing, Mask | None]:
        """What the kernel side and the mask are to decide where containers, pods or units are asked for.

        Raises UsageError for those that are not there.
        """
        if not wanted.chosen:
            return wanted, mask
        (workloads,) = (part for part in self.parts if isinstance(part, Workloads))
        workloads.look()
        chosen = Chosen(wanted, workloads.registry.get)
        theirs = chosen_mask(chosen, workloads)
        if mask is None:
            both = theirs
        else:
            asked = mask

            def both(batch: Batch) -> Array:
                return theirs(batch) & asked(batch)

        return narrowed(wanted, chosen, workloads.mounts), both

    def begin(self, kernel: Kernel) -> None:
        """Everything is attached."""
        for part in self.parts:
            part.begin(kernel)

    def threads(self) -> frozenset[int]:
        """Ids of the threads whose connections are our own, and not to be reported."""
        return frozenset(thread for part in self._asking for thread in part.threads)

    def settle(self) -> None:
        """The trace ends: waits, within bounds, for what was asked."""
        for part in self._asking:
            part.settle()

    def problems(self) -> list[str]:
        """What could not be asked that mattered, in sentences."""
        return [problem for part in self._asking for problem in part.problems()]

    def add(self, batch: Batch) -> None:
        """Adds all columns: to one row of each kind, as far as they do not differ from row to row."""
        if not len(batch):
            return
        if batch.few is None:
            for part in self._by_kind:
                part.add(batch)
        else:
            batch.share(self._told(batch.few))
        for other in self._by_row:
            other.add(batch)

    def _told(self, few: Batch) -> Batch:
        """The rows with the columns that do not differ within a kind; the same as before while nothing was learnt."""
        stamps = [part.stamp(few) for part in self._by_kind]
        known: Batch | None
        stamp, known = few.memo.get("enriched", ((), None))
        if known is None or stamp != stamps or None in stamps:
            known = few.view()
            for part in self._by_kind:
                part.add(known)
            few.memo["enriched"] = stamps, known
        return known

    def ripe(self, batch: Batch) -> Iterator[Batch]:
        """The rows that need not wait for more (``enrich.holding``, ``enrich.ripening``), of this batch and of those
        before; the last batch may be empty.
        """
        for part in self._holding.take(batch) if self._holding else (batch,):
            yield from self._ripening.take(part) if self._ripening else (part,)

    def due(self) -> float:
        """Seconds until rows that wait must go on."""
        return min((part.due() for part in (self._holding, self._ripening) if part), default=math.inf)

    def rest(self) -> Iterator[Batch]:
        """Rows that still wait, where no more batches come."""
        for part in self._holding.rest() if self._holding else ():
            yield from self._ripening.take(part) if self._ripening else (part,)
        yield from self._ripening.rest() if self._ripening else ()

    def memory(self) -> list[Table]:
        """What is kept, table by table."""
        return [table for part in self.parts for table in part.memory()]

    def __enter__(self) -> Enrichment:
        for part in self._asking:
            part.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            part.close()


def recorded_places(options: Options) -> Enrichment:
    """What can be said about the rows of a recording: all else stands in them."""
    return Enrichment(options, (Places,))
