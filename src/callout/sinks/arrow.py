"""Arrow IPC stream: columns for data frames and other programs, also through a pipe.

Rule of this file: all batches of a stream have one schema (``arrow_columns.schema_for`` the first), and are
written as they come: sources gather rows. A batch brings its own dictionaries where they changed, which replace
those before (Arrow columnar format, "Dictionary messages").
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

from callout import columnar
from callout.batch import Batch
from callout.sinks import Target

if TYPE_CHECKING:
    from callout.summary import Summary

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
    """An Arrow IPC stream that is being written."""

    def __init__(self, stream: BinaryIO) -> None:
        columnar.arrow_schema()  # says what is missing now, not at the first row
        from pyarrow import ipc

        self._new_stream = ipc.new_stream
        self._out = Gathered(stream)
        self._encoder: columnar.Encoder | None = None
        self._writer: Any = None

    def write(self, batch: Batch) -> None:
        """Writes and flushes the rows."""
        if len(batch):
            for part in self._open(batch).record_batches(batch):
                self._writer.write_batch(part)
            self._out.flush()

    def _open(self, first: Batch) -> columnar.Encoder:
        """What turns batches into those of this stream; the first one tells its schema."""
        if self._encoder is None:
            self._encoder = columnar.Encoder(columnar.schema_for(first), first.steady)
            self._writer = self._new_stream(self._out, self._encoder.schema)
        return self._encoder

    def close(self) -> None:
        """Writes the mark that ends a stream. The file below stays open."""
        self._open(Batch(0, {}))
        self._writer.close()
        self._out.flush()


class ArrowSink:
    """Arrow IPC stream to a file or pipe. Raises UsageError without pyarrow."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._out = Stream(target.stream)

    def write(self, batch: Batch) -> None:
        """Writes and flushes the rows."""
        self._out.write(batch)

    def close(self, summary: Summary | None) -> None:
        """Ends the stream."""
        self._out.close()
        self.target.finish()
