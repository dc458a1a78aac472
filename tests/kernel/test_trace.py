"""`callout trace` as a user runs it: narrowings, formats, limits, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from callout.cli import main, trace
from callout.pipeline import Stop

from .watch import CALLOUT, PATIENCE, finish, go, python, run, traced

pytestmark = pytest.mark.kernel

MIX = """
import socket
def attempt(family, kind, address):
    with socket.socket(family, kind) as s:
        s.connect_ex(address)
server = socket.create_server(("127.0.0.1", 0))
attempt(socket.AF_INET, socket.SOCK_STREAM, server.getsockname())
attempt(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9))
attempt(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 53))
attempt(socket.AF_UNIX, socket.SOCK_STREAM, "/no/such/path")
"""


def peers(rows: list[dict[str, Any]]) -> list[str]:
    """What the mix connected to, the listener's own port left out."""
    told = []
    for row in rows:
        peer = row["destination"]
        port = peer.get("port")
        told.append(peer.get("address") or f"{peer['ip']}:{port if port in (9, 53) else '*'}")
    return told


ALL = ["127.0.0.1:*", "127.0.0.1:9", "::1:53", "/no/such/path"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ALL),
        (["-4"], ALL[:2]),
        (["-6"], ALL[2:3]),
        (["-P", "9,53"], ALL[1:3]),
        (["-Z"], ALL[3:]),
        (["-z"], ALL[:3]),
        (["-u", "0"], ALL),
        (["-u", "65534"], []),
        (["--comm", "no-such-name"], []),
        (["--count", "2"], ALL[:2]),
        (["connect.family", "=", "AF_UNIX"], ALL[3:]),
        (["destination.port in (9, 53) and not network.type = ipv6"], ALL[1:2]),
        (["fd.sport = 53"], ALL[2:3]),
        (["process.pid = 1 and process.pid = 2"], []),
    ],
    ids=" ".join,
)
def test_narrowings(tmp_path: Path, options: list[str], expected: list[str]) -> None:
    actor = python(MIX)
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid), *options) as tracer:
        assert go(actor) == 0
        rows, _ = finish(tracer)
    assert peers(rows) == expected


def test_comm_and_cgroup(tmp_path: Path) -> None:
    hierarchy = next(
        (line.split()[1] for line in open_text("/proc/self/mounts") if " cgroup2 " in line), None
    )
    if hierarchy is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    group = Path(hierarchy) / f"callout-test-{os.getpid()}"
    inner = group / "inner"
    inner.mkdir(parents=True)
    inside, outside = python(MIX), python(MIX)
    try:
        (inner / "cgroup.procs").write_text(str(inside.pid))
        with traced(tmp_path, "-o", "ndjson", "--cgroup", group.name) as tracer:
            assert (go(outside), go(inside)) == (0, 0)
            rows, _ = finish(tracer)
    finally:
        inner.rmdir()
        group.rmdir()
    assert peers(rows) == ALL
    assert {row["process"]["pid"] for row in rows} == {inside.pid}


def open_text(path: str) -> list[str]:
    """The lines of a file."""
    return Path(path).read_text().splitlines()


def test_phases(tmp_path: Path) -> None:
    actor = python(MIX)
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid), "--phases", "-P", "9") as tracer:
        assert go(actor) == 0
        rows, _ = finish(tracer)
    assert [row["event"]["action"] for row in rows] == ["attempt", "connect"]
    assert rows[0]["connect"]["id"] == rows[1]["connect"]["id"]
    assert "verdict" not in rows[0]["connect"]
    assert "return" not in rows[0]["connect"]
    assert rows[1]["connect"]["verdict"] == "associated"


@pytest.mark.parametrize("name", ["rows.ndjson", "rows.arrow", "rows.parquet"])
def test_files_come_back_whole(tmp_path: Path, name: str) -> None:
    actor = python(MIX)
    file = tmp_path / name
    with traced(tmp_path, "-w", str(file), "-p", str(actor.pid)) as tracer:
        assert go(actor) == 0
        assert finish(tracer)[0] == []
    back = run(["trace", "--from", str(file), "-o", "ndjson"])
    assert (back.returncode, peers([json.loads(line) for line in back.stdout.splitlines()])) == (0, ALL)
    narrowed = run(["trace", "--from", str(file), "-o", "ndjson", "-P", "53"])
    assert peers([json.loads(line) for line in narrowed.stdout.splitlines()]) == ["::1:53"]


