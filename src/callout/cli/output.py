"""Where rows go: standard output or a file, and in which format."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.sinks import Sink
    from callout.summary import Summary

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


def open_output(args: argparse.Namespace, explain: bool = False) -> Sink:
    """The sink asked for, opened: a file that cannot be written fails before anything starts."""
    from callout.sinks import Target, open_sink

    path: str | None = None if args.write in (None, "-") else args.write
    if path is None:
        stream: BinaryIO = sys.stdout.buffer
    else:
        try:
            stream = open(path, "wb")  # noqa: SIM115 - the sink owns and closes it
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror}", "give a file in a directory that you may write to"
            ) from error
    terminal = path is None and sys.stdout.isatty()
    name = args.output or (
        SUFFIXES.get(Path(path).suffix, "ndjson") if path else "table" if terminal else "ndjson"
    )
    target = Target(
        stream=stream,
        path=path,
        terminal=terminal,
        width=shutil.get_terminal_size((80, 24)).columns,
        color=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
    )
    return open_sink(name, target, **({"explain": True} if explain and name == "table" else {}))


def create(path: str, text: str = "") -> None:
    """Creates a small file (ready file, summary) in one step, so that a reader never sees half of it."""
    temporary = f"{path}.{os.getpid()}"
    try:
        Path(temporary).write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", "give a file in a directory that you may write to"
        ) from error


def tell(summary: Summary, args: argparse.Namespace, on_terminal: bool) -> None:
    """Totals: to standard error, and to --summary. A table on a terminal has shown them already."""
    if not on_terminal:
        for line in summary.lines(color=False, width=80):
            print(line, file=sys.stderr)
    if args.summary:
        create(args.summary, json.dumps(summary.as_dict()) + "\n")
