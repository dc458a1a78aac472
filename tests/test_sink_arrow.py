"""The Arrow stream: rows are readable as soon as they are written, and all batches of a stream agree."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.ipc
import pytest

from callout.batch import Batch, Coded, Plain
from callout.cli.output import POOL
from callout.columnar import arrow_schema, from_table
from callout.sinks import Target
from callout.sinks.arrow import ArrowSink

COUNT = 4096


def batch(*names: str, first: int = 0) -> Batch:
    count = len(names)
    return Batch(
        count,
        {
            "connect.id": Plain(np.arange(first, first + count)),
            "process.name": Coded(np.arange(count, dtype=np.int32), names),
        },
    )


def read(data: bytes) -> list[list[dict[str, Any]]]:
    """Rows of each batch that is in the stream so far."""
    reader = pyarrow.ipc.open_stream(data)
    assert reader.schema.equals(arrow_schema(), check_metadata=True)
    return [list(from_table(part).rows()) for part in reader]


def row(number: int, name: str) -> dict[str, Any]:
    return {"connect.id": number, "process.name": name}


def test_rows_are_there_at_once() -> None:
    stream = io.BytesIO()
    sink = ArrowSink(Target(stream))
    sink.write(batch("a", "b"))
    assert read(stream.getvalue()) == [[row(0, "a"), row(1, "b")]]
    sink.write(batch("b", "c", first=2))
    written = [[row(0, "a"), row(1, "b")], [row(2, "b"), row(3, "c")]]
    assert read(stream.getvalue()) == written
    sink.write(Batch(0, {}))
    sink.close(None)
    assert read(stream.getvalue()) == written


def test_no_rows_are_a_stream_too() -> None:
    stream = io.BytesIO()
    sink = ArrowSink(Target(stream))
    sink.write(Batch(0, {}))
    sink.close(None)
    assert read(stream.getvalue()) == []


def test_polars_reads_dictionaries_that_change() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed (callout[polars])")
    stream = io.BytesIO()
    sink = ArrowSink(Target(stream))
    for first in (0, COUNT):
        sink.write(batch(*[f"p{first}-{i % 3}" for i in range(COUNT)], first=first))
    sink.close(None)
    stream.seek(0)
    names = polars.read_ipc_stream(stream)["process.name"].cast(str).to_list()
    assert (names[1], names[COUNT + 1], len(names)) == ("p0-1", f"p{COUNT}-1", 2 * COUNT)


def test_a_descriptor_that_takes_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def little(descriptor: int, parts: list[memoryview]) -> int:
        return os.write(descriptor, parts[0][:7])

    whole = io.BytesIO()
    monkeypatch.setattr(os, "writev", little)
    with (tmp_path / "out").open("wb") as stream:
        for target in (stream, whole):
            sink = ArrowSink(Target(target))
            sink.write(batch("a", "b"))
            sink.close(None)
    assert (tmp_path / "out").read_bytes() == whole.getvalue()
    assert read(whole.getvalue()) == [[row(0, "a"), row(1, "b")]]


def test_batches_whose_values_together_are_too_many_stay_apart() -> None:
    stream = io.BytesIO()
    sink = ArrowSink(Target(stream))
    for begin in (0, 100):
        kinds = [f"kind-{begin + i}" for i in range(100)]
        sink.write(Batch(100, {"event.kind": Coded(np.arange(100, dtype=np.int32), kinds)}, steady=True))
    sink.close(None)
    reader = pyarrow.ipc.open_stream(stream.getvalue())
    assert [[r["event.kind"] for r in from_table(part).rows()] for part in reader] == [
        [f"kind-{i}" for i in range(100)],
        [f"kind-{i}" for i in range(100, 200)],
    ]


class Gone(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_has_gone() -> None:
    sink = ArrowSink(Target(Gone()))  # type: ignore[arg-type]
    with pytest.raises(BrokenPipeError):
        sink.write(batch(*["p"] * COUNT))


def test_the_allocator_is_chosen_where_nobody_has() -> None:
    code = (
        "import os, sys\n"
        "from callout.cli.output import POOL, sparing\n"
        "chosen = os.environ.get(POOL)\n"
        "with sparing():\n"
        "    import pyarrow\n"
        "assert os.environ.get(POOL) == chosen, os.environ\n"
        "with sparing():\n"
        "    assert os.environ.get(POOL) == chosen, 'it is too late'\n"
        "print(pyarrow.default_memory_pool().backend_name)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != POOL}

    def allocator(**chosen: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment | chosen, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert allocator() == "system"
    assert allocator(**{POOL: "mimalloc"}) == "mimalloc"
