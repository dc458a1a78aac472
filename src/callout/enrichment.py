"""All enrichers of one live trace, as one.

Rule of this file: ENRICHERS is the list; what each does is its own. Their columns are added before a filter is
evaluated, so filters work on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from callout.enrich import Asking, Enricher, Kernel, Options
from callout.enrich.names import Names
from callout.enrich.place import Places
from callout.enrich.processes import Processes
from callout.enrich.ripening import Ripening
from callout.enrich.workload import Workloads

if TYPE_CHECKING:
    from callout.batch import Array, Batch

ENRICHERS: tuple[Callable[[Options], Enricher], ...] = (Processes, Workloads, Names, Places)


class Enrichment:
    """A context manager, entered before the source: ``listeners`` and ``threads`` go to it, ``begin`` follows."""

    def __init__(
        self, options: Options | None = None, makers: Sequence[Callable[[Options], Enricher]] = ENRICHERS
    ) -> None:
        options = options or Options()
        self.parts = [make(options) for make in makers if options.names or make is not Names]
        names = [part for part in self.parts if isinstance(part, Names)]
        waits = names and not options.related
        self._ripening = Ripening(names[0].greeted, names[0].add) if waits else None
        self._asking = [part for part in self.parts if isinstance(part, Asking)]

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

    def add(self, batch: Batch) -> None:
        """Adds all columns."""
        if len(batch):
            for part in self.parts:
                part.add(batch)

    def ripe(self, batch: Batch) -> Iterator[Batch]:
        """The rows that need not wait for more (``enrich.ripening``), of this batch and of those before; the last batch
        may be empty.
        """
        yield from self._ripening.take(batch) if self._ripening else (batch,)

    def rest(self) -> Iterator[Batch]:
        """Rows that still wait, where no more batches come."""
        yield from self._ripening.rest() if self._ripening else ()

    def memory(self) -> dict[str, int]:
        """Bytes kept, by table."""
        return {name: size for part in self.parts for name, size in part.memory().items()}

    def __enter__(self) -> Enrichment:
        for part in self._asking:
            part.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            part.close()