def test_table_and_strace(tmp_path: Path) -> None:
    actor = python(MIX)
    with traced(tmp_path, "-o", "strace", "-p", str(actor.pid), "-P", "9") as tracer:
        assert go(actor) == 0
        tracer.send_signal(signal.SIGTERM)
        out, _ = tracer.communicate(timeout=PATIENCE)
    address = '{sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}'
    assert "connect(" in out.decode()
    assert f", {address}, 16) = 0 <" in out.decode()
    assert out.decode().count("\n") == 1


def test_pending_at_the_end_is_reported(tmp_path: Path) -> None:
    """A non-blocking attempt that nobody answers has no verdict when the trace ends."""
    code = """
import os, socket, subprocess, sys
sys.stdout.flush()
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; "
                "add rule inet t o tcp dport 7 drop"], check=True)
s = socket.socket(); s.setblocking(False); s.connect_ex(("127.0.0.1", 7))
print("made", flush=True); sys.stdin.readline()
"""
    actor = subprocess.Popen(
        ["unshare", "-n", *python_command(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert actor.stdin
    assert actor.stdout
    try:
        with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid)) as tracer:
            actor.stdin.write(b"\n")
            actor.stdin.flush()
            assert actor.stdout.readline() == b"made\n"
            rows, _ = finish(tracer)
    finally:
        actor.communicate(b"\n", timeout=PATIENCE)
    assert [(r["connect"]["verdict"], r["event"]["outcome"], r["connect"]["return"]) for r in rows] == [
        ("pending", "unknown", -115)
    ]
    assert "duration" not in rows[0]["event"]


def python_command(code: str) -> list[str]:
    """The command of ``watch.python``."""
    process = python("")
    process.communicate(b"\n")
    arguments = process.args
    assert isinstance(arguments, list)
    return [*map(str, arguments[:-1]), str(arguments[-1]) + code]


def test_rows_come_while_it_runs(tmp_path: Path) -> None:
    actor = python(MIX)
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid)) as tracer:
        assert go(actor) == 0
        assert tracer.stdout
        first = json.loads(tracer.stdout.readline())
        assert tracer.poll() is None
    assert first["connect"]["verdict"] == "established"


def held(process: subprocess.Popen[bytes]) -> set[int]:
    """Ids of the programs that a process has descriptors of (proc_pid_fdinfo(5))."""
    told = [path.read_text() for path in Path(f"/proc/{process.pid}/fdinfo").iterdir()]
    return {int(number) for text in told for number in re.findall(r"^prog_id:\s*(\d+)$", text, re.MULTILINE)}


def gone(programs: set[int]) -> None:
    """Waits until the kernel has freed them: some time after their last descriptor."""
    end = time.monotonic() + PATIENCE
    left = programs
    while left:
        assert time.monotonic() < end, left
        listed = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, check=True).stdout
        left = programs & {program["id"] for program in json.loads(listed)}


def test_kill_leaves_nothing_attached(tmp_path: Path) -> None:
    with traced(tmp_path, "-o", "ndjson") as tracer:
        programs = held(tracer)
        assert programs
        tracer.kill()
        tracer.wait()
    gone(programs)


def test_two_tracers_side_by_side(tmp_path: Path) -> None:
    actor = python(MIX)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        traced(tmp_path / "a", "-o", "ndjson", "-p", str(actor.pid)) as one,
        traced(tmp_path / "b", "-o", "ndjson", "-p", str(actor.pid)) as two,
    ):
        assert go(actor) == 0
        first, second = finish(one)[0], finish(two)[0]
    assert peers(first) == peers(second) == ALL


