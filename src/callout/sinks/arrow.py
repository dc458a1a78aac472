"""Arrow IPC stream: columns for data frames and other programs, also through a pipe.

Rule of this file: every batch has the whole schema (``columnar.arrow_schema``), so that all of a stream
agree; small batches are held together for a moment, because a column of few rows is mostly overhead. Each
batch brings its own dictionaries, which replace those before (Arrow columnar format, "Dictionary messages").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from callout import columnar
from callout.sinks import Target

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.summary import Summary

ROWS = 4096  # are written at once
# Seconds for which rows may be held. The kernel side gathers 50 ms and the pipeline calls at least every
# 100 ms, so rows reach a reader within 200 ms.
HOLD = 0.05


class Stream:
    """An Arrow IPC stream that is being written. ``clock`` counts seconds."""

    def __init__(self, stream: BinaryIO, clock: Callable[[], float] = time.monotonic) -> None:
        pa = columnar.arrow()
        import pyarrow.ipc

        self._stream = stream
        self._clock = clock
        self._held: list[Any] = []
        self._since = 0.0
        self._table_from = pa.Table.from_batches
        self._writer = pyarrow.ipc.new_stream(stream, columnar.arrow_schema())

    def write(self, batch: Batch) -> None:
        """Takes a batch; writes what is held when that is enough or has waited long enough."""
        if len(batch):
            if not self._held:
                self._since = self._clock()
            self._held.append(columnar.to_record_batch(batch))
        if self._held and (
            sum([len(held) for held in self._held]) >= ROWS or self._clock() - self._since >= HOLD
        ):
            self.flush()

    def flush(self) -> None:
        """Writes what is held as one batch."""
        held, self._held = self._held, []
        if len(held) > 1:
            held = self._table_from(held).unify_dictionaries().combine_chunks().to_batches()
        for batch in held:
            self._writer.write_batch(batch)
        self._stream.flush()

    def close(self) -> None:
        """Writes what is held, and the mark that ends a stream. The file below stays open."""
        try:
            self.flush()
        finally:
            self._writer.close()
        self._stream.flush()


class ArrowSink:
    """Arrow IPC stream to a file or pipe. Raises UsageError without pyarrow."""

    def __init__(self, target: Target, clock: Callable[[], float] = time.monotonic) -> None:
        self.target = target
        self._out = Stream(target.stream, clock)

    def write(self, batch: Batch) -> None:
        """Writes the rows, or holds them for at most HOLD seconds."""
        self._out.write(batch)

    def close(self, summary: Summary | None) -> None:
        """Writes what is held and ends the stream."""
        self._out.close()
        self.target.finish()
