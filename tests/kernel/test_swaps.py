"""Sockaddr swaps (TOCTOU): a hostile thread changes the address while the kernel copies it, by every way in.

The truth is the racer's: what the socket's peer is then (getpeername), or where the datagram arrived. What a row says
was read at entry is its sockaddr. They differ exactly where connect.swapped says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from callout.capture.kernel import KernelSource
from callout.narrowing import Narrowing

from .watch import PATIENCE, Watch

pytestmark = pytest.mark.kernel
RACES = int(os.environ.get("CALLOUT_RACES", "100000"))
ROUND = 5000  # as many as the ring holds for certain: the racer goes on when their rows have come
SOURCE = Path(__file__).with_name("racer.c")
FEWER = 25  # how many times fewer races the other ways run
WAYS = (
    "connect_tcp", "connect_ia32", "socketcall", "io_uring", "io_uring_tcp", "sendto", "sendmsg", "sendmmsg",
    "sendto_fastopen", "sendmsg_fastopen",
)  # fmt: skip


@pytest.fixture(scope="module")
def racer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    if os.cpu_count() == 1:
        pytest.skip("a race needs two processors")
    program = tmp_path_factory.mktemp("racer") / "racer"
    subprocess.run(["gcc", "-O1", "-no-pie", "-pthread", "-o", str(program), str(SOURCE)], check=True)
    return program


def swaps_of(racer: Path, way: str, races: int) -> int:
    """One run: every row is checked against the truth; returns how many addresses were swapped."""
    also = ("ia32",) if way in ("connect_ia32", "socketcall") else ("sends",) if "send" in way else ()
    with (
        subprocess.Popen(
            ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
             racer, way, str(races), str(min(ROUND, races))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process,
        KernelSource(Narrowing(pids=frozenset({process.pid})), urgent=True, also=also) as source,
    ):  # fmt: skip
        assert process.stdin
        assert process.stdout
        watch = Watch(source)
        for done in range(0, races, ROUND):
            process.stdin.write(b"\n")
            process.stdin.flush()
            rows = watch.rows(min(done + ROUND, races))
        truth = process.stdout.read()
        assert process.wait(PATIENCE) == 0
    assert len(rows) == len(truth) == races
    swaps = 0
    for row, used in zip(rows, truth, strict=True):
        assert row["connect.entry"] == way.removesuffix("_tcp")
        assert row["destination.ip"] == f"127.0.0.{used}"
        differs = f'"127.0.0.{used}"' not in row["connect.sockaddr"]
        assert ("connect.swapped" in row) == differs, row
        assert "connect.rewritten_from" not in row
        if differs:
            swaps += 1
            assert row["connect.swapped"]["entry"] == row["connect.sockaddr"]
            assert f"127.0.0.{used}" in row["connect.swapped"]["used"]
    return swaps


def test_every_swap_is_flagged_and_none_falsely(racer: Path) -> None:
    # on a busy machine the two threads may hardly ever run at the same time: then another run
    assert any(swaps_of(racer, "connect", RACES) for _ in range(20)), (
        "no race was ever lost: the test shows nothing"
    )


@pytest.mark.parametrize("way", WAYS)
def test_every_other_way(racer: Path, way: str) -> None:
    assert any(swaps_of(racer, way, max(RACES // FEWER, 1)) for _ in range(20)), (
        "no race was ever lost: the test shows nothing"
    )
