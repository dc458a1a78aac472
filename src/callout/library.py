"""Tracing from Python: ``callout.trace``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

from callout.batch import Batch
from callout.capture.kernel import KernelSource
from callout.enrichment import Enrichment
from callout.narrowing import Narrowing, Wanted, compile_wanted
from callout.pipeline import Stop, flow
from callout.summary import Summary


class trace:
    """Attempts of this host that match a filter, as batches; a context manager over an iterator.

    ``filter``: an expression (empty: all attempts). ``seconds``: stop after that long (None: until the
    ``with`` block ends). ``narrowing``: what options such as ``-p`` say. Batches are never empty. Raises
    NotPermittedError without the needed rights, UsageError for a bad filter. ``summary`` holds the totals
    once the iterator has ended.
    """

    def __init__(
        self, filter: str = "", seconds: float | None = None, narrowing: Narrowing | None = None
    ) -> None:
        self._wanted = compile_wanted(narrowing or Narrowing(), filter, live=True)
        self._enrichment = Enrichment()
        self._seconds = seconds
        self.summary = Summary()

    def __enter__(self) -> trace:
        with ExitStack() as stack:
            stack.enter_context(self._enrichment)
            self._wanted = Wanted(*self._enrichment.narrowed(self._wanted.kernel, self._wanted.mask))
            self._source = KernelSource(
                self._wanted.kernel, listeners=self._enrichment.listeners, hidden=self._enrichment.threads
            )
            stack.enter_context(self._source)
            self._enrichment.begin(self._source)
            self._undo = stack.pop_all()
        self._stop = Stop(self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._undo.__exit__(kind, error, tb)

    def stop(self) -> None:
        """Ends the iteration after what is already recorded."""
        self._stop.requested = True

    def __iter__(self) -> Iterator[Batch]:
        for batch in flow(self._source, self.summary, self._stop, self._wanted.mask, True, self._enrichment):
            if len(batch):
                yield batch
