"""Where rows go: standard output or a file, and in which format.

Rule of this file: a file that cannot be written fails before anything starts; what fails later is told in one
line, names the place, and never waits for a reader.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from callout import origin
from callout.cli.places import ELSEWHERE, create, is_special, open_special
from callout.cli.streams import discard, is_colored, is_terminal, say
from callout.errors import CalloutError, UsageError

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.sinks import Sink, Target
    from callout.summary import Summary

POOL = "ARROW_DEFAULT_MEMORY_POOL"  # names the allocator, https://arrow.apache.org/docs/cpp/env_vars.html
SUFFIXES = {
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".parquet": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".txt": "table",
    ".strace": "strace",
}


@contextmanager
def sparing() -> Iterator[None]:
    """Where Arrow is loaded first within, it allocates with malloc(3): its own pools keep what they have freed, which
    is 4 MB more at the peak. Nothing changes where it has been loaded, or the user has chosen (Arrow's own variable).
    """
    if POOL in os.environ or "pyarrow" in sys.modules:
        yield
        return
    os.environ[POOL] = "system"
    try:
        yield
        if loaded := sys.modules.get("pyarrow"):
            loaded.default_memory_pool()  # chosen when it is first asked for
    finally:
        del os.environ[POOL]


class Output:
    """The sink asked for, by its ``name``; ``verbose`` adds the quiet fields to what it is given.

    What it cannot write is a CalloutError that names the place; BrokenPipeError stays.

    A context manager: left without ``close`` it lets go at once, without waiting for whoever reads.
    ``failed``: why it could not write. ``complete``: it was closed, and all was written. ``shows_totals``:
    the sink shows them itself.
    """

    def __init__(self, name: str, target: Target, explain: bool = False, verbose: bool = False) -> None:
        from callout.sinks import open_sink

        self.name = name
        self._verbose = verbose
        self._target = target
        self._place = target.path or "standard output"
        self.failed: OSError | CalloutError | None = None
        self.complete = False
        with self._named():
            options = {"explain": True} if explain and name == "table" else {}
            self._sink: Sink = open_sink(name, target, **options)
        # a sink that makes its file in the end keeps an earlier one, and its rows elsewhere
        self._keeps_rows = hasattr(self._sink, "abandon")
        self.shows_totals = bool(getattr(self._sink, "shows_totals", False))

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.complete:
            return
        ended = kind is not None and issubclass(kind, Exception) and self.failed is None
        if ended and not self._keeps_rows:
            self.close(None)  # what led here is not the sink's: what it was given is written
        else:
            self._abandon()

    def write(self, batch: Batch) -> None:
        """Gives the sink a batch."""
        if self._verbose:
            batch.show()
            origin.add(batch)
        with self._named():
            self._sink.write(batch)

    def close(self, summary: Summary | None) -> None:
        """Ends the output in good order."""
        with self._named():
            self._sink.close(summary)
        self.complete = True

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (BrokenPipeError, CalloutError) as error:
            self.failed = error
            raise
        except OSError as error:
            self.failed = CalloutError(f"cannot write {self._place}: {error.strerror or error}")
            raise self.failed from error

    def _abandon(self) -> None:
        """What is buffered goes nowhere, so that closing can neither fail nor wait."""
        if self._keeps_rows:
            self._sink.abandon()  # type: ignore[attr-defined]
            return
        discard(self._target.stream.fileno())
        if self._target.path is not None:
            self._target.stream.close()


def open_output(args: argparse.Namespace, explain: bool = False) -> Output:
    """The sink asked for, opened: a file that cannot be written fails before anything starts."""
    from callout.sinks import FORMATS, Target

    path: str | None = None if args.write in (None, "-") else args.write
    terminal = path is None and is_terminal()
    name = args.output or (
        SUFFIXES.get(Path(path).suffix, "ndjson") if path else "table" if terminal else "ndjson"
    )
    if path is None and FORMATS[name].owns_file:
        raise UsageError(f"{name} needs a file", "use -w FILE, or -o arrow, which can go to a pipe")
    if args.verbose and name in ("table", "strace"):
        raise UsageError(
            f"--verbose adds fields that {name} does not show",
            "use -o ndjson, or `callout explain connect`",
        )
    if FORMATS[name].binary:
        from callout.columnar import arrow

        with sparing():
            arrow()  # a missing extra is told before the file is emptied
    target = Target(
        stream=_stream(path, FORMATS[name].owns_file),
        path=path,
        terminal=terminal,
        width=shutil.get_terminal_size((80, 24)).columns,
        color=terminal and is_colored(),
    )
    return Output(name, target, explain, args.verbose)


def _stream(path: str | None, owns_file: bool) -> BinaryIO:
    if owns_file:
        return io.BytesIO()  # is not used: the sink makes the file when it is complete
    if path is None:
        if sys.stdout is None:
            raise UsageError("standard output is closed", "use -w FILE")
        return sys.stdout.buffer
    try:
        return open_special(path) if is_special(path) else open(path, "wb")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", ELSEWHERE) from error


def tell(summary: Summary, args: argparse.Namespace, out: Output) -> None:
    """Totals: to --summary and to standard error. A table on a terminal has shown them already, and a reader
    that went away (`| head`) wants none.
    """
    if args.summary:
        create(args.summary, json.dumps(summary.as_dict()) + "\n")
    shown = out.complete and out.shows_totals
    if not shown and not isinstance(out.failed, BrokenPipeError):
        for line in summary.lines(color=False, width=80):
            say(line)
