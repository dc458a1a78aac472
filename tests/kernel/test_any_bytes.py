"""Names of any bytes, of processes, cgroups and sockets: exact in every format and read back; harmless on screens."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callout import text_to_bytes
from callout.capture.cgroups import hierarchy
from callout.schema import flatten

from .watch import CALLOUT, PATIENCE, finish, traced

pytestmark = pytest.mark.kernel

ODD = b"\xff\xc3\xa9 \x1b[31m\\xff" + "\uefff".encode() + b"\xc3"
NAME = b"\xfe\x1b]0;x\x07\xc3"
LATIN = b"caf\xe9"
CALLER = """
import ctypes, os, socket, sys
place, group, name, *_ = map(os.fsencode, sys.argv[1:])
open(os.path.join(group, b"cgroup.procs"), "w").write("0")
os.chdir(place)
ctypes.CDLL(None).prctl(15, name)
for path in (place[-20:], b"\\0\\xff\\0a\\n" + name, b"@\\xff"):
    socket.socket(socket.AF_UNIX).connect_ex(path)
"""


@pytest.fixture
def group() -> Iterator[bytes]:
    """A cgroup whose name is no text (kernfs refuses only newlines and slashes)."""
    root = hierarchy()
    if root is None:
        pytest.skip("no cgroup v2 is mounted")
    path = os.fsencode(root) + b"/callout-" + str(os.getpid()).encode() + ODD
    os.mkdir(path)
    yield path
    os.rmdir(path)


def shown(path: Path, format_: str) -> list[dict[str, Any]]:
    """The text of the rows of a file, as other programs read it."""
    if format_ == "ndjson":
        return [flatten(json.loads(line)) for line in path.read_bytes().splitlines()]
    pyarrow = pytest.importorskip("pyarrow")
    parts = importlib.import_module("pyarrow.parquet"), importlib.import_module("pyarrow.ipc")
    table = (
        parts[0].read_table(path)
        if format_ == "parquet"
        else parts[1].open_stream(path.read_bytes()).read_all()
    )
    times = [f.name for f in table.schema if pyarrow.types.is_timestamp(f.type)]
    return list(table.drop_columns(times).to_pylist())  # Python has no nanoseconds


def exact(rows: list[dict[str, Any]], place: bytes, group: bytes) -> None:
    """What each row has to say, by its bytes."""
    assert [text_to_bytes(row["destination.address"]) for row in rows] == [
        place[-20:],
        b"@\xff\0a\n" + NAME,
        b"./@\xff",
    ]
    for row in rows:
        args = (
            row["process.args"] if isinstance(row["process.args"], list) else json.loads(row["process.args"])
        )
        assert text_to_bytes(row["process.name"]) == NAME
        assert text_to_bytes(row["process.working_directory"]) == place
        assert [text_to_bytes(text) for text in args[3:]] == [place, group, NAME, LATIN, b""]
        assert text_to_bytes(row["process.command_line"]).endswith(
            b" ".join([place, group, NAME, LATIN, b""])
        )
        assert text_to_bytes(row["connect.cgroup"]) == b"/" + os.path.basename(group)
        for text in (row["process.command_line"], row["destination.address"]):
            text.encode("utf-8", "strict")


@pytest.mark.parametrize("format_", ["ndjson", "arrow", "parquet"])
def test_exact_in_every_format_and_read_back(tmp_path: Path, group: bytes, format_: str) -> None:
    place = os.fsencode(tmp_path) + b"/" + ODD
    os.mkdir(place)
    written = tmp_path / "rows"
    words = [place, group, NAME, LATIN, b""]
    wanted = r'process.args intersects ("caf\xe9")'
    with traced(tmp_path, "-o", format_, "-w", str(written), wanted) as tracer:
        subprocess.run([sys.executable, "-c", CALLER, *words], timeout=PATIENCE, check=True)
        finish(tracer)
    rows = shown(written, format_)
    exact(rows, place, group)
    for again in ("ndjson", "arrow", "parquet"):
        copy = tmp_path / again
        command = [*CALLOUT, "trace", "--from", str(written), "-o", again, "-w", str(copy), wanted]
        subprocess.run(command, timeout=PATIENCE * 2, check=True)
        exact(shown(copy, again), place, group)
    for screen in ("table", "strace"):
        command = [*CALLOUT, "trace", "--all", "--from", str(written), "-o", screen]
        done = subprocess.run(command, timeout=PATIENCE * 2, check=True, capture_output=True)
        assert all(line.isprintable() for line in done.stdout.decode("utf-8", "strict").splitlines())
