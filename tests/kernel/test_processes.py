"""Who made an attempt: processes that live a moment, pids that are used again, names of any bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import callout
from callout.btf import STRUCT, Btf

from .watch import CALLOUT, PATIENCE, finish, traced

pytestmark = pytest.mark.kernel

SOURCE = Path(__file__).with_name("burst.c")
# how many; the whole number takes a minute on two busy cores
COUNT = int(os.environ.get("CALLOUT_TEST_PROCESSES", "10000"))
PID_MAX = 400  # of a namespace; those below 300 (RESERVED_PIDS, kernel/pid.c) are not used again
REUSED = 64  # pids that are used over and over


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The helper, compiled; static, so that it runs in any root."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("burst") / "burst"
    subprocess.run([compiler, "-O1", "-static", "-o", str(made), str(SOURCE)], check=True)
    return made


@pytest.fixture
def port() -> Iterator[int]:
    """A UDP port that only this test uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def run(path: Path, port: int, command: list[str], *options: str) -> tuple[list[dict[str, Any]], str, str]:
    """Rows of the attempts to ``port`` while a command ran, what the tracer said, and what the command said."""
    recorded = path / "rows.ndjson"  # a pipe that nobody reads meanwhile would hold the tracer up
    with traced(path, "-o", "ndjson", "-w", str(recorded), *options, f"destination.port = {port}") as tracer:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 30, check=True)
        _, said = finish(tracer)
    return [json.loads(line) for line in recorded.read_bytes().splitlines()], said, done.stdout


def compare(rows: list[dict[str, Any]], said: str, truth: str, burst: Path, port: int, inner: bool) -> None:
    """Each attempt has one row, and it says who made it. ``inner``: the truth has pids of another namespace."""
    expected = dict(line.split() for line in truth.splitlines())
    assert "lost" not in said
    assert "not noted" not in said
    found = {}
    for row in rows:
        process = row["process"]
        assert process.get("executable") == str(burst), process
        argv0, to, number = process["args"]
        assert (argv0, to) == ("odd one" if int(number) % 2 else "even", str(port))
        assert process["command_line"] == f"{argv0} {to} {number}"
        assert process["parent"]["executable"] == str(burst)
        found[number] = str(process["pid"])
    assert len(rows) == len(expected)
    assert found.keys() == expected.keys()
    if not inner:
        assert found == expected


def test_processes_that_live_a_moment(tmp_path: Path, burst: Path, port: int) -> None:
    """Eight at a time, each forks, execs, connects and exits at once."""
    rows, said, truth = run(tmp_path, port, [str(burst), str(port), str(COUNT), "8", "0"])
    compare(rows, said, truth, burst, port, inner=False)


def test_pids_that_are_used_again(tmp_path: Path, burst: Path, port: int) -> None:
    """In a pid namespace whose few pids wrap around all the time."""
    count = COUNT // 5
    command = [str(burst), str(port), str(count), "8", "0", str(REUSED)]
    rows, said, truth = run(tmp_path, port, ["unshare", "--pid", "--fork", *command])
    compare(rows, said, truth, burst, port, inner=True)
    assert len({line.split()[1] for line in truth.splitlines()}) <= REUSED
    assert len({row["process"]["entity_id"] for row in rows}) == count


def pid_max_of_its_own() -> bool:
    """Whether a pid namespace has its own pid_max (Linux 6.14): elsewhere to write it would change the host's."""
    try:
        running = Btf(Path("/sys/kernel/btf/vmlinux").read_bytes())
    except FileNotFoundError:
        return False
    (found,) = (t for t in running.types if t.kind == STRUCT and t.name == "pid_namespace")
    return "pid_max" in {running._string(label) for label, _, _ in struct.iter_unpack("<III", found.data)}


def test_pids_that_wrap_around(tmp_path: Path, burst: Path, port: int) -> None:
    """In a pid namespace with the smallest pid_max that leaves room: the kernel itself begins again every 100 pids."""
    if not pid_max_of_its_own():
        pytest.skip("pid_max is the host's: no namespace has its own before Linux 6.14")
    count = COUNT // 3
    script = f'echo {PID_MAX} >/proc/sys/kernel/pid_max && exec "$@"'
    command = ["sh", "-c", script, "sh", str(burst), str(port), str(count), "8", "0"]
    rows, said, truth = run(tmp_path, port, ["unshare", "--pid", "--fork", *command])
    compare(rows, said, truth, burst, port, inner=True)
    pids = [int(line.split()[1]) for line in truth.splitlines()]
    assert max(pids) < PID_MAX
    assert sum(later < earlier for earlier, later in itertools.pairwise(pids)) >= count // PID_MAX
    assert len({row["process"]["entity_id"] for row in rows}) == count


