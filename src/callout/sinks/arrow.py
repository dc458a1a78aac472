"""Arrow IPC stream: columns for data frames and other programs, also through a pipe.

Rule of this file: all batches of a stream have one schema (``arrow_columns.schema_for`` the first); small
batches are held together for a moment, because a column of few rows is mostly overhead. A batch brings its own
dictionaries where they changed, which replace those before (Arrow columnar format, "Dictionary messages").
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from callout import columnar
from callout.batch import Batch
from callout.sinks import Target

if TYPE_CHECKING:
    from callout.summary import Summary

ROWS = 4096  # are written at once
# Seconds for which rows may be held. The kernel side gathers 50 ms and the pipeline calls at least every
# 100 ms, so rows reach a reader within 200 ms.
HOLD = 0.05
AT_ONCE = 1024  # pieces that one writev(2) takes: IOV_MAX of Linux


class Gathered:
    """A file for pyarrow that takes a batch buffer by buffer, and writes them with as few calls as possible.

    Buffers are not copied: they stay as they are until ``flush``.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._parts: list[Any] = []
        self._size = 0
        try:
            self._descriptor = stream.fileno()
        except OSError:  # a stream in memory has none
            self._descriptor = -1

    def write(self, data: Any) -> int:
        """Takes some bytes."""
        part = memoryview(data)
        if part.nbytes:
            self._parts.append(part)
            self._size += part.nbytes
        return part.nbytes

    def tell(self) -> int:
        """Bytes taken so far."""
        return self._size

    def flush(self) -> None:
        """Writes what was taken. Raises OSError."""
        parts, self._parts = self._parts, []
        self._stream.flush()
        if self._descriptor < 0:
            for part in parts:
                self._stream.write(part)
            self._stream.flush()
            return
        parts.reverse()  # the next one is last, where a list is quick to change
        while parts:
            some = parts[-AT_ONCE:][::-1]
            written = os.writev(self._descriptor, some)
            while parts and written >= parts[-1].nbytes:
                written -= parts.pop().nbytes
            if written:
                parts[-1] = parts[-1].cast("B")[written:]


class Stream:
    """An Arrow IPC stream that is being written. ``clock`` counts seconds."""

    def __init__(self, stream: BinaryIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._pa = columnar.arrow()
        self._out = Gathered(stream)
        self._clock = clock
        self._held: list[Any] = []
        self._since = 0.0
        self._encoder: columnar.Encoder | None = None
        self._writer: Any = None

    def write(self, batch: Batch) -> None:
        """Takes a batch; writes what is held when that is enough or has waited long enough."""
        if len(batch):
            if not self._held:
                self._since = self._clock()
            self._held += self._open(batch).record_batches(batch)
        if self._held and (
            sum([len(held) for held in self._held]) >= ROWS or self._clock() - self._since >= HOLD
        ):
            self.flush()

    def _open(self, first: Batch) -> columnar.Encoder:
        """What turns batches into those of this stream; the first one tells its schema."""
        if self._encoder is None:
            import pyarrow.ipc

            self._encoder = columnar.Encoder(columnar.schema_for(first), first.steady)
            self._writer = pyarrow.ipc.new_stream(self._out, self._encoder.schema)
        return self._encoder

    def flush(self) -> None:
        """Writes what is held as one batch."""
        held, self._held = self._held, []
        if len(held) > 1:
            held = self._together(held)
        for batch in held:
            self._writer.write_batch(batch)
        self._out.flush()

    def _together(self, held: list[Any]) -> list[Any]:
        """Several batches as one; as they are where it would have more values than an index can number."""
        table = self._pa.Table.from_batches(held)
        try:
            found: list[Any] = table.unify_dictionaries().combine_chunks().to_batches()
        except self._pa.ArrowInvalid:
            return held
        return found

    def close(self) -> None:
        """Writes what is held, and the mark that ends a stream. The file below stays open."""
        self._open(Batch(0, {}))
        try:
            self.flush()
        finally:
            self._writer.close()
        self._out.flush()


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