def test_attempts_are_rows_and_losses(tmp_path: Path) -> None:
    """A flood against a reader that is stopped: what does not fit is counted, marked and told."""
    count = 100_000  # the ring holds about 50,000
    code = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range({count}):
    s.connect(("127.0.0.1", 9))
sys.stdout.write("flooded\\n"); sys.stdout.flush(); sys.stdin.readline()
s.connect(("127.0.0.1", 53))
"""
    actor = python(code, stdout=subprocess.PIPE)
    assert actor.stdin
    assert actor.stdout
    summary = tmp_path / "summary"
    file = tmp_path / "rows.arrow"
    with traced(tmp_path, "-w", str(file), "-p", str(actor.pid), "--summary", str(summary)) as tracer:
        tracer.send_signal(signal.SIGSTOP)
        actor.stdin.write(b"\n")
        actor.stdin.flush()
        assert actor.stdout.readline() == b"flooded\n"
        tracer.send_signal(signal.SIGCONT)
        end = time.monotonic() + PATIENCE
        while file.stat().st_size < 100_000:
            assert time.monotonic() < end
        assert go(actor) == 0
        _, said = finish(tracer)
    totals = json.loads(summary.read_text())
    assert totals["attempts"] == count + 1
    assert totals["lost"] > 0
    assert totals["rows"] + totals["lost"] == totals["attempts"]
    assert f"{totals['lost']:,}" in said or str(totals["lost"]) in said
    rows = run(["trace", "--from", str(file), "-o", "ndjson", "connect.lost_before > 0"]).stdout.splitlines()
    assert sum(json.loads(row)["connect"]["lost_before"] for row in rows) == totals["lost"]


def test_without_privileges(tmp_path: Path) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    told = subprocess.run([*nobody, *CALLOUT, "trace"], capture_output=True, text=True, check=False)
    assert told.returncode == 3
    assert told.stdout == ""
    assert told.stderr == (
        "callout: tracing this host needs CAP_BPF and CAP_PERFMON and CAP_NET_ADMIN\n"
        "  run it as root: sudo callout ...; in a service, grant them with AmbientCapabilities=\n"
    )


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    actor = python(MIX)
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid)) as tracer:
        assert tracer.stdout
        tracer.stdout.close()
        assert go(actor) == 0
        assert tracer.wait(PATIENCE) == 0
        assert tracer.stderr
        assert "Traceback" not in tracer.stderr.read().decode()


def test_demo_explains_and_ends() -> None:
    told = run(["trace", "--demo", "-o", "table"])
    assert told.returncode == 0, told.stderr
    for word in (
        "established",
        "refused",
        "timed_out",
        "unreachable",
        "firewall",
        "associated",
        "bad_descriptor",
    ):
        assert word in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 80


def test_library() -> None:
    import callout
    from callout.narrowing import Narrowing

    narrowing = Narrowing(pids=frozenset({os.getpid()}))
    with (
        callout.trace("destination.port = 9", seconds=PATIENCE, narrowing=narrowing) as attempts,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.connect(("127.0.0.1", 9))
        client.connect(("127.0.0.1", 53))
        rows = []
        for batch in attempts:
            rows += list(batch.rows())
            attempts.stop()
    assert [row["destination.port"] for row in rows] == [9]
    # the kernel side compares the port asked for, a filter the one used: so it lets both through
    assert (attempts.summary.attempts, attempts.summary.rows, attempts.summary.hidden) == (2, 1, 1)
    assert attempts.summary.seconds > 0


def balanced(path: Path) -> dict[str, Any]:
    """The totals of a run that has ended, none of its attempts missing."""
    totals: dict[str, Any] = json.loads(path.read_text())
    gone = totals["withheld"] + totals["lost"] + totals["extra"].get("orphaned", 0)
    assert totals["attempts"] == totals["rows"] - totals["late"] + totals["hidden"] + gone, totals
    return totals


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (["--count", "2"], 2),
        (["--count", "2", "event.outcome = success"], 2),
        (["-Z", "--count", "1"], 1),
        (["destination.port = 53"], 1),
    ],
)
def test_no_attempt_is_missing_from_the_totals(tmp_path: Path, options: list[str], rows: int) -> None:
    actor = python(MIX)
    summary = tmp_path / "summary"
    with traced(
        tmp_path, "-o", "ndjson", "-p", str(actor.pid), "--summary", str(summary), *options
    ) as tracer:
        assert go(actor) == 0
        assert len(finish(tracer)[0]) == rows
    assert balanced(summary)["rows"] == rows


def test_late_rows_are_no_attempts(tmp_path: Path) -> None:
    """Nobody listens on the port; the error comes with the datagram, after the attempt was told."""
    actor = python(
        "import socket\nheld = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nheld.bind(('127.0.0.1', 0))\n"
        "port = held.getsockname()[1]\nheld.close()\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.connect(('127.0.0.1', port))\ns.send(b'')\n"
    )
    summary = tmp_path / "summary"
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid), "--summary", str(summary)) as tracer:
        assert go(actor) == 0
        rows, err = finish(tracer)
    assert [row["connect"]["verdict"] for row in rows] == ["associated", "refused"]
    totals = balanced(summary)
    assert (totals["attempts"], totals["rows"], totals["late"], totals["extra"]) == (1, 2, 1, {})
    assert "of the rows 1 tells what came later of an attempt that had succeeded" in err.splitlines()


def test_a_full_disk(tmp_path: Path) -> None:
    """It ends by itself, the totals are told, and nothing stays attached."""
    actor = python(MIX)
    summary = tmp_path / "summary"
    words = ["-w", "/dev/full", "-o", "ndjson", "-p", str(actor.pid), "--summary", str(summary)]
    with traced(tmp_path, *words) as tracer:
        programs = held(tracer)
        assert programs
        assert go(actor) == 0
        _, err = tracer.communicate(timeout=PATIENCE)
    assert tracer.returncode == 1
    assert err.decode().splitlines()[-1] == "callout: cannot write /dev/full: No space left on device"
    totals = balanced(summary)
    assert (totals["rows"], totals["lost"]) == (0, totals["attempts"])
    gone(programs)


def test_a_second_interrupt_while_nobody_reads(tmp_path: Path) -> None:
    """The first one lets it finish, which it cannot: its pipe is full."""
    actor = python(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for _ in range(2000): s.connect(('127.0.0.1', 9))\n"
    )
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid)) as tracer:
        programs = held(tracer)
        assert programs
        assert go(actor) == 0
        end = time.monotonic() + PATIENCE
        while tracer.poll() is None:
            assert time.monotonic() < end
            tracer.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                tracer.wait(0.1)
        assert tracer.stderr
        assert (tracer.returncode, tracer.stderr.read()) == (130, b"")
    gone(programs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    actor = python(MIX)
    with traced(tmp_path, "-o", "ndjson", "-p", str(actor.pid)) as tracer:
        assert go(actor) == 0
        tracer.send_signal(number)
        out, _ = tracer.communicate(timeout=PATIENCE)
    assert (tracer.returncode, peers([json.loads(line) for line in out.splitlines()])) == (0, ALL)


@pytest.mark.parametrize("option", ["--summary", "--ready-file"])
def test_places_are_checked_before_anything_starts(tmp_path: Path, option: str) -> None:
    path, rows = tmp_path / "none" / "x", tmp_path / "rows"
    told = run(["trace", "-w", str(rows), option, str(path)])
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines()[0] == f"callout: cannot write {path}: No such file or directory"
    assert not rows.exists()


@pytest.mark.usefixtures("handlers")
def test_the_demonstration_begins_when_the_ready_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, seen = tmp_path / "ready", []

    def demonstration(stack: ExitStack, stop: Stop) -> Callable[[], None]:
        seen.append(ready.exists())  # an old one is gone by now
        stop.requested = True
        return lambda: seen.append(ready.exists())

    ready.touch()
    monkeypatch.setattr(trace, "demonstration", demonstration)
    words = ["trace", "--demo", "--ready-file", str(ready), "-w", str(tmp_path / "rows")]
    assert main(words) == 0
    assert seen == [False, True]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of signals back, which a run in this process sets."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
