"""Sends that are attempts, whole: results, destinations, and one row for each change of them.

Where a send is seen only with programs that others pay for, they are asked for, as `--sends` does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from callout.capture.kernel import KernelSource
from callout.lab import libc
from callout.lab.address import inet, unix
from callout.lab.ways.message import Message
from callout.narrowing import Narrowing

from .watch import Watch

pytestmark = pytest.mark.kernel
HOST = "127.0.0.1"
MSG_FASTOPEN = 0x20000000  # include/linux/socket.h
RETURNS = {"sent_any", "sent_udp4", "sent_unix"}


@contextmanager
def watched(ports: frozenset[int] | None = None) -> Iterator[Watch]:
    """Watches this process; skips where no program sees sends return."""
    with KernelSource(Narrowing(pids=frozenset({os.getpid()}), ports=ports), also=("sends",)) as source:
        if not RETURNS & {state.program.name for state in source.states if state.error is None}:
            pytest.skip(
                "this tier and kernel have no program that sees sends return (Linux 6.3, or trampolines)"
            )
        yield Watch(source)


def bound(kind: int = socket.SOCK_DGRAM) -> tuple[socket.socket, bytes]:
    server = socket.socket(socket.AF_INET, kind)
    server.bind((HOST, 0))
    return server, inet(HOST, server.getsockname()[1])


def send(caller: socket.socket, address: bytes, data: bytes = b"x", flags: int = 0) -> int:
    return libc.sendto(caller.fileno(), data, flags, address)


def test_each_message_of_one_sendmmsg_has_its_own_destination() -> None:
    one, first = bound()
    two, second = bound()
    ports = [server.getsockname()[1] for server in (one, two, one)]
    with one, two, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller, watched() as w:
        messages = [Message(address) for address in (first, second, first)]
        vector = ctypes.create_string_buffer(b"".join(ctypes.string_at(m.at, 64) for m in messages))
        sent = ctypes.CDLL(None, use_errno=True).sendmmsg(caller.fileno(), vector, 3, 0)
        assert sent == 3
        rows = w.rows(3)
    assert [row["destination.port"] for row in rows] == ports
    for row, port in zip(rows, ports, strict=True):
        assert f"htons({port})" in row["connect.sockaddr"]
        assert (row["connect.entry"], row["connect.return"], row["connect.addrlen"]) == ("sendmmsg", 0, 16)
        assert "connect.swapped" not in row


def test_one_row_for_each_change_of_where_a_socket_sends() -> None:
    name, other = f"\0callout-sends-{os.getpid()}", f"\0callout-other-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again,
        watched() as w,
    ):
        assert [send(caller, unix(name)) for _ in range(3)] == [-errno.ECONNREFUSED] * 3
        server.bind(name)
        second.bind(other)
        assert [send(caller, unix(name)) for _ in range(3)] == [1] * 3
        assert send(caller, unix(other)) == 1
        assert send(caller, unix(name)) == 1
        assert send(again, unix(name)) == 1
        rows = w.rows(5)
    assert [(row["connect.return"], row["connect.verdict"], row["event.outcome"]) for row in rows] == [
        (-errno.ECONNREFUSED, "refused", "failure"),
        *[(0, "associated", "unknown")] * 4,
    ]
    assert [row["destination.address"] for row in rows] == [
        f"@{n[1:]}" for n in (name, name, other, name, name)
    ]
    assert {row["connect.entry"] for row in rows} == {"sendto"}
    assert {row["network.transport"] for row in rows} == {"unix"}


def test_what_a_queue_has_no_room_for_is_no_other_destination() -> None:
    name = f"\0callout-full-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
        watched() as w,
    ):
        server.bind(name)
        caller.setblocking(False)
        results: list[int] = []
        while not results or results[-1] == 1:  # until the receiver's queue is full (unix(7))
            results.append(send(caller, unix(name)))
        assert results[-1] == -errno.EAGAIN
        server.recv(1)
        assert send(caller, unix(name)) == 1
        (row,) = w.rows(1)
    assert row["connect.return"] == 0


def test_connected_sockets_that_send_make_no_rows() -> None:
    server, _ = bound()
    local, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with server, local, remote, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.connect(server.getsockname())
        with watched() as w:
            assert [local.send(b"x"), os.write(local.fileno(), b"x"), caller.send(b"x")] == [1, 1, 1]
            assert caller.sendto(b"x", server.getsockname()) == 1
            (row,) = w.rows(1)
    assert (row["connect.entry"], row["connect.return"]) == ("sendto", 0)


def test_a_datagram_that_the_kernel_refuses() -> None:
    """Broadcast without SO_BROADCAST: refused after the destination was seen (net/ipv4/udp.c)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller, watched() as w:
        assert send(caller, inet("127.255.255.255", 9)) == -errno.EACCES
        (row,) = w.rows(1)
    assert (row["connect.return"], row["connect.errno"], row["event.outcome"]) == (-13, "EACCES", "failure")
    assert row["connect.verdict"] == "denied"


def test_fast_open_that_is_refused() -> None:
    closed, address = bound(socket.SOCK_STREAM)
    with closed, socket.socket() as caller, watched() as w:
        assert send(caller, address, flags=MSG_FASTOPEN) == -errno.ECONNREFUSED
        (row,) = w.rows(1)
    assert (row["connect.return"], row["connect.verdict"]) == (-errno.ECONNREFUSED, "refused")
    assert (row["connect.entry"], row["connect.fastopen"]) == ("sendto_fastopen", True)


def test_narrowing_by_port_and_family_holds_for_sends() -> None:
    one, first = bound()
    two, second = bound()
    wanted = two.getsockname()[1]
    name = f"\0callout-narrow-{os.getpid()}"
    with (
        one,
        two,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local,
        watched(ports=frozenset({wanted})) as w,
    ):
        server.bind(name)
        assert [send(caller, first), send(local, unix(name)), send(caller, second)] == [1, 1, 1]
        (row,) = w.rows(1)
    assert row["destination.port"] == wanted


def test_a_raw_packet() -> None:
    echo = struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as caller, watched() as w:
        assert send(caller, inet(HOST, 0), echo) == len(echo)
        (row,) = w.rows(1)
    assert (row["destination.ip"], row["network.transport"], row["connect.return"]) == (HOST, "icmp", 0)
