"""`callout why --probe` against a router of the laboratory, as root and as nobody."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import callout
from callout.errors import NotPermittedError
from callout.host import root
from callout.lab import router

from .watch import CALLOUT, PATIENCE

pytestmark = pytest.mark.kernel
HOLD = r'''
import socket, sys
from callout.lab import namespace, router
namespace.enter()
for need in (namespace.network, router.build):
    reason = need()
    if reason:
        print("no", reason, flush=True)
        sys.exit()
open(namespace.SYN_RETRIES, "w").write("1")
rules = """
    ip daddr 192.0.2.66 counter drop
    ip daddr 192.0.2.67 tcp dport 22 reject with tcp reset
    ip daddr 192.0.2.68 reject with icmp type admin-prohibited
"""
text = namespace.TABLE.format(rules=rules)
print(namespace.feed("nft", "-f", "-", text=text) or "yes", flush=True)
sys.stdin.read()
'''


@pytest.fixture(scope="module")
def place() -> Iterator[int]:
    """The process that holds the network namespace to probe from."""
    environment = {**os.environ, "PYTHONPATH": str(Path(callout.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        if answer.startswith("no "):
            pytest.skip(answer)
        assert answer == "yes"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def probed(*words: str, before: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*before, *CALLOUT, "why", *words, "--probe", "-o", "ndjson"],
        capture_output=True, text=True, timeout=PATIENCE * 3, check=False, cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(callout.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


# target, cause, how sure as root, error; ICMP's sender is the router
CASES = (
    (f"{router.ROUTER}:{router.OPEN}", None, "certain", None),
    (f"{router.ROUTER}:{router.CLOSED}", "rst_from_peer", "certain", "ECONNREFUSED"),
    (f"{router.FILTER_RESET}:443", "netfilter_reject", "certain", "ECONNREFUSED"),
    (f"{router.FILTER_ADMIN}:443", "icmp_admin_prohibited", "certain", "EHOSTUNREACH"),
    (f"{router.FILTER_HOST}:443", "icmp_host_unreachable", "certain", "EHOSTUNREACH"),
    (f"{router.FILTER_NET}:443", "icmp_net_unreachable", "certain", "ENETUNREACH"),
    (f"{router.FILTER_PORT}:443", "icmp_port_unreachable", "certain", "ECONNREFUSED"),
    (f"{router.SWALLOWED}:443", "syn_unanswered", "certain", "ETIMEDOUT"),
    (f"[{router.FILTER_ADMIN6}]:443", "icmp_admin_prohibited", "certain", "EACCES"),
    ("203.0.113.9:443", "no_route", "certain", "ENETUNREACH"),
    ("192.0.2.77:443", "neighbour_failed", "likely", "EHOSTUNREACH"),
    ("192.0.2.66:443", "netfilter_drop", "certain", "ETIMEDOUT"),
    ("192.0.2.67:22", "netfilter_reject", "certain", "ECONNREFUSED"),
    ("192.0.2.68:22", "netfilter_reject", "certain", "EHOSTUNREACH"),
    ("127.0.0.1:4", "no_listener", "certain", "ECONNREFUSED"),
)


# The router stands in another network namespace of this host: only who traces knows that its firewall is this kernel's.
FROM_INSIDE = {"netfilter_reject": "rst_from_peer"}
Runs = dict[str, Future[tuple[int, dict[str, Any]]]]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(scope="module")
def as_root(place: int) -> Iterator[Runs]:
    """All cases, some at a time: most of each is waiting."""
    with ThreadPoolExecutor(4) as pool:
        yield {case[0]: pool.submit(probed, case[0], "-p", str(place), "--for", "10s") for case in CASES}


@pytest.fixture(scope="module")
def as_nobody(place: int) -> Iterator[Runs]:
    """Every other case, without any privilege."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) is not installed")
    enter = ("nsenter", f"--net=/proc/{place}/ns/net", *NOBODY)
    with ThreadPoolExecutor(4) as pool:
        yield {case[0]: pool.submit(probed, case[0], "--for", "10s", before=enter) for case in CASES[::2]}


