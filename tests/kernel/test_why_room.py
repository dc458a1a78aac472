"""What `callout why` computes about room: Fast Open's cookie, queues of Unix sockets, descriptors."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callout.host import netns, room
from callout.host.fastopen import state

from .test_why_live import watching
from .watch import PATIENCE

pytestmark = pytest.mark.kernel
FASTOPEN = """
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
open("/proc/sys/net/ipv4/tcp_fastopen", "w").write(sys.argv[1])
server = socket.socket()
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
server.bind(("127.0.0.1", 5001))
server.listen()
print("ready", flush=True)
sys.stdin.readline()
for port in map(int, sys.argv[2:]):
    with socket.socket() as caller:
        try:
            caller.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))
        except OSError as error:
            print(error.errno, flush=True)
print("done", flush=True)
sys.stdin.read()
"""
DATAGRAMS = """
import socket, sys
open("/proc/sys/net/unix/max_dgram_qlen", "w").write("6")
server, caller = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
server.bind("\\0callout-test-queue")
caller.setblocking(False)
sent = 0
try:
    while True:
        caller.sendto(b"x", "\\0callout-test-queue")
        sent += 1
except BlockingIOError:
    print(sent, flush=True)
sys.stdin.read()
"""
FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
try:
    while True:
        os.dup(0)
except OSError as error:
    os.write(1, b"%d\\n" % error.errno)
sys.stdin.read()
"""


@contextmanager
def inside(code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a network of its own, or where we are."""
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize(
    ("setting", "ports", "said"),
    [
        ("3", ("5001", "5001", "5002"), "a cookie of 127.0.0.1 is kept (8 bytes): the SYN leaves with the first data"),
        ("3", ("5002",), "no cookie of 127.0.0.1 is kept: the SYN goes without data, and asks for one"),
        ("5", ("5002",), "no cookie of 127.0.0.1 is kept, and none is needed: the SYN leaves with the first data"),
    ],
)  # fmt: skip
def test_fast_open(tmp_path: Path, setting: str, ports: tuple[str, ...], said: str) -> None:
    with inside(FASTOPEN, setting, *ports) as process:
        assert line(process) == "ready"
        with watching(tmp_path, str(process.pid)) as why:
            go(process)
            assert line(process) == "111"
            out, err = why.communicate(timeout=PATIENCE * 3)
            assert why.returncode == 0, err
    story = json.loads(out)["why"]
    assert story["cause"] == "no_listener"
    told = [look["text"] for look in story["looks"] if look["about"] == "fastopen"]
    assert told[0].startswith(f"tcp_fastopen is {setting}: it is on for calls")
    assert told[1:] == [said]


def test_fast_open_is_off() -> None:
    with inside(FASTOPEN, "2") as process:
        assert line(process) == "ready"
        found = netns.inside(f"/proc/{process.pid}/ns/net", lambda: state("127.0.0.1"))
    assert (found.value, found.calls, found.cookie) == (2, False, 0)


def texts(row: dict[str, Any], finder: Any) -> list[tuple[str, str]]:
    return [(look.says, look.text) for look in finder(row)]


def test_as_many_datagrams_fit_as_is_said() -> None:
    row = {"connect.cause": "unix_backlog_full", "connect.type": "SOCK_DGRAM", "connect.family": "AF_UNIX"}
    with inside(DATAGRAMS) as process:
        sent = int(line(process))
        ((says, text),) = netns.inside(f"/proc/{process.pid}/ns/net", lambda: texts(row, room.queue))
    assert says == "adds"
    assert f"takes {sent} datagrams" in text
    assert "(max_dgram_qlen 6)" in text


def test_descriptors_of_a_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FILES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert line(process) == "24"
        full, host = texts({"connect.errno": "EMFILE", "process.pid": process.pid}, room.descriptors)
    finally:
        process.kill()
        process.communicate()
    expected = "the process has 40 of 40 descriptors open (RLIMIT_NOFILE): that is all"
    assert full == ("supports", expected)
    assert host[0] == "adds"
    assert host[1].endswith("files open (fs.file-max)")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, _ = texts({"connect.errno": "ENFILE", "process.pid": os.getpid()}, room.descriptors)
    assert ours[0] == "adds"
    assert f"of {soft} descriptors" in ours[1]
    assert texts({"connect.errno": "ECONNREFUSED", "process.pid": process.pid}, room.descriptors) == []