def test_the_same_pid_again(tmp_path: Path, burst: Path, port: int) -> None:
    """A pid of this very namespace used by one process after the other: rows are told apart by their start."""
    script = f"""
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
probe = os.fork()
if not probe:
    os._exit(0)
os.waitpid(probe, 0)
wanted = ctypes.c_int(probe)
for number in range(20):
    args = struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    child = libc.syscall(435, args, len(args))
    if not child:
        os.execv({str(burst)!r}, ["even", "{port}", str(number)])
    if child < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    os.waitpid(child, 0)
print(probe)
"""
    rows, _, said = run(tmp_path, port, [sys.executable, "-c", script])
    assert {str(row["process"]["pid"]) for row in rows} == {said.strip()}
    assert [row["process"]["args"][2] for row in rows] == [str(number) for number in range(20)]
    assert len({row["process"]["entity_id"] for row in rows}) == 20


def test_what_runs_at_the_time_of_the_attempt(tmp_path: Path, burst: Path, port: int) -> None:
    """One process that connects, execs and connects again has two executables; its fork has its own."""
    script = f"""
import os, socket
def call(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", {port}))
call()
if not os.fork():
    os.chdir("/")
    call()
    os._exit(0)
os.wait()
os.chdir("/usr")
os.execv({str(burst)!r}, ["then", "{port}", "x"])
"""
    rows, _, _ = run(tmp_path, port, [sys.executable, "-c", script])
    python = os.path.realpath(sys.executable)
    first, child, then = (row["process"] for row in rows)
    assert [p["executable"] for p in (first, child, then)] == [python, python, str(burst)]
    assert first["entity_id"] == then["entity_id"] != child["entity_id"]
    assert (then["args"], then["working_directory"]) == (["then", str(port), "x"], "/usr")
    assert child["ancestors"][0] == {"pid": first["pid"], "name": first["name"], "executable": python}
    assert first["ancestors"][0]["pid"] == os.getpid()


def test_any_bytes_come_back(tmp_path: Path, burst: Path, port: int) -> None:
    """Names that are no text: exact in NDJSON."""
    odd = b"n\xffme \x1b[31m\n"
    place = os.fsencode(tmp_path) + b"/" + odd
    os.mkdir(place)
    executable = place + b"/b\xc3\xa4\xfe"
    shutil.copy(os.fsencode(burst), executable)
    arguments = [b"\xff\xfe\x1b]0;x\x07", str(port).encode(), b"\xe2\x82\xac \x80"]
    script = (
        "import os, sys; a = [os.fsencode(x) for x in sys.argv[1:]]; os.chdir(a[1]); os.execv(a[0], a[2:])"
    )
    command: list[str | bytes] = [sys.executable, "-c", script, executable, place, *arguments]
    with traced(tmp_path, "-o", "ndjson", f"destination.port = {port}") as tracer:
        subprocess.run(command, timeout=PATIENCE, check=True)
        (row,), _ = finish(tracer)
    process = row["process"]
    assert [callout.text_to_bytes(text) for text in process["args"]] == arguments
    assert callout.text_to_bytes(process["executable"]) == executable
    assert callout.text_to_bytes(process["working_directory"]) == place
    assert callout.text_to_bytes(process["name"]) == (b"b\xc3\xa4\xfe")
    recorded = tmp_path / "rows"
    recorded.write_text(json.dumps(row) + "\n")
    again = subprocess.run(
        [*CALLOUT, "trace", "--from", str(recorded), "-o", "ndjson"], capture_output=True, check=True
    )
    assert json.loads(again.stdout)["process"] == process


def test_a_recording_brings_everything_back(tmp_path: Path, burst: Path, port: int) -> None:
    """Lists and all: what Parquet and Arrow keep is what NDJSON says."""
    pytest.importorskip("pyarrow")
    with traced(tmp_path, "-v", "-o", "arrow", f"destination.port = {port}") as tracer:
        # in a session of its own: whatever runs the tests may never have called setsid(2), its session is 0
        subprocess.run([str(burst), str(port), "7"], timeout=PATIENCE, check=True, start_new_session=True)
        tracer.send_signal(2)
        arrow = tracer.communicate(timeout=PATIENCE)[0]
    recorded = tmp_path / "rows"
    recorded.write_bytes(arrow)

    def read(*options: str) -> list[dict[str, Any]]:
        done = subprocess.run([*CALLOUT, "trace", *options], capture_output=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    parquet = tmp_path / "rows.parquet"
    (row,) = read("--from", str(recorded), "-o", "ndjson")
    read("--from", str(recorded), "-o", "parquet", "-w", str(parquet))
    assert read("--from", str(parquet), "-o", "ndjson") == [row]
    process, connect = row["process"], row["connect"]
    assert process["args"] == [str(burst), str(port), "7"]
    assert process["ancestors"][0]["pid"] == os.getpid()
    assert process["session_leader"]["pid"] == process["pid"]
    assert connect["executable"]["inode"] == burst.stat().st_ino
    for kind in ("net", "pid", "mnt", "user"):
        assert connect["namespace"][kind] == os.stat(f"/proc/self/ns/{kind}").st_ino
    effective = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line).split()[
            1
        ],
        16,
    )
    named = process["thread"].get("capabilities", {}).get("effective", [])
    assert len(named) == effective.bit_count()
    assert ("CAP_NET_ADMIN" in named) == bool(effective >> 12 & 1)


