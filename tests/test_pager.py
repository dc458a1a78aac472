"""Long pages go through the user's pager, on a terminal only; nothing else changes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
from pathlib import Path

import pytest

PATIENCE = 60.0


def shown(words: list[str], rows: int, environment: dict[str, str], keyboard: bool = True) -> str:
    """What `callout explain` shows on a terminal of so many rows."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (rows, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "callout", "explain", *words],
        stdin=follower if keyboard else subprocess.DEVNULL, stdout=follower, stderr=follower,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", **environment},
    )  # fmt: skip
    os.close(follower)
    parts = []
    try:
        while select.select([leader], [], [], PATIENCE)[0]:
            try:
                parts.append(os.read(leader, 1 << 16))
            except OSError:  # EIO: nobody has the other end any more (pty(7))
                break
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        os.close(leader)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """A pager that numbers the lines and says so."""
    script = tmp_path / "numbering"
    script.write_text("#!/bin/sh\necho paged\nexec cat -n\n")
    script.chmod(0o755)
    return str(script)


def test_long_text_goes_through_the_pager(pager: str) -> None:
    text = shown(["ECONNREFUSED"], 24, {"PAGER": f"{pager} --as-words"})
    assert text.startswith("paged\n     1\tECONNREFUSED · an error\n")


def test_what_fits_does_not(pager: str) -> None:
    assert shown(["seqpacket"], 100, {"PAGER": pager}).startswith("connect(2) on seqpacket sockets")


def test_nor_where_nobody_can_turn_pages(pager: str) -> None:
    assert shown(["ECONNREFUSED"], 24, {"PAGER": pager}, keyboard=False).startswith(
        "ECONNREFUSED · an error\n"
    )


@pytest.mark.parametrize("none", ["", "cat", "/no/such/pager"])
def test_without_a_pager_it_is_printed(none: str) -> None:
    assert shown(["ECONNREFUSED"], 24, {"PAGER": none}).startswith("ECONNREFUSED · an error\n")


def test_in_a_pipe_it_is_printed(pager: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callout", "explain", "ECONNREFUSED"],
        env={**os.environ, "PAGER": pager}, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("ECONNREFUSED · an error\n")


def test_a_reader_who_has_enough_is_no_error() -> None:
    assert "paged" not in shown(["ECONNREFUSED"], 24, {"PAGER": "head -n 1"})
