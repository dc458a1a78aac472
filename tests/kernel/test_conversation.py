"""-e network: the calls around an attempt, from the socket's making to its end, each with its attempt's id."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from callout.capture.kernel import KernelSource
from callout.capture.tiers import CONVERSATION, LEFTOVER, OVERLOOKED, SOCKET_PROGRAMS
from callout.narrowing import Narrowing

from .watch import Watch, watch

pytestmark = pytest.mark.kernel
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
NAME = "talk-test"
MARK = count(60_000)  # backlogs that no other call has: where a test ends


@pytest.fixture(scope="module")
def talk() -> Iterator[Watch]:
    """One source for all tests: this thread, by a name of its own, and the children that inherit it."""
    usual = Path("/proc/thread-self/comm").read_bytes().strip()
    assert LIBC.prctl(PR_SET_NAME, NAME.encode()) == 0
    try:
        with watch(Narrowing(comms=frozenset({NAME})), related=True) as w:
            yield w
    finally:
        assert LIBC.prctl(PR_SET_NAME, usual) == 0


def rows_until_now(w: Watch) -> list[dict[str, Any]]:
    """All rows of what this thread did so far, in order; the marker's own calls are left out."""
    mark = str(next(MARK))
    with socket.socket(socket.AF_UNIX) as s:
        LIBC.listen(s.fileno(), int(mark))  # EINVAL: it is not bound
        fd = s.fileno()
    seen = w.until(
        lambda rows: (
            any(row.get("connect.argument") == mark for row in rows)
            and rows[-1]["event.action"] == "close"
            and rows[-1]["connect.fd"] == fd
        )
    )
    w.seen = []
    at = next(i for i, row in enumerate(seen) if row.get("connect.argument") == mark)
    marked = seen[at]["connect.id"]
    return [row for row in seen if row.get("connect.id") != marked]


def story(rows: list[dict[str, Any]], names: dict[int, str]) -> list[str]:
    """One line per row: call, descriptor by name, what it gave, what it was about."""

    def line(row: dict[str, Any]) -> str:
        action, fd = row["event.action"], row.get("connect.fd")
        who = names.get(fd, str(fd)) if fd is not None else "-"
        if action == "end":
            told = f"{row['event.reason']} {row['source.bytes']}/{row['destination.bytes']}"
            assert row["network.bytes"] == row["source.bytes"] + row["destination.bytes"]
            assert row["event.duration"] > 0
            return f"end {who} {told}"
        returned = row["connect.return"]
        gave = errno.errorcode[-returned] if returned < 0 else returned
        if action == "connect":
            gave = row["connect.verdict"]
        elif action in ("socket", "accept"):
            gave = names.get(returned, gave)
        entry = "poll" if action == "poll" else row["connect.entry"]  # libraries differ in which they use
        return f"{entry} {who} = {gave} {row.get('connect.argument', '')}".rstrip()

    return [line(row) for row in rows]


def ids(rows: list[dict[str, Any]], names: dict[int, str]) -> dict[str, set[int]]:
    """The ids that the rows of each descriptor have; an accept is about the new socket."""
    found: dict[str, set[int]] = {}
    for row in rows:
        fd = row["connect.return"] if row["event.action"] == "accept" else row["connect.fd"]
        found.setdefault(names[fd], set()).add(row["connect.id"])
    return found


