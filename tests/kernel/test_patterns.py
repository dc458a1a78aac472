"""Habits of real clients: each runs in a network, and with a hosts file, of its own; nothing leaves it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callout.capture.kernel import KernelSource
from callout.pattern import Patterns

from .watch import PATIENCE, Watch, traced

pytestmark = pytest.mark.kernel
PORT = 8080
TRIES = 3  # runs of a client that may lose its CPU between two calls which follow each other at once

# 2001:db8::2 and ::3 are on the link, but nobody is there: attempts to them stay under way for three seconds.
HOSTS = """\
127.0.0.1 localhost three
::1 localhost three
127.0.0.2 three
2001:db8::2 both
192.0.2.1 both
"""
NETWORK = """\
link set lo up
link add lab0 type veth peer name lab1
link set lab0 up
link set lab1 up
addr add 192.0.2.1/24 dev lab0
addr add 2001:db8::1/64 dev lab0 nodad
"""
# Serves HTTP on every IPv4 address, and runs the client once a line comes.
PLACE = f"""
import os, pathlib, socket, subprocess, sys, threading
directory = pathlib.Path(sys.argv[1])
subprocess.run(["ip", "-batch", "-"], input={NETWORK!r}, text=True, check=True)
for name, text in (("hosts", {HOSTS!r}), ("nsswitch.conf", "hosts: files\\n")):
    (directory / name).write_text(text)
    subprocess.run(["mount", "--bind", directory / name, "/etc/" + name], check=True)
server = socket.create_server(("", {PORT}))
def serve():
    while True:
        peer, _ = server.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.0 204 No Content\\r\\n\\r\\n")
