"""`callout why` on live failures: more than the laboratory has, in a network of our own, each with its cause."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import callout
from callout.lab import cgroup
from callout.lab.needs import PROBES

from .watch import CALLOUT, PATIENCE, TIER

pytestmark = pytest.mark.kernel
SETUP = """
set -e
ip link set lo up
ip link add name va type veth peer name vb
ip link set va up
ip link set vb up
ip addr add 192.0.2.1/24 brd 192.0.2.255 dev va
ip route add unreachable 203.0.113.1
ip route add prohibit 203.0.113.2
ip route add blackhole 203.0.113.3
echo 1 > /proc/sys/net/ipv4/tcp_syn_retries
echo '40000 40000' > /proc/sys/net/ipv4/ip_local_port_range
nft -f - <<N
table inet test {
  chain o {
    type filter hook output priority 0
    ip daddr 192.0.2.9 drop
    ip daddr 192.0.2.10 reject with icmp type admin-prohibited
  }
  chain i {
    type filter hook input priority 0
    tcp dport 5433 reject with tcp reset
    tcp dport 5434 drop
  }
}
N
iptables-legacy -A OUTPUT -d 192.0.2.11 -p tcp -m multiport --dports 80 -j DROP || echo "no iptables-legacy" >&2
"""
CALLER = """
import socket, sys, threading
from callout.lab import libc
libc.set_name("why-test")
held = []
def listener(family, place, backlog=5):
    s = socket.socket(family); s.bind(place); s.listen(backlog); held.append(s)
def call(family, place, kind=socket.SOCK_STREAM, blocking=True, source=None):
    s = socket.socket(family, kind)
    s.setblocking(blocking)
    if source:
        s.bind(source)
    try:
        s.connect(place)
        held.append(s)
    except OSError:
        s.close()
listener(socket.AF_INET, ("127.0.0.2", 5432))
listener(socket.AF_INET, ("127.0.0.1", 5433))
listener(socket.AF_INET, ("127.0.0.1", 5434))
listener(socket.AF_INET, ("127.0.0.1", 5435))
listener(socket.AF_UNIX, sys.argv[1] + "/full", 0)
listener(socket.AF_UNIX, sys.argv[1] + "/other")
print("ready", flush=True)
sys.stdin.readline()
INET, UNIX = socket.AF_INET, socket.AF_UNIX
slow = [
    threading.Thread(target=call, args=(INET, (ip, port)), kwargs={"source": (bound, 0)}, name="why-test")
    for ip, port, bound in (
        ("127.0.0.1", 5434, "127.0.0.5"), ("192.0.2.9", 80, "192.0.2.1"), ("192.0.2.77", 80, "192.0.2.1"),
        ("192.0.2.10", 80, "192.0.2.1"), ("192.0.2.11", 80, "192.0.2.1"),
    )
]
for thread in slow:
    open("/proc/sys/net/ipv4/ip_local_port_range", "w").write("41000 42000")
    thread.start()
for thread in slow:
    thread.join()
open("/proc/sys/net/ipv4/ip_local_port_range", "w").write("40000 40000")
call(INET, ("127.0.0.1", 5432), source=("127.0.0.9", 43001))
call(INET, ("192.0.2.1", 5436), source=("127.0.0.9", 43003))
call(INET, ("127.0.0.1", 5433), source=("127.0.0.9", 43002))
call(INET, ("127.0.0.1", 5435))
call(INET, ("127.0.0.1", 5435))
for ip in ("10.1.1.1", "203.0.113.1", "203.0.113.2", "203.0.113.3", "192.0.2.255", "224.0.0.7"):
    call(INET, (ip, 80))
