"""Recorded attempts as a source: whatever a sink wrote comes back as the same batches.

Rule of this file: the content tells the format, never the name. What a killed writer left is read as far as
it is complete, and ``truncated`` says so; what cannot be used is an InputError that names file, line and
column.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from callout.batch import Batch
from callout.capture import jsonlines
from callout.errors import InputError

if TYPE_CHECKING:
    from callout.summary import Summary

JOURNAL = ".partial"  # what sinks.parquet appends to the name of a recording that is not finished
ARROW_FILE, PARQUET, ARROW_STREAM = b"ARROW1", b"PAR1", b"\xff\xff\xff\xff"  # how they begin
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


class FileSource:
    """Attempts from a file or pipe. A context manager; ``batches`` can be read once.

    ``truncated`` says, after the last batch at the latest, what is missing at the end; None: nothing.
    """

    def __init__(self, path: str, stream: BinaryIO, truncated: str | None = None) -> None:
        self.path = path
        self.truncated = truncated
        self._stream = stream

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; standard input stays open."""
        if self._stream is not sys.stdin.buffer:
            self._stream.close()

    def batches(self) -> Iterator[Batch]:
        """Batches in the order of the file. Raises InputError where it cannot be used."""
        head = self._peek(8)
        if head.startswith(ARROW_STREAM):
            return self._arrow_stream()
        if head.startswith(ARROW_FILE):
            return self._arrow_file()
        if head.startswith(PARQUET):
            return self._parquet()
        return self._ndjson()

    def finish(self, summary: Summary) -> Iterator[Batch]:
        """Nothing is left behind, and nothing is lost on the way from a file."""
        return iter(())

    def _peek(self, size: int) -> bytes:
        """The first bytes without reading them; a pipe may take its time."""
        assert isinstance(self._stream, io.BufferedReader)
        return self._stream.peek(size)[:size]

    def _ndjson(self) -> Iterator[Batch]:
        reader = jsonlines.Reader(self.path, self._stream)
        yield from reader.batches()
        self.truncated = self.truncated or reader.truncated

    def _arrow_stream(self) -> Iterator[Batch]:
        from callout import columnar

        pa = columnar.arrow()
        import pyarrow.ipc

        watched = Watched(self._stream)
        count = 0
        try:
            reader = pyarrow.ipc.open_stream(watched)
            while True:
                try:
                    read = reader.read_next_batch()
                except StopIteration:
                    break
                yield self._batch(read, count)
                count += len(read)
        except (pa.ArrowInvalid, OSError) as error:
            if watched.read(1):
                raise InputError(f"{self.path}: damaged behind row {count}: {_one_line(error)}") from error
            self._cut(count)
            return
        if watched.tail != STREAM_END:
            self._cut(count)

    def _cut(self, count: int) -> None:
        self.truncated = (
            self.truncated
            or f"{self.path} ends without its end mark, behind row {count}: its writer was killed"
        )

    def _arrow_file(self) -> Iterator[Batch]:
        from callout import columnar

        pa = columnar.arrow()
        import pyarrow.ipc

        count = 0
        try:
            reader = pyarrow.ipc.open_file(self._seekable())
            for number in range(reader.num_record_batches):
                read = reader.get_batch(number)
                yield self._batch(read, count)
                count += len(read)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{self.path}: not a complete Arrow file: {_one_line(error)}") from error

    def _parquet(self) -> Iterator[Batch]:
        from callout import columnar

        pa = columnar.arrow()
        import pyarrow.parquet

        count = 0
        try:
            file = pyarrow.parquet.ParquetFile(self._seekable())
            for read in file.iter_batches(batch_size=1 << 14):
                yield self._batch(read, count)
                count += len(read)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{self.path}: not a complete Parquet file: {_one_line(error)}") from error

    def _batch(self, read: Any, before: int) -> Batch:
        from callout import columnar

        try:
            read.validate(full=True)
            return columnar.from_table(read)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path}: rows {before + 1} to {before + len(read)}: {_one_line(error)}"
            ) from error

    def _seekable(self) -> BinaryIO:
        """The file itself, or all of a pipe: these formats begin at their end."""
        return self._stream if self._stream.seekable() else io.BytesIO(self._stream.read())


class Watched:
    """A stream that remembers its last bytes: those of a whole Arrow stream are its end mark."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, fewer only at the end."""
        data = self._stream.read(size)
        self.tail = (self.tail + data[-8:])[-8:]
        return data


def open_file(path: str) -> FileSource:
    """A source for ``path``; ``-`` is standard input. Of an unfinished Parquet file, its journal.

    Raises InputError where there is nothing to read.
    """
    if path == "-":
        return FileSource("standard input", sys.stdin.buffer)
    journal = path + JOURNAL
    if not _has_content(path) and Path(journal).is_file():
        told = f"{path} was never finished: read from {journal}, which its writer left behind"
        return FileSource(journal, _open(journal), told)
    return FileSource(path, _open(path))


def _has_content(path: str) -> bool:
    """False for a missing file and an empty plain one; pipes and devices tell no size."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size > 0 or not stat.S_ISREG(found.st_mode)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _one_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