def test_nonblocking_client_and_its_server(talk: Watch) -> None:
    rows_until_now(talk)
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    address = server.getsockname()
    client = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    assert client.connect_ex(address) == errno.EINPROGRESS
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    assert poll.poll()
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    local = client.getsockname()
    peer, _ = server.accept()
    client.setblocking(True)
    names = {server.fileno(): "server", client.fileno(): "client", peer.fileno(): "peer"}
    cookie = struct.unpack("Q", client.getsockopt(socket.SOL_SOCKET, 57, 8))[0]  # SO_COOKIE
    for _ in range(2):
        client.sendall(b"x" * 120)
        assert len(peer.recv(4096)) == 120
        os.write(peer.fileno(), b"y" * 7)
        assert os.read(client.fileno(), 100) == b"y" * 7
    client.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    peer.close()
    assert client.recv(1) == b""
    client.close()
    server.close()
    rows = rows_until_now(talk)
    assert story(rows, names) == [
        "socket server = server IPPROTO_IP",
        "bind server = 0",
        "listen server = 0 5",
        "socket client = client IPPROTO_IP",
        "connect client = established",
        "poll client = 1",
        "getsockopt client = 0 SO_ERROR",
        "accept4 server = peer",
        "sendto client = 120",
        "recvfrom peer = 120",
        "write peer = 7",
        "read client = 7",
        "shutdown client = 0 SHUT_WR",
        "close peer = 0",
        "end peer closed_by_peer 14/240",
        "close client = 0",
        "end client closed_here 240/14",
        "close server = 0",
    ]
    assert [len(found) for found in ids(rows, names).values()] == [1, 1, 1]
    mine = [
        row
        for row in rows
        if row["connect.fd"] == client.fileno() or names.get(row["connect.fd"]) == "client"
    ]
    assert {row["connect.cookie"] for row in mine} == {cookie}
    bind = rows[1]
    assert (
        bind["connect.sockaddr"] == '{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("127.0.0.1")}'
    )
    assert (bind["source.ip"], bind["source.port"], bind.get("destination.ip")) == (*address, None)
    accept = next(row for row in rows if row["event.action"] == "accept")
    assert accept["connect.sockaddr"] == (
        f'{{sa_family=AF_INET, sin_port=htons({local[1]}), sin_addr=inet_addr("127.0.0.1")}}'
    )
    for row, (near, far) in ((accept, (address, local)), (rows[-2], (local, address))):
        assert (row["source.ip"], row["source.port"]) == near
        assert (row["destination.ip"], row["destination.port"]) == far
    assert rows[-2]["event.type"] == ["connection", "end"]
    assert [row["@timestamp"] for row in rows] == sorted(row["@timestamp"] for row in rows)


def test_refused_nonblocking_attempt(talk: Watch) -> None:
    """SO_ERROR gives the attempt's error; a connection that never was has no end."""
    rows_until_now(talk)
    with socket.socket() as closed, socket.socket() as client:
        closed.bind(("127.0.0.1", 0))
        client.setblocking(False)
        names = {client.fileno(): "client", closed.fileno(): "closed"}
        assert client.connect_ex(closed.getsockname()) in (errno.EINPROGRESS, errno.ECONNREFUSED)
        select.select([], [client], [])
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    rows = rows_until_now(talk)
    assert story(rows, names) == [
        "socket closed = closed IPPROTO_IP",
        "socket client = client IPPROTO_IP",
        "bind closed = 0",
        "connect client = refused",
        "poll client = 1",
        "getsockopt client = 0 SO_ERROR",
        "close client = 0",
        "close closed = 0",
    ]
    assert rows[5]["connect.errno"] == "ECONNREFUSED"


def test_blocking_client_that_breaks_off(talk: Watch) -> None:
    """Closing with unread bytes resets the connection, which the other side learns."""
    rows_until_now(talk)
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::1", 0))
        server.listen()
        client = socket.socket(socket.AF_INET6)
        client.connect(server.getsockname())
        peer, _ = server.accept()
        names = {client.fileno(): "client", peer.fileno(): "peer", server.fileno(): "server"}
        peer.sendall(b"unread")
        select.select([client], [], [])
        client.close()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        peer.close()
    rows = rows_until_now(talk)
    assert story(rows, names)[3:] == [
        "socket client = client IPPROTO_IP",
        "connect client = established",
        "accept4 server = peer",
        "sendto peer = 6",
        "close client = 0",
        "end client reset_here 0/6",
        "recvfrom peer = ECONNRESET",
        "close peer = 0",
        "end peer reset_by_peer 6/0",
        "close server = 0",
    ]
    assert {row["event.outcome"] for row in rows if row["event.action"] == "end"} == {"failure"}