call(UNIX, sys.argv[1] + "/none")
call(UNIX, sys.argv[1] + "/full", blocking=False)
call(UNIX, sys.argv[1] + "/full", blocking=False)
call(UNIX, sys.argv[1] + "/other", kind=socket.SOCK_DGRAM)
call(UNIX, "/etc/passwd")
print("done", flush=True)
sys.stdin.read()
"""
# destination: the right cause, and the least that is known of it on the tier that sees least
CASES = {
    "127.0.0.1:5432": ("no_listener", "certain"),
    "192.0.2.1:5436": ("no_listener", "likely"),  # its own address, called from another one
    "127.0.0.1:5433": ("netfilter_reject", "likely"),
    "127.0.0.1:5434": ("netfilter_drop", "likely"),
    "127.0.0.1:5435": ("ports_exhausted", "certain"),
    "192.0.2.9:80": ("netfilter_drop", "certain"),
    "192.0.2.10:80": ("netfilter_reject", "certain"),
    "192.0.2.11:80": ("netfilter_drop", "certain"),
    "192.0.2.77:80": ("neighbour_failed", "likely"),
    "10.1.1.1:80": ("no_route", "certain"),
    "203.0.113.1:80": ("no_route", "certain"),
    "203.0.113.2:80": ("route_prohibits", "likely"),
    "203.0.113.3:80": ("no_route", "certain"),
    "192.0.2.255:80": ("not_unicast", "likely"),
    "224.0.0.7:80": ("not_unicast", "likely"),
    "/none": ("unix_no_path", "certain"),
    "/full": ("unix_backlog_full", "certain"),
    "/other": ("unix_wrong_type", "certain"),
    "/etc/passwd": ("unix_no_listener", "certain"),
}
SURE = ("unknown", "likely", "certain")


@contextmanager
def caller(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in a network of its own that makes all the failures when told to, and stays."""
    environment = {**os.environ, "PYTHONPATH": str(Path(callout.__file__).parents[1])}
    process = subprocess.Popen(
        ["unshare", "--net", "bash", "-c", SETUP + 'exec "$0" -c "$1" "$2"', sys.executable, CALLER, str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def watching(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`callout why`, ready."""
    ready = directory / "ready"
    process = subprocess.Popen(
        [*CALLOUT, "why", *words, *(["--tier", TIER] if TIER else []), "-o", "ndjson", "--ready-file", str(ready)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE * 3
        while not ready.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            os.sched_yield()
        yield process
    finally:
        process.kill()
        process.communicate()


def act(process: subprocess.Popen[str]) -> None:
    """All the failures, made."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `callout why` said of each destination, ended by Ctrl-C."""
    directory = tmp_path_factory.mktemp("why")
    with caller(directory) as process, watching(directory, "why-test", "--groups") as why:
        act(process)
        why.send_signal(signal.SIGINT)
        out, err = why.communicate(timeout=PATIENCE * 3)
        assert why.returncode == 0, err
    found = {}
    for line in out.splitlines():
        group = json.loads(line)
        assert set(group["why"]["processes"]) == {"why-test"}
        place = group["destination"]
        name = f"{place['ip']}:{place['port']}" if "ip" in place else str(place.get("address"))
        found[name.removeprefix(str(directory))] = group
    return found


@pytest.mark.parametrize("destination", CASES)
def test_each_failure(groups: dict[str, dict[str, Any]], destination: str) -> None:
    if destination.startswith("192.0.2.11") and not shutil.which("iptables-legacy"):
        pytest.skip("iptables-legacy is not installed")
    cause, least = CASES[destination]
    told = groups[destination]["why"]
    assert told["cause"] == cause, told
    assert SURE.index(told["confidence"]) >= SURE.index(least), told
    assert told["count"] >= 1


def test_the_story_of_a_process(tmp_path: Path) -> None:
    """It ends by itself with the first failure, and has its steps."""
    with caller(tmp_path) as process, watching(tmp_path, str(process.pid)) as why:
        act(process)
        out, err = why.communicate(timeout=PATIENCE * 3)
        assert why.returncode == 0, err
    story = json.loads(out)
    assert story["process"]["pid"] == process.pid
    assert story["why"]["steps"][0]["at"] == 0
    assert story["why"]["next"] == [] or all("{" not in line["command"] for line in story["why"]["next"])
    assert any(line["command"].startswith(f"nsenter -t {process.pid} -n ") for line in story["why"]["next"])


def test_a_program_on_the_cgroup(tmp_path: Path) -> None:
    """Where no hook sees the refusal, the program that is in force there is found."""
    if reason := PROBES["cgroup"]():
        pytest.skip(reason)
    code = (
        "import socket, sys; sys.stdin.readline(); "
        "print(socket.socket().connect_ex(('127.0.0.1', 9)), flush=True); sys.stdin.read()"
    )
    with cgroup.made() as group, cgroup.attached(group, cgroup.CONNECT4, cgroup.DENY):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            Path(group, "cgroup.procs").write_text(str(process.pid))
            with watching(tmp_path, str(process.pid)) as why:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "1\n"
                out, err = why.communicate(timeout=PATIENCE * 3)
                assert why.returncode == 0, err
        finally:
            process.kill()
            process.communicate()
    told = json.loads(out)["why"]
    assert told["cause"] == "cgroup_bpf"
    assert told["confidence"] in ("likely", "certain")
    assert any("decides over connect4" in look["text"] for look in told["looks"])


def test_nothing_came(tmp_path: Path) -> None:
    done = subprocess.run(
        [*CALLOUT, "why", "nobody-of-that", "--for", "200ms"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "no failed attempt of nobody-of-that was seen" in done.stderr


def test_without_privileges() -> None:
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) is not installed")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *CALLOUT, "why"],
        capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(callout.__file__).parents[1])},
    )  # fmt: skip
    if "No module" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("nobody cannot read this Python or package")
    assert (done.returncode, done.stdout) == (3, "")
    assert "--from FILE" in done.stderr