@pytest.mark.parametrize(("target", "cause", "sure", "error"), CASES, ids=[case[0] for case in CASES])
def test_each_layer(as_root: Runs, target: str, cause: str | None, sure: str, error: str | None) -> None:
    status, found = as_root[target].result()
    (attempt,) = found["attempts"]
    assert attempt["why"]["cause"] == cause, attempt["why"]
    assert attempt["why"]["confidence"] in (sure, "certain"), attempt["why"]
    if cause != "neighbour_failed":  # three seconds of ARP and three of TCP end at once: either comes first
        assert attempt["connect"].get("errno") == error
    assert (status, found["established"]) == ((0, True) if cause is None else (1, False))
    assert found["unseen"] == []
    if str(cause).startswith("icmp"):
        assert attempt["connect"]["evidence"]["icmp"]["from"] in (router.ROUTER, router.ROUTER6)
    if cause == "netfilter_drop":
        looks = [look["text"] for look in attempt["why"]["looks"]]
        assert any("ip daddr 192.0.2.66" in text and "drops the SYN" in text for text in looks)
        assert any(text.startswith("counted") for text in looks)


@pytest.mark.parametrize(
    ("target", "cause", "sure", "error"), CASES[::2], ids=[case[0] for case in CASES[::2]]
)
def test_as_nobody(as_nobody: Runs, target: str, cause: str | None, sure: str, error: str | None) -> None:
    """Less is seen, and told so; nothing certain is wrong."""
    try:
        status, found = as_nobody[target].result()
    except AssertionError as problem:
        if "Permission denied" in str(problem) or "No module" in str(problem):
            pytest.skip("nobody cannot read this Python or package")
        raise
    (attempt,) = found["attempts"]
    assert status == (0 if cause is None else 1)
    if cause != "neighbour_failed":
        assert attempt["connect"].get("errno") == error
    assert "needs CAP" in found["unseen"][0]
    told = attempt["why"]["cause"]
    if attempt["why"]["confidence"] == "certain":
        far = target.startswith(router.FILTER_RESET)
        assert told == (FROM_INSIDE[str(cause)] if far else cause)
    if cause in ("rst_from_peer", "no_route", "no_listener", None) or str(cause).startswith("icmp"):
        assert told == cause, attempt["why"]


def test_given_up_before_the_kernel_does(place: int) -> None:
    status, found = probed(f"{router.SWALLOWED}:443", "-p", str(place), "--for", "500ms")
    (attempt,) = found["attempts"]
    assert (status, attempt["why"]["cause"], attempt["connect"]["verdict"]) == (
        1,
        "syn_unanswered",
        "timed_out",
    )
    assert any("TCP gives up after 3 s and" in look["text"] for look in attempt["why"]["looks"])


def test_the_number_of_syns_is_the_one_worked_out(as_root: Runs) -> None:
    _, found = as_root[f"{router.SWALLOWED}:443"].result()
    (attempt,) = found["attempts"]
    (told,) = [look["text"] for look in attempt["why"]["looks"] if "gives up after" in look["text"]]
    assert f"and {attempt['connect']['evidence']['syns']} SYNs" in told


def test_a_name_that_is_none(place: int) -> None:
    status, found = probed("nothing.invalid:80", "-p", str(place))
    assert (status, found["attempts"]) == (1, [])
    assert found["names"]["error"]


ELSEWHERE = r"""
import os, socket, struct, subprocess, sys
from pathlib import Path
from callout.lab import libc
libc.private_tmpfs("/etc")
Path("/etc/hosts").write_text("127.0.0.7 elsewhere.test\n")
Path("/etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
Path("/etc/nsswitch.conf").write_text("hosts: mymachines files resolve [!UNAVAIL=return] dns\n")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server, listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
server.bind(("127.0.0.53", 53))
listener.bind(("127.0.0.8", 5432))
listener.listen()
print("ready", flush=True)
while True:
    asked, peer = server.recvfrom(512)
    end = asked.index(b"\0", 12) + 5
    (kind,) = struct.unpack_from("!H", asked, end - 4)
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.8") if kind == 1 else b""
    head = asked[:2] + struct.pack("!HHHHH", 0x8180, 1, bool(answer), 0, 0)
    server.sendto(head + asked[12:end] + answer, peer)
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """A process with a network and with files in /etc of its own, and a name server there."""
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", sys.executable, "-c", ELSEWHERE],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(callout.__file__).parents[1])},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("name", "ip", "source"),
    [
        ("elsewhere.test", "127.0.0.7", "/etc/hosts of process {}"),
        ("db.elsewhere.test", "127.0.0.8", "name servers 127.0.0.53 of process {}"),
    ],
)
def test_names_are_looked_up_as_the_process_would(elsewhere: int, name: str, ip: str, source: str) -> None:
    status, found = probed(f"{name}:5432", "-p", str(elsewhere))
    assert (found["names"]["addresses"], found["names"]["error"]) == ([ip], None)
    assert found["names"]["from"] == source.format(elsewhere)
    assert status == (0 if ip == "127.0.0.8" else 1)
    _, ours = probed(f"{name}:5432")
    assert ours["names"]["addresses"] == []


def test_socket_files(tmp_path: Path) -> None:
    status, found = probed(f"unix:{tmp_path}/none")
    (attempt,) = found["attempts"]
    assert (status, attempt["why"]["cause"]) == (1, "unix_no_path")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/s")
        status, found = probed(f"unix:{tmp_path}/s")
        assert (status, found["attempts"][0]["why"]["cause"]) == (1, "unix_no_listener")
        server.listen()
        status, found = probed(f"unix:{tmp_path}/s")
        assert (status, found["attempts"][0]["why"]["cause"]) == (0, None)


INSIDE = """
import os, socket, sys
place, root, uid = sys.argv[1:]
assert not os.system(f"mount -t tmpfs own {place}/in")
os.makedirs(f"{place}/in/deep")
os.symlink("/in/deep" if root else f"{place}/in/deep", f"{place}/in/link")
server = socket.socket(socket.AF_UNIX)
os.chdir(f"{place}/in/deep")
server.bind("s")
os.chmod("s", 0o600)
server.listen()
if root:
    os.chroot(place)
