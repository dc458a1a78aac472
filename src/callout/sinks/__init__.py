"""Where batches go: one file per format.

Rule of this package: a format is a file and one line in FORMATS. A sink gets each batch once and in order;
only text sinks make rows. Importing this module imports no format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.summary import Summary


class Sink(Protocol):
    """One output. Used by one thread; every row is on its way when the call that allows it returns."""

    def write(self, batch: Batch) -> None:
        """Takes a batch. An empty one says that time has passed, to sinks that gather rows."""
        ...

    def close(self, summary: Summary | None) -> None:
        """Writes what is still held, and the totals where the format has a place for them. Called once."""
        ...


@dataclass(frozen=True)
class Target:
    """Where a sink writes.

    ``stream`` is open; with a ``path`` the sink closes it, without one it is standard output and stays open.
    ``width`` is in columns; ``color`` is only ever True on a terminal.
    """

    stream: BinaryIO
    path: str | None = None
    terminal: bool = False
    width: int = 80
    color: bool = False

    def put(self, parts: Iterable[bytes]) -> None:
        """Writes the parts as they come, and flushes. Raises OSError; BrokenPipeError where the reader has
        gone.
        """
        for part in parts:
            rest = memoryview(part)
            while rest:  # standard output without a buffer (PYTHONUNBUFFERED) writes as much as a pipe takes
                rest = rest[self.stream.write(rest) :]
        self.stream.flush()

    def finish(self) -> None:
        """Flushes; closes what has a path."""
        self.stream.flush()
        if self.path is not None:
            self.stream.close()


class Format(NamedTuple):
    """Where a format's sink is. ``binary``: not for a terminal. ``owns_file``: opens FILE itself, by its
    path.
    """

    module: str
    sink: str
    binary: bool = False
    owns_file: bool = False


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "table": Format("callout.sinks.table", "TableSink"),
        "strace": Format("callout.sinks.strace", "StraceSink"),
        "ndjson": Format("callout.sinks.ndjson", "NdjsonSink"),
        "arrow": Format("callout.sinks.arrow", "ArrowSink", binary=True),
        "parquet": Format("callout.sinks.parquet", "ParquetSink", binary=True, owns_file=True),
    }
)


def open_sink(name: str, target: Target, **options: Any) -> Sink:
    """The sink of a format; ``options`` are those of its class.

    Raises UsageError for an unknown format, a binary one on a terminal, a missing extra, and what the sink
    refuses.
    """
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"unknown output format {name!r}", f"use one of: {', '.join(FORMATS)}")
    if found.binary and target.terminal:
        raise UsageError(
            f"{name} is binary and not for a terminal", "write to a file with -w FILE, or to a pipe"
        )
    sink: Sink = getattr(import_module(found.module), found.sink)(target, **options)
    return sink