def test_executables_without_a_name(tmp_path: Path, burst: Path, port: int) -> None:
    """Removed before it calls out, and never in a directory at all."""
    gone = tmp_path / "gone"
    shutil.copy(burst, gone)
    script = f"""
import os
place = os.memfd_create("hidden")
os.write(place, open({str(burst)!r}, "rb").read())
for path, name in (({str(gone)!r}, "deleted"), (f"/proc/self/fd/{{place}}", "memfd")):
    file = os.open(path, os.O_RDONLY)
    if name == "deleted": os.unlink(path)
    if not os.fork():
        os.execve(file, [name, "{port}", "1"], {{}})
    os.wait()
"""
    rows, _, _ = run(tmp_path, port, [sys.executable, "-c", script])
    deleted, memfd = rows
    assert deleted["process"]["executable"] == str(gone)
    assert deleted["connect"]["executable"] == {"deleted": True}
    assert memfd["process"]["executable"] == "/memfd:hidden"
    assert memfd["connect"]["executable"]["memfd"] is True


def test_arguments_that_do_not_fit_are_marked(tmp_path: Path, burst: Path, port: int) -> None:
    script = f'import os; os.execv({str(burst)!r}, ["x" * 5000, "{port}", "1"])'
    (row,), _, _ = run(tmp_path, port, [sys.executable, "-c", script])
    assert row["process"]["args"] == ["x" * 4096]
    assert row["connect"]["args_cut"] is True


def test_hashes_on_request(tmp_path: Path, burst: Path, port: int) -> None:
    """Of files that nobody runs any more when they are read, too; a row that could not wait has none."""
    digest = hashlib.sha256(burst.read_bytes()).hexdigest()
    end = time.monotonic() + PATIENCE
    with traced(tmp_path, "-o", "ndjson", "--hash", f"destination.port = {port}") as tracer:
        assert tracer.stdout
        shown = set()
        while digest not in shown:
            assert time.monotonic() < end
            subprocess.run([str(burst), str(port), "7"], timeout=PATIENCE, check=True)
            row = json.loads(tracer.stdout.readline())
            shown.add(row["process"].get("hash", {}).get("sha256"))
        assert shown <= {digest, None}