def test_udp(talk: Watch) -> None:
    rows_until_now(talk)
    with socket.socket(type=socket.SOCK_DGRAM) as peer, socket.socket(type=socket.SOCK_DGRAM) as client:
        peer.bind(("127.0.0.1", 0))
        client.connect(peer.getsockname())
        names = {peer.fileno(): "peer", client.fileno(): "client"}
        peer.connect(client.getsockname())
        for _ in range(3):
            client.sendmsg([b"ab", b"cde"])
            assert peer.recv(2) == b"ab"  # the rest of the datagram is lost
            peer.send(b"z" * 100)
            assert client.recv(200, socket.MSG_PEEK) == b"z" * 100
            assert client.recv(200) == b"z" * 100
    rows = rows_until_now(talk)
    assert story(rows, names) == [
        "socket peer = peer IPPROTO_IP",
        "socket client = client IPPROTO_IP",
        "bind peer = 0",
        "connect client = associated",
        "connect peer = associated",
        "sendmsg client = 5",
        "recvfrom peer = 2",
        "sendto peer = 100",
        "recvfrom client = 100",
        "close client = 0",
        "end client closed_here 15/300",
        "close peer = 0",
        "end peer closed_here 300/6",
    ]
    assert [len(found) for found in ids(rows, names).values()] == [1, 1]


def test_unix(talk: Watch, tmp_path: Path) -> None:
    rows_until_now(talk)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        peer, _ = server.accept()
        names = {client.fileno(): "client", peer.fileno(): "peer", server.fileno(): "server"}
        client.sendall(b"hello")
        assert peer.recv(10) == b"hello"
        peer.close()
        assert client.recv(10) == b""
        client.close()
    rows = rows_until_now(talk)
    assert story(rows, names) == [
        "socket server = server 0",
        "bind server = 0",
        "listen server = 0 " + rows[2]["connect.argument"],
        "socket client = client 0",
        "connect client = established",
        "accept4 server = peer",
        "sendto client = 5",
        "recvfrom peer = 5",
        "close peer = 0",
        "end peer closed_here 0/5",
        "recvfrom client = 0",
        "close client = 0",
        "end client closed_by_peer 5/0",
        "close server = 0",
    ]
    assert rows[1]["connect.sockaddr"] == f'{{sa_family=AF_UNIX, sun_path="{path}"}}'


def child(work: Callable[[], None]) -> None:
    """Runs ``work`` in a forked process, which ends without closing anything, and waits for it."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0) == (pid, 0)


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "dies"])
def test_a_socket_of_two_processes_ends_once(talk: Watch, closes: bool) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client = socket.create_connection(server.getsockname())
        rows_until_now(talk)
        names = {client.fileno(): "client"}
        fd = client.fileno()
        child(lambda: os.close(fd) if closes else None)
        client.send(b"still here")
        client.close()
        rows = rows_until_now(talk)
    of_child = ["close client = 0"] if closes else []
    assert story(rows, names) == [
        *of_child,
        "sendto client = 10",
        "close client = 0",
        "end client closed_here 10/0",
    ]


def test_a_process_that_dies_takes_its_connections_along(talk: Watch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        rows_until_now(talk)

        def work() -> None:
            s = socket.create_connection(server.getsockname())
            s.send(b"bye")
            os._exit(0)  # `s` is still open

        child(work)
        rows = rows_until_now(talk)
    fd = rows[0]["connect.fd"]
    assert story(rows, {fd: "client"}) == [
        "socket client = client IPPROTO_TCP",
        "connect client = established",
        "sendto client = 3",
        "end client process_exited 3/0",
    ]
    assert len({row["process.pid"] for row in rows}) == 1


def programs() -> int:
    """BPF programs that this process holds."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.lexists(link) and os.readlink(link) == "anon_inode:bpf-prog" for link in links)


def test_nothing_of_it_is_loaded_when_off() -> None:
    """The programs are those of before, one by one; so it costs nothing where it is not asked for."""
    held = programs()
    with KernelSource(Narrowing(pids=frozenset({os.getpid()}))) as source:
        assert source.tier
        assert source._loaded
        names = {program.name for program in source._loaded.programs}
        ours = {program.name for program in CONVERSATION}
        known = (*SOCKET_PROGRAMS, *source.tier.evidence, *source.tier.programs, LEFTOVER, OVERLOOKED)
        assert names <= {program.name for program in known}
        assert not names & ours
        assert programs() - held == len(names)
