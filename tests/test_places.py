"""The small files beside the rows: whole or not there, and nothing else touched."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from callout.cli.places import check_places, create
from callout.errors import CalloutError, UsageError


def asked(
    write: Path | None = None, summary: Path | None = None, ready: Path | None = None
) -> argparse.Namespace:
    """Options of a run."""
    texts = {"write": write, "summary": summary, "ready_file": ready}
    return argparse.Namespace(**{name: path if path is None else str(path) for name, path in texts.items()})


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Who has the old one open keeps it; behind a link the file itself is replaced."""
    path, link = tmp_path / "there", tmp_path / "link"
    path.write_text("old")
    link.symlink_to("there")
    with path.open() as before:
        create(str(link), "new")
        assert before.read() == "old"
    assert (path.read_text(), link.is_symlink()) == ("new", True)
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_what_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CalloutError) as error:
        create(str(tmp_path / "taken"), "text")
    assert (str(error.value), error.value.exit_status) == (
        f"cannot write {tmp_path}/taken: Is a directory",
        1,
    )
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]


def test_a_file_of_others_in_the_way_stays(tmp_path: Path) -> None:
    other = tmp_path / f"ready.{os.getpid()}"
    other.write_text("theirs")
    with pytest.raises(CalloutError, match=r"cannot write .*/ready: File exists$"):
        create(str(tmp_path / "ready"))
    assert other.read_text() == "theirs"


def test_pipes_and_devices_are_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_places(asked(summary=pipe, ready=pipe))
        create(str(pipe), "told")
        assert os.read(reader, 100) == b"told"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(CalloutError, match=r"^cannot write /dev/full: No space left on device$"):
        create("/dev/full", "x")
    assert Path("/dev/full").is_char_device()


def test_standard_error_is_written_where_it_stands(tmp_path: Path) -> None:
    """It may be a file: neither replaced nor written over."""
    code = """
import sys
from callout.cli.places import create
print("before", file=sys.stderr)
create("/dev/stderr", "told\\n")
create("/dev/fd/2", "again\\n")
print("behind", file=sys.stderr)
"""
    with (tmp_path / "log").open("w") as log:
        log.write("first\n")
        log.flush()
        subprocess.run([sys.executable, "-c", code], stderr=log, check=True)
    assert (tmp_path / "log").read_text() == "first\nbefore\ntold\nagain\nbehind\n"


def test_an_old_ready_file_is_gone_before_anything_starts(tmp_path: Path) -> None:
    ready, summary = tmp_path / "ready", tmp_path / "summary"
    ready.touch()
    summary.write_text("of the last run")
    check_places(asked(summary=summary, ready=ready))
    assert [found.name for found in tmp_path.iterdir()] == ["summary"]
    assert summary.read_text() == "of the last run"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/x", "No such file or directory"), (".", "Is a directory"), ("file/x", "Not a directory")],
)
def test_places_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    for options in (asked(summary=path), asked(ready=path)):
        with pytest.raises(UsageError) as error:
            check_places(options)
        assert error.value.message == f"cannot write {path}: {reason}"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_two_in_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(UsageError, match=r"--ready-file .*/x is also the file of --summary"):
        check_places(asked(summary=path, ready=path))
    check_places(asked(write=Path("/dev/null"), summary=Path("/dev/null"), ready=Path("/dev/null")))
    assert Path("/dev/null").is_char_device()
