"""Parquet: complete or not there, and nothing recorded is lost when the writer is killed."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from callout.batch import Batch, Coded
from callout.capture.files import open_file
from callout.columnar import from_table
from callout.errors import CalloutError, UsageError
from callout.rows import from_rows
from callout.sinks import Target
from callout.sinks.parquet import ParquetSink

ROWS: list[dict[str, Any]] = [{"process.name": f"p{i % 3}", "connect.id": i} for i in range(10)]


def sink_for(path: Path) -> ParquetSink:
    return ParquetSink(Target(io.BytesIO(), str(path)))


def test_journal_becomes_the_file(tmp_path: Path) -> None:
    path, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.partial"
    sink = sink_for(path)
    sink.write(Batch(4, from_rows(ROWS[:4])))
    assert (path.exists(), journal.exists()) == (False, True)
    sink.write(Batch(6, from_rows(ROWS[4:])))
    sink.close(None)
    assert sorted(tmp_path.iterdir()) == [path]
    file = pyarrow.parquet.ParquetFile(path)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert list(from_table(file.read()).rows()) == [dict(sorted(row.items(), reverse=True)) for row in ROWS]


def test_values_of_a_group_may_be_more_than_an_index_of_the_journal_numbers(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    sink = sink_for(path)
    names = [f"kind-{i}" for i in range(300)]
    for begin in range(0, 300, 100):
        codes = np.arange(100, dtype=np.int32)
        sink.write(Batch(100, {"event.kind": Coded(codes, names[begin : begin + 100])}, steady=True))
    sink.close(None)
    assert from_table(pyarrow.parquet.read_table(path)).column("event.kind").tolist() == names


def test_no_rows(tmp_path: Path) -> None:
    sink_for(tmp_path / "out.parquet").close(None)
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 0


def test_an_earlier_recording_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    sink_for(path).close(None)
    sink = sink_for(path)
    sink.write(Batch(10, from_rows(ROWS)))
    assert pyarrow.parquet.read_table(path).num_rows == 0
    sink.close(None)
    assert pyarrow.parquet.read_table(path).num_rows == 10


def test_behind_a_link_the_file_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path, link = tmp_path / "there" / "out.parquet", tmp_path / "link"
    link.symlink_to(path)
    sink = sink_for(link)
    sink.write(Batch(10, from_rows(ROWS)))
    sink.close(None)
    assert link.is_symlink()
    assert pyarrow.parquet.read_table(path).num_rows == 10
    assert sorted(tmp_path.iterdir()) == [link, path.parent]


def test_abandoned_rows_stay_in_the_journal(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "out")
    sink.write(Batch(10, from_rows(ROWS)))
    sink.abandon()
    with open_file(str(tmp_path / "out")) as source:
        assert sum(len(batch) for batch in source.batches()) == 10


def test_abandoned_without_rows_nothing_is_left(tmp_path: Path) -> None:
    sink_for(tmp_path / "out").abandon()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from callout.batch import Batch
from callout.rows import from_rows
from callout.sinks import Target
from callout.sinks.parquet import ParquetSink
sink = ParquetSink(Target(open(sys.argv[1], "wb"), sys.argv[1]))
for i in range(10):
    sink.write(Batch(1, from_rows([{"process.name": f"p{i % 3}", "connect.id": i}])))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with open_file(str(path)) as source:
        rows = [row for batch in source.batches() for row in batch.rows()]
        assert rows == [dict(sorted(row.items(), reverse=True)) for row in ROWS]
        assert source.truncated == (
            f"{path} was never finished: read from {path}.partial, which its writer left behind"
        )


def test_journal_of_a_killed_writer_is_never_overwritten(tmp_path: Path) -> None:
    journal = tmp_path / "out.parquet.partial"
    journal.write_bytes(b"rows")
    with pytest.raises(UsageError) as error:
        sink_for(tmp_path / "out.parquet")
    assert str(error.value) == (
        f"{journal} holds the rows of an interrupted recording\n"
        "  read it with --from and write it elsewhere, or remove it"
    )
    assert journal.read_bytes() == b"rows"


def test_journal_stays_when_the_file_cannot_be_made(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    sink = sink_for(path)
    sink.write(Batch(10, from_rows(ROWS)))
    path.mkdir()
    with pytest.raises(CalloutError) as error:
        sink.close(None)
    assert str(error.value) == (
        f"cannot write {path}: Is a directory\n"
        f"  the rows up to here are in {path}.partial, which --from reads"
    )
    assert [found.name for found in sorted(tmp_path.iterdir())] == ["out.parquet", "out.parquet.partial"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/tmp", "cannot write /tmp: Is a directory\n  give a file in a directory that you may write to"),
        ("/dev/null", "parquet cannot be written to /dev/null: not a plain file\n  use -o arrow for a pipe"),
        (
            "/nowhere/x.parquet",
            "cannot write /nowhere/x.parquet.partial: No such file or directory\n"
            "  give a file in a directory that you may write to",
        ),
    ],
)
def test_refused(path: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        sink_for(Path(path))
    assert str(error.value) == message
