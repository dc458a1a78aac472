"""The end of a trace: calls that are still blocked have a row too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .watch import PATIENCE, finish, traced

pytestmark = pytest.mark.kernel

BLOCKED = """
import socket, sys, threading
sys.stdin.readline()
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(0)
def connect():
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
kept = socket.socket(socket.AF_UNIX); kept.connect(sys.argv[1])
for _ in range(2):
    threading.Thread(target=connect, daemon=True).start()
print("ready", flush=True); sys.stdin.readline()
"""


def test_blocked_calls_are_pending_rows(tmp_path: Path) -> None:
    actor = subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(tmp_path / "socket")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert actor.stdin
    assert actor.stdout
    summary = tmp_path / "summary"
    try:
        with traced(
            tmp_path, "-o", "ndjson", "-p", str(actor.pid), "--phases", "--summary", str(summary)
        ) as tracer:
            actor.stdin.write(b"\n")
            actor.stdin.flush()
            assert actor.stdout.readline() == b"ready\n"
            assert tracer.stdout
            begun: list[dict[str, Any]] = []
            while len(begun) < 4:  # three attempts, and the verdict of the first
                begun.append(json.loads(tracer.stdout.readline()))
            rows, _ = finish(tracer)
    finally:
        actor.send_signal(signal.SIGKILL)
        actor.communicate(timeout=PATIENCE)
    assert [(r["connect"]["verdict"], r["destination"]["address"]) for r in rows] == [
        ("pending", str(tmp_path / "socket"))
    ] * 2
    totals = json.loads(summary.read_text())
    assert (totals["attempts"], totals["lost"]) == (3, 0)
