"""Parquet, which is only readable once it is complete: so rows are recorded in a journal first.

Rule of this file: at any moment all rows are in a readable file. FILE.partial is an Arrow stream that grows
batch by batch; at the end it is turned into FILE, in one step (rename(2)), and only then removed. After kill
-9 it is what ``callout`` reads in place of FILE.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from callout import columnar
from callout.errors import CalloutError, UsageError
from callout.sinks import Target
from callout.sinks.arrow import Stream

if TYPE_CHECKING:
    import pyarrow

    from callout.batch import Batch
    from callout.summary import Summary

JOURNAL = ".partial"
GROUP_ROWS = 1 << 17  # rows of a row group: what readers skip or load at once


class ParquetSink:
    """A Parquet file, compressed with zstd. ``target.stream`` is not used: the file is made from its path.

    Raises UsageError without pyarrow, without a path, where the file cannot be made, and where the journal of
    an interrupted recording is in the way.
    """

    def __init__(self, target: Target) -> None:
        columnar.arrow()
        if target.path is None:
            raise UsageError(
                "parquet needs a file: it is written from its end",
                "use -w FILE, or -o arrow, which can go to a pipe",
            )
        self.path = Path(os.path.realpath(target.path))  # renaming to a link would replace the link
        if self.path.is_dir() or (self.path.exists() and not os.access(self.path, os.W_OK)):
            reason = errno.EISDIR if self.path.is_dir() else errno.EACCES
            raise UsageError(
                f"cannot write {target.path}: {os.strerror(reason)}",
                "give a file in a directory that you may write to",
            )
        if self.path.exists() and not self.path.is_file():
            raise UsageError(
                f"parquet cannot be written to {target.path}: not a plain file", "use -o arrow for a pipe"
            )
        target.finish()
        self.journal = Path(f"{target.path}{JOURNAL}")
        try:
            self._file = self.journal.open("xb")
        except FileExistsError as error:
            raise UsageError(
                f"{self.journal} holds the rows of an interrupted recording",
                "read it with --from and write it elsewhere, or remove it",
            ) from error
        except OSError as error:
            raise UsageError(
                f"cannot write {self.journal}: {error.strerror}",
                "give a file in a directory that you may write to",
            ) from error
        self._out = Stream(self._file)
        self._rows = 0

    def write(self, batch: Batch) -> None:
        """Records the rows in the journal. Raises CalloutError."""
        self._rows += len(batch)
        with self._told():
            self._out.write(batch)

    def close(self, summary: Summary | None) -> None:
        """Turns the journal into the file. When that fails the journal stays; raises CalloutError."""
        with self._told():
            self._out.close()
            self._file.close()
            convert(self.journal, self.path)
        self.journal.unlink()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CalloutError(
                f"cannot write {self.path}: {error.strerror or error}",
                f"the rows up to here are in {self.journal}, which --from reads",
            ) from error

    def abandon(self) -> None:
        """Lets go at once: FILE stays as it was, and the journal with its rows too."""
        with suppress(OSError):  # what it still holds could not be written
            self._file.close()
        if not self._rows:
            self.journal.unlink()


def convert(journal: Path, path: Path) -> None:
    """Makes a Parquet file of an Arrow stream, row group by row group; ``path`` is there only when it is
    complete.
    """
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    made = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with pyarrow.OSFile(str(journal), "rb") as source, made.open("xb") as out:
            reader = pyarrow.ipc.open_stream(source)
            first = merge([], reader.schema)
            with pyarrow.parquet.ParquetWriter(out, first.schema, compression="zstd") as writer:
                group: list[pyarrow.RecordBatch] = []
                for batch in reader:
                    group.append(batch)
                    if sum([len(part) for part in group]) >= GROUP_ROWS:
                        writer.write_table(merge(group, reader.schema))
                        group = []
                if group:
                    writer.write_table(merge(group, reader.schema))
            out.flush()
            os.fsync(out.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def merge(group: list[pyarrow.RecordBatch], schema: pyarrow.Schema) -> pyarrow.Table:
    """Some batches as one table with one dictionary per column."""
    table = columnar.arrow().Table.from_batches(group, schema)
    return columnar.widened(table).unify_dictionaries().combine_chunks()