os.setresuid(int(uid), int(uid), int(uid))
print("yes", flush=True)
sys.stdin.read()
"""


@contextmanager
def inside(place: Path, apart: bool = False, uid: int = 0) -> Iterator[int]:
    """A process with a mount of its own over ``place``/in, where it listens; ``apart``: ``place`` is its root."""
    words = [str(place), "yes" if apart else "", str(uid)]
    command = ["unshare", "--mount", sys.executable, "-c", INSIDE, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "yes\n"
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("apart", [False, True])
def test_a_socket_file_is_called_as_the_process_sees_it(tmp_path: Path, apart: bool) -> None:
    """In its mount namespace another socket has the path; by absolute links, relative names, and its own root."""
    (tmp_path / "in").mkdir()
    place = "" if apart else str(tmp_path)
    with socket.socket(socket.AF_UNIX) as ours, inside(tmp_path, apart) as pid:
        os.mkdir(tmp_path / "in/deep")
        ours.bind(f"{tmp_path}/in/deep/s")  # nobody listens here
        status, found = probed(f"unix:{tmp_path}/in/deep/s")
        assert (status, found["attempts"][0]["why"]["cause"]) == (1, "unix_no_listener")
        for path in (f"{place}/in/deep/s", f"{place}/in/link/s", "./s"):
            status, found = probed(f"unix:{path}", "-p", str(pid))
            (attempt,) = found["attempts"]
            assert (status, attempt["why"]["cause"]) == (0, None), path
            assert f"python[{pid}] listens on it" in str(attempt).replace("python3", "python"), path
        status, found = probed(f"unix:{place}/in/none", "-p", str(pid))
        assert (status, found["attempts"][0]["why"]["cause"]) == (1, "unix_no_path")


def test_what_the_process_may_not_call(tmp_path: Path) -> None:
    """We may, as root; whose probe it is has no permission, and that is told."""
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        parent.chmod(0o755)
    (tmp_path / "in").mkdir()
    with inside(tmp_path, uid=65534) as pid:
        status, found = probed(f"unix:{tmp_path}/in/deep/s", "-p", str(pid))
    assert status == 0
    assert "no permission for user 65534" in str(found["attempts"][0])


def test_files_of_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(NotPermittedError, match=f"files of process {process.pid} cannot be reached"):
        root.inside(process.pid, "/run/s", os.getpid)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--probe",), "needs HOST:PORT"),
        (("nginx", "--probe"), "needs HOST:PORT"),
        (("127.0.0.1:4", "--probe", "--from", "x"), "--from"),
        (("127.0.0.1:4", "--probe", "--tier", "kprobe"), "--tier"),
        (("nginx", "--from", "x", "--tier", "kprobe"), "--tier"),
        (("127.0.0.1:4", "--netns", "1"), "--netns goes with --probe"),
        (("127.0.0.1:4", "--probe", "-p", "4194303"), "no process 4194303"),
        (("127.0.0.1:4", "--probe", "-p", "nowhere"), "no network namespace nowhere"),
    ],
)
def test_errors(words: tuple[str, ...], told: str) -> None:
    done = subprocess.run(
        [*CALLOUT, "why", *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