def test_filters_on_all_of_it(tmp_path: Path, burst: Path, port: int) -> None:
    command = ["sh", "-c", 'read go; exec "$@"', "sh", str(burst), str(port), "8", "2", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as leader:
        wanted = (
            f'proc.exepath = "{burst}" and proc.cmdline contains "odd one" and proc.pname = burst '
            f'and proc.aname[2] startswith p and proc.sid = {leader.pid} and user.name = "{_me()}" and '
            "proc.is_exe_from_memfd = false and process.args intersects (3, 5, 6)"
        )
        with traced(tmp_path, "-o", "ndjson", wanted) as tracer:
            leader.communicate(b"go\n", timeout=PATIENCE)
            assert leader.returncode == 0
            rows, _ = finish(tracer)
    assert sorted(row["process"]["args"][2] for row in rows) == ["3", "5"]


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def test_users_of_another_root(tmp_path: Path, burst: Path, port: int) -> None:
    """The name that the process's own root gives its user, not the host's."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    shutil.copy(burst, root / "burst")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nshipper:x:4711:4711::/:/bin/sh\n")
    (root / "etc/group").write_text("fleet:x:4711:\n")
    script = f"""
import os, sys
os.chroot({str(root)!r})
os.chdir("/")
os.setgid(4711); os.setuid(4711)
os.execv("/burst", ["/burst", "{port}", "4", "1", "0"])
"""
    rows, _, _ = run(tmp_path, port, [sys.executable, "-c", script])
    assert [row["process"]["executable"] for row in rows] == ["/burst"] * 4
    assert {(row["user"]["id"], row["user"].get("name"), row["group"].get("name")) for row in rows} <= {
        (4711, "shipper", "fleet"),
        (4711, None, None),
    }


def test_a_file_system_that_never_answers_holds_up_nothing(tmp_path: Path, port: int) -> None:
    """The user database and hosts file of a process may stand on one in user space (FUSE) that hangs."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    script = f"""
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
server = os.open("/dev/fuse", os.O_RDWR)  # which nobody reads
options = f"fd={{server}},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"hangs", {os.fsencode(root / "etc")!r}, b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
os.chroot({str(root)!r})
os.chdir("/")
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", {port}))
print("called", flush=True)
sys.stdin.readline()
"""
    command = ["unshare", "--mount", sys.executable, "-c", script]
    with (
        traced(tmp_path, "-o", "ndjson", f"destination.port = {port}") as tracer,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hanging,
    ):
        assert hanging.stdout
        assert hanging.stdout.readline() == b"called\n"
        try:
            (row,), _ = finish(tracer)
        finally:
            hanging.communicate(b"\n", timeout=PATIENCE)
    assert "name" not in row["user"]
    assert row["process"]["pid"] == hanging.pid


def test_directories_at_the_time_of_each_attempt(tmp_path: Path, port: int) -> None:
    """One process that goes from one to the next, between attempts that come in one batch: each row has its own."""
    (tmp_path / "b").mkdir()
    script = f"""
import ctypes, os, socket, threading
def call(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", {port}))
os.chdir({str(tmp_path)!r})
call()
os.chdir("b")
call()
call()
os.rename("../b", "../renamed")
call()
os.rmdir("../renamed")
call()
os.chdir("/")
call()
if not os.fork():
    call()
    os.chdir("/usr")
    call()
    os._exit(0)
os.wait()
def alone():
    assert not ctypes.CDLL(None).unshare(0x200)  # CLONE_FS: a directory of its own
    os.chdir("/etc")
    call()
own = threading.Thread(target=alone)
own.start()
own.join()
call()
"""
    rows, said, _ = run(tmp_path, port, [sys.executable, "-c", script])
    b, renamed = str(tmp_path / "b"), str(tmp_path / "renamed")
    assert [row["process"]["working_directory"] for row in rows] == [
        *(str(tmp_path), b, b, renamed, renamed),
        *("/", "/", "/usr", "/etc", "/"),
    ]
    assert "not noted" not in said


def test_a_shell_that_changed_directory(tmp_path: Path, port: int) -> None:
    """It connects by itself, without an exec, and is gone at once."""
    script = f"cd {tmp_path}; exec 3<>/dev/udp/127.0.0.1/{port}; (cd /usr; exec 3<>/dev/udp/127.0.0.1/{port})"
    rows, _, _ = run(tmp_path, port, ["bash", "-c", script])
    assert [row["process"]["working_directory"] for row in rows] == [str(tmp_path), "/usr"]
    assert len({row["process"]["executable"] for row in rows}) == 1


def test_directories_are_told_from_the_own_root(tmp_path: Path, port: int) -> None:
    """Below another root, outside of it, and on a mount that only this process sees."""
    (tmp_path / "root/inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    script = f"""
import os, socket
def call(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", {port}))
os.chdir({str(tmp_path / "outside")!r})
assert not os.system("mount -t tmpfs own " + os.getcwd())
call()
os.mkdir({str(tmp_path / "outside/deep")!r})
os.chdir({str(tmp_path / "outside/deep")!r})
call()
os.chroot({str(tmp_path / "root")!r})
call()
os.chdir("/inside")
call()
os.chdir("/")
call()
"""
    command = ["unshare", "--mount", sys.executable, "-c", script]
    rows, _, _ = run(tmp_path, port, command)
    outside = str(tmp_path / "outside")
    assert [row["process"]["working_directory"] for row in rows] == [
        *(outside, f"{outside}/deep", f"{outside}/deep", "/inside", "/"),
    ]


def test_very_many_directories(tmp_path: Path, port: int) -> None:
    """More than are remembered, faster than they are read: what was not told is absent, and said; none is wrong."""
    script = f"""
import os, socket
caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(3000):
    os.mkdir(str(number))
    os.chdir(str(number))
    caller.connect(("127.0.0.1", {port}))
    os.chdir("..")
    if number % 2:
        os.rmdir(str(number))  # its memory is used again
caller.connect(("127.0.0.1", {port}))
"""
    (tmp_path / "many").mkdir()
    rows, said, _ = run(tmp_path, port, ["env", f"--chdir={tmp_path / 'many'}", sys.executable, "-c", script])
    expected = [f"{tmp_path / 'many'}/{number}" for number in range(3000)] + [str(tmp_path / "many")]
    told = [row["process"].get("working_directory") for row in rows]
    assert len(told) == len(expected)
    assert all(one in (None, right) for one, right in zip(told, expected, strict=True))
    assert (None in told) == ("directories not noted" in said)
    assert "processes not noted" not in said
