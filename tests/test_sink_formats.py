"""The list of formats, and what is refused before anything is opened."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path

import pytest

from callout.errors import UsageError
from callout.sinks import FORMATS, Target, open_sink


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_its_sink(name: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    stream = path.open("wb")
    sink = open_sink(name, Target(stream, str(path)))
    assert type(sink) is getattr(import_module(FORMATS[name].module), FORMATS[name].sink)
    sink.close(None)
    assert stream.closed


def test_standard_output_stays_open() -> None:
    stream = io.BytesIO()
    open_sink("ndjson", Target(stream)).close(None)
    assert not stream.closed


@pytest.mark.parametrize(
    ("name", "terminal", "message"),
    [
        ("xml", False, "unknown output format 'xml'\n  use one of: table, strace, ndjson, arrow, parquet"),
        (
            "arrow",
            True,
            "arrow is binary and not for a terminal\n  write to a file with -w FILE, or to a pipe",
        ),
        (
            "parquet",
            False,
            "parquet needs a file: it is written from its end\n"
            "  use -w FILE, or -o arrow, which can go to a pipe",
        ),
    ],
)
def test_refused(name: str, terminal: bool, message: str) -> None:
    with pytest.raises(UsageError) as error:
        open_sink(name, Target(io.BytesIO(), terminal=terminal))
    assert str(error.value) == message