threading.Thread(target=serve, daemon=True).start()
print(os.stat("/proc/self/ns/net").st_ino, flush=True)
sys.stdin.readline()
client = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
sys.exit(client.returncode)
"""


class Place:
    """A client that waits in a network namespace of its own, ``netns``."""

    def __init__(self, directory: Path, command: list[str]) -> None:
        directory.mkdir(exist_ok=True)
        unshare = ["unshare", "--net", "--mount", sys.executable, "-c", PLACE, str(directory)]
        self.process = subprocess.Popen(
            [*unshare, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        self.netns = int(line)

    def go(self) -> None:
        """Lets the client run, and waits for its end."""
        _, said = self.process.communicate(b"\n", timeout=PATIENCE)
        assert self.process.returncode == 0, said.decode()


@contextmanager
def place(directory: Path, command: list[str]) -> Iterator[Place]:
    """A client, ready; gone when the block ends."""
    found = Place(directory, command)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.communicate()


class Named(Watch):
    """Rows with their patterns, as the pipeline makes them."""

    def __init__(self, source: KernelSource) -> None:
        super().__init__(source)
        self._patterns = Patterns()

    def gather(self) -> None:
        batch = self.source.read()
        if len(batch):
            self._patterns.mark(batch)
            self.seen.extend(batch.rows())
        else:
            self.source.wait()


def rows_of(directory: Path, command: list[str]) -> list[dict[str, Any]]:
    """What a client attempted, up to the last verdict."""
    program = command[3] if command[:2] == ["sh", "-c"] else command[0]
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    with place(directory, command) as client, KernelSource() as source:
        watch = Named(source)
        client.go()
        end = len(watch.seen)
        while True:  # until a read brings nothing: what was recorded before the end of the client is here
            watch.gather()
            if len(watch.seen) == end:
                break
            end = len(watch.seen)
        return [row for row in watch.seen if row.get("connect.netns") == client.netns]


def told(rows: list[dict[str, Any]]) -> list[tuple[str | None, str, str]]:
    """Pattern, destination and verdict of the rows that are not about nscd (which may run here)."""
    return [
        (
            row.get("connect.pattern"),
            f"{row.get('destination.ip')} {row['network.transport']}",
            row["connect.verdict"],
        )
        for row in rows
        if row["network.transport"] != "unix"
    ]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def whatever(*command: str) -> list[str]:
    """A client that wants more than this server gives: how it ends says nothing."""
    return ["sh", "-c", '"$@" 2>/dev/null || true', *command[:1], *command]


PROBES = Counter({"address_sort_probe": 4})  # three addresses, and one dissolved between those of a socket
REACHED = [(None, "127.0.0.1 tcp", "established")]
URL = f"http://three:{PORT}/"

RESOLVING = {
    "getent": (["getent", "ahosts", "three"], []),
    "curl": (["curl", "-sf", URL], [("fallback", "::1 tcp", "refused"), *REACHED]),
    "python": (
        python(f"import socket; socket.create_connection(('three', {PORT})).close()"),
        [("fallback", "::1 tcp", "refused"), *REACHED],
    ),
    "node": (
        ["node", "-e", f"require('http').get('{URL}', r => r.resume())"],
        [("fallback", "::1 tcp", "refused"), *REACHED],
    ),
    "wget": (["wget", "-q", "-O-", URL], [("fallback", "::1 tcp", "refused"), *REACHED]),
    "ssh": (
        whatever(
            "ssh", "-F", "none", "-p", str(PORT), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "three", "exit",
        ),
        [("fallback", "::1 tcp", "refused"), *REACHED],
    ),
    "nc": (whatever("nc", "-z", "three", str(PORT)), [("fallback", "::1 tcp", "refused"), *REACHED]),
    "git": (whatever("git", "ls-remote", f"{URL}x"), [("fallback", "::1 tcp", "refused"), *REACHED] * 2),
    "perl": (
        ["perl", "-MIO::Socket::IP", "-e", f"IO::Socket::IP->new(PeerHost => 'three', PeerPort => {PORT}) or die"],
        [("fallback", "::1 tcp", "refused"), *REACHED],
    ),
    "psql": (
        whatever("psql", "-h", "three", "-p", str(PORT), "-c", "x"), [("fallback", "::1 tcp", "refused"), *REACHED],
    ),
    "openssl": (
        whatever("openssl", "s_client", "-connect", f"three:{PORT}"),
        [("fallback", "::1 tcp", "refused"), *REACHED],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("command", "connections"), RESOLVING.values(), ids=RESOLVING)
def test_what_comes_before_a_connection(
    tmp_path: Path, command: list[str], connections: list[tuple[str | None, str, str]]
) -> None:
    rows = rows_of(tmp_path, command)
    lookups = [row for row in rows if row["network.transport"] == "unix"]
    for row in lookups:
        assert row["destination.address"] in ("/var/run/nscd/socket", "/run/nscd/socket")
        assert (row["connect.verdict"] == "established") == (row.get("connect.pattern") is None)
    seen = told(rows)
    assert Counter(name for name, where, _ in seen if where.endswith("udp")) == PROBES
    assert [one for one in seen if one[1].endswith("tcp")] == connections


GO = f"""
package main
import "net"
func main() {{
	c, err := net.Dial("tcp", "both:{PORT}")
	if err != nil {{ panic(err) }}
	c.Close()
}}
"""


def test_go(tmp_path: Path) -> None:
    """Its own resolver asks for routes on a port of its own; the loser of its race ends with the process."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text(GO)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    subprocess.run(
        ["go", "build", "-o", "dial", "main.go"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    for _ in range(TRIES):
        seen = told(rows_of(tmp_path / "place", [str(tmp_path / "dial")]))
        probes = [one for one in seen if one[1].endswith("udp")]
        if None not in {name for name, *_ in probes}:
            break
    assert probes == [
        ("address_sort_probe", "2001:db8::2 udp", "associated"),
        ("address_sort_probe", "192.0.2.1 udp", "associated"),
    ]
    assert sorted(seen[2:], key=str) == [
        ("happy_eyeballs_loser", "2001:db8::2 tcp", "aborted"),
        (None, "192.0.2.1 tcp", "established"),
    ]


JAVA = """
class Dial {
    public static void main(String[] arguments) throws Exception {
        new java.net.Socket("three", PORT).close();
    }
}
"""


def test_java(tmp_path: Path) -> None:
    """It takes the first IPv4 address, by an IPv6 socket, whatever the order of the C library."""
    if not shutil.which("javac"):
        pytest.skip("javac is not installed")
    (tmp_path / "Dial.java").write_text(JAVA.replace("PORT", str(PORT)))
    seen = told(rows_of(tmp_path / "place", ["java", str(tmp_path / "Dial.java")]))
    assert Counter(name for name, where, _ in seen if where.endswith("udp")) == PROBES
    assert [one for one in seen if one[1].endswith("tcp")] == [(None, "::ffff:127.0.0.1 tcp", "established")]


ASYNC = f"""
import asyncio
async def main():
    _, writer = await asyncio.open_connection("both", {PORT}, happy_eyeballs_delay=0.1)
    writer.close()
asyncio.run(main())
"""
NODE = f"""
const s = require('net').connect({{host: 'both', port: {PORT}, autoSelectFamily: true}}, () => s.destroy())
"""
RACING = {
    "curl": ["curl", "-sf", f"http://both:{PORT}/"],
    "asyncio": python(ASYNC),
    "node": ["node", "-e", NODE],
}


@pytest.mark.parametrize("command", RACING.values(), ids=RACING)
def test_the_loser_of_a_race(tmp_path: Path, command: list[str]) -> None:
    if command[0] == "node" and "autoSelectFamily" not in told_by_node():
        pytest.skip("node is older than happy eyeballs")
    seen = [one for one in told(rows_of(tmp_path, command)) if one[1].endswith("tcp")]
    assert sorted(seen, key=str) == [
        ("happy_eyeballs_loser", "2001:db8::2 tcp", "aborted"),
        (None, "192.0.2.1 tcp", "established"),
    ]


def told_by_node() -> str:
    """The functions of node's net module; empty without node, which is another reason to skip."""
    if not shutil.which("node"):
        return "autoSelectFamily"
    asked = ["node", "-p", "Object.keys(require('net')).join() + ' ' + process.version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return "autoSelectFamily" if "getDefaultAutoSelectFamily" in said else said


AGAIN = f"""
import select, socket
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", {PORT}))
select.select([], [s], [])
assert s.connect_ex(("127.0.0.1", {PORT})) in (0, 106)  # EISCONN
assert s.connect_ex(("127.0.0.1", {PORT})) == 106
"""


def test_asking_again(tmp_path: Path) -> None:
    assert told(rows_of(tmp_path, python(AGAIN))) == [
        (None, "127.0.0.1 tcp", "established"),
        ("confirm", "127.0.0.1 tcp", "established"),
        ("confirm", "127.0.0.1 tcp", "invalid"),
    ]


NO_HABITS = f"""
import socket
for info in socket.getaddrinfo("three", 5000, type=socket.SOCK_DGRAM):
    with socket.socket(*info[:3]) as s:
        s.connect(info[4])
        s.send(b"x")
with socket.socket() as s:
    s.connect_ex(("127.0.0.1", 1))
with socket.socket(socket.AF_INET6) as s:
    s.setblocking(False)
    s.connect_ex(("2001:db8::2", {PORT}))
with socket.socket(socket.AF_INET6) as s:
    s.connect_ex(("::1", {PORT}))
"""


def test_what_looks_alike_keeps_its_verdict(tmp_path: Path) -> None:
    """Datagrams that are meant, a refusal, a socket closed too early, ::1 without a fallback."""
    seen = told(rows_of(tmp_path, python(NO_HABITS)))
    assert [name for name, *_ in seen[:4]] == ["address_sort_probe"] * 4
    # each has a second row, once the ICMP error has come
    assert {one for one in seen if one[0] is None and one[1].endswith("udp")} == {
        (None, f"{ip} udp", verdict)
        for ip in ("127.0.0.1", "127.0.0.2", "::1")
        for verdict in ("associated", "refused")
    }
    assert [one for one in seen if one[1].endswith("tcp")] == [
        (None, "127.0.0.1 tcp", "refused"),
        (None, "2001:db8::2 tcp", "aborted"),
        (None, "::1 tcp", "refused"),
    ]


@pytest.mark.parametrize("options", [[], ["--all"], ["connect.pattern exists"]], ids=["", "all", "filter"])
def test_the_table_leaves_habits_out_unless_asked(tmp_path: Path, options: list[str]) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    narrowed = ["--comm", "curl", "-o", "table", *options]
    with place(tmp_path / "place", ["curl", "-sf", URL]) as client, traced(tmp_path, *narrowed) as tracer:
        client.go()
        tracer.send_signal(signal.SIGINT)
        out, said = (text.decode() for text in tracer.communicate(timeout=PATIENCE))
    lines = out.splitlines()
    assert len([line for line in lines if "address_sort_probe" in line]) == (4 if options else 0)
    assert len([line for line in lines if "established" in line]) == (
        1 if options != ["connect.pattern exists"] else 0
    )
    if not options:
        assert len(lines) == 1
    assert ("client habits (see --all): " in said) == (not options)
    assert ("4 address_sort_probe" in said) == (not options)
