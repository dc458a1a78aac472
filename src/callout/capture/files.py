"""Recorded attempts as a source: whatever a sink wrote comes back as the same batches.

Rule of this file: the content tells the format, never the name. What a killed writer left is read as far as
it is complete, and ``truncated`` says so; what cannot be used is an InputError that names file, line and
column.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
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
PAUSE = 0.1  # seconds between two looks at whether anybody still wants what a pipe may bring
REMEDIES = {
    errno.ENOENT: "give a file that -w wrote, or - for standard input",
    errno.EISDIR: "give one file of it",
    errno.EACCES: "give a file that you may read, or run it as who wrote it",
}


class FileSource:
    """Attempts from a file or pipe. A context manager; ``batches`` can be read once.

    ``truncated`` says, after the last batch at the latest, what is missing at the end; None: nothing.
    """

    def __init__(self, path: str, stream: BinaryIO, truncated: str | None = None) -> None:
        self.path = path
        self.truncated = truncated
        self._stream = stream

    def is_file(self, path: str | int) -> bool:
        """Whether a path or descriptor is the plain file that is read here, by whatever name.

        Devices and pipes can be read and written at once.
        """
        try:
            found, ours = os.stat(path), os.fstat(self._stream.fileno())
        except OSError:
            return False
        return stat.S_ISREG(ours.st_mode) and os.path.samestat(found, ours)

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; standard input stays open."""
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
        self._cut(reader.truncated)

    def _arrow_stream(self) -> Iterator[Batch]:
        from callout import columnar

        pa = columnar.arrow()
        import pyarrow.ipc

        told = f"{self.path} ends without its end mark, behind row {{}}: its writer was killed"
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
            self._cut(told.format(count))
            return
        if watched.tail != STREAM_END:
            self._cut(told.format(count))

    def _cut(self, told: str | None) -> None:
        raw = getattr(self._stream, "raw", None)
        if not (isinstance(raw, Pipe) and raw.left):
            self.truncated = self.truncated or told

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


class Pipe(io.RawIOBase):
    """A pipe, socket or terminal that also ends when ``over`` says so: a read from it may last for ever, and
    Python resumes it after a signal (PEP 475). Owns the descriptor. ``left``: it was not read to its end.
    """

    def __init__(self, descriptor: int, over: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._over = over
        self.left = False

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Waits for data; 0 at the end."""
        while not select.select([self._descriptor], [], [], PAUSE)[0]:
            if self._over():
                self.left = True
                return 0
        return os.readv(self._descriptor, [buffer])

    def close(self) -> None:
        """Closes the descriptor. Called twice it does nothing."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_file(path: str, over: Callable[[], bool] = lambda: False) -> FileSource:
    """A source for ``path``; ``-`` is standard input. Of an unfinished Parquet file, its journal.

    A pipe that pauses ends when ``over`` returns True. Raises InputError where there is nothing to read.
    """
    if path == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed", "give a file instead of -")
        return FileSource("standard input", _stream(os.dup(sys.stdin.fileno()), over))
    journal = path + JOURNAL
    if not _has_content(path) and Path(journal).is_file():
        told = f"{path} was never finished: read from {journal}, which its writer left behind"
        return FileSource(journal, _stream(_open(journal), over), told)
    return FileSource(path, _stream(_open(path), over))


def _has_content(path: str) -> bool:
    """False for a missing file and an empty plain one; pipes and devices tell no size."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size > 0 or not stat.S_ISREG(found.st_mode)


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", REMEDIES.get(error.errno or 0, "")) from error
    return descriptor


def _stream(descriptor: int, over: Callable[[], bool]) -> BinaryIO:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    return io.BufferedReader(Pipe(descriptor, over), 1 << 16)


def _one_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
