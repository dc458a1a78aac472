"""Whole rows: one real call, and everything that the row says of it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from callout import decode_sockaddr

from .watch import watch

pytestmark = pytest.mark.kernel
LIBC = ctypes.CDLL(None, use_errno=True)
VOLATILE = (
    "@timestamp",
    "event.duration",
    "process.start",
    "process.entity_id",
    "connect.id",
    "connect.cookie",
)


def connect(fd: int, address: int | bytes, length: int) -> int:
    """connect(2) itself: 0 or -errno."""
    result: int = LIBC.connect(
        fd, address if isinstance(address, bytes) else ctypes.c_void_p(address), length
    )
    return -ctypes.get_errno() if result < 0 else result


def stable(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what differs from run to run, after checking that it is there."""
    for name in VOLATILE[:-1]:
        assert row[name], name
    return {name: value for name, value in row.items() if name not in VOLATILE}


def test_refused_tcp() -> None:
    with watch() as w, socket.socket() as client, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        row = w.rows(1)[0]
        fd = client.fileno()
    assert 1024 < row.pop("source.port") < 65536
    assert stable(row) == {
        "event.kind": "event",
        "event.category": ["network"],
        "event.type": ["connection", "start"],
        "event.action": "connect",
        "event.outcome": "failure",
        "host.name": os.uname().nodename,
        "process.pid": os.getpid(),
        "process.thread.id": os.getpid(),
        "process.parent.pid": os.getppid(),
        "process.name": Path("/proc/self/comm").read_text().strip(),
        "user.id": os.getuid(),
        "group.id": os.getgid(),
        "source.ip": "127.0.0.1",
        "destination.ip": "127.0.0.1",
        "destination.port": port,
        "network.transport": "tcp",
        "network.type": "ipv4",
        "connect.entry": "connect",
        "connect.fd": fd,
        "connect.addrlen": 16,
        "connect.family": "AF_INET",
        "connect.type": "SOCK_STREAM",
        "connect.protocol": 6,
        "connect.sockaddr": f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("127.0.0.1")}}',
        "connect.nonblocking": False,
        "connect.return": -errno.ECONNREFUSED,
        "connect.verdict": "refused",
        "connect.errno": "ECONNREFUSED",
        "connect.cause": "no_listener",
        "connect.evidence": {"rst": True, "syns": 1},
        "connect.netns": os.stat("/proc/self/ns/net").st_ino,
    }


def test_udp_over_ipv6() -> None:
    with watch() as w, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.connect(("::1", 9))
        row = w.rows(1)[0]
        local = client.getsockname()
    told = {name: row[name] for name in ("source.ip", "source.port", "destination.ip", "destination.port")}
    assert told == {
        "source.ip": "::1",
        "source.port": local[1],
        "destination.ip": "::1",
        "destination.port": 9,
    }
    assert (row["connect.verdict"], row["network.transport"], row["network.type"]) == (
        "associated",
        "udp",
        "ipv6",
    )


@pytest.mark.parametrize("name", [b"\0callout-test\0\0", b"\0\xff\x1b[31m"], ids=["trailing", "control"])
def test_abstract_names_are_exact(name: bytes) -> None:
    with watch() as w, socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(name)
        server.listen()
        client.connect(name)
        row = w.rows(1)[0]
    address = struct.pack("H", socket.AF_UNIX) + name
    assert row["connect.sockaddr"] == decode_sockaddr(address)
    assert (row["connect.verdict"], row["network.transport"]) == ("established", "unix")


def test_every_length_and_family_as_the_kernel_gets_it() -> None:
    """With descriptor -1 the kernel never looks at the address: only the entry of the call shows it."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert LIBC.mprotect(ctypes.c_void_p(base + page), page, 0) == 0
    wanted = []
    with watch() as w:
        for family in (*range(0, 48), 255, 65535):
            for length in (
                0,
                1,
                2,
                3,
                8,
                12,
                16,
                17,
                20,
                24,
                28,
                32,
                36,
                64,
                88,
                96,
                108,
                110,
                111,
                127,
                128,
            ):
                data = (struct.pack("H", family) + bytes((i * 37 + family) % 256 for i in range(126)))[
                    :length
                ]
                start = base + page - length  # the byte after the last one cannot be read
                ctypes.memmove(start, data, length)
                assert connect(-1, start, length) == -errno.EBADF
                wanted.append(decode_sockaddr(data, length, pointer=start))
        rows = w.rows(len(wanted))
    assert [row["connect.sockaddr"] for row in rows] == wanted
    assert {(r["connect.verdict"], r["connect.errno"], r["connect.cause"]) for r in rows} == {
        ("invalid", "EBADF", "bad_descriptor")
    }


def test_unreadable_and_odd_lengths_print_the_pointer() -> None:
    with watch() as w, socket.socket() as client:
        fd = client.fileno()
        cases = [
            (0x10, 16, errno.EFAULT),
            (0, 16, errno.EFAULT),
            (0x10, -1, errno.EINVAL),
            (0x10, 129, errno.EINVAL),
        ]
        for pointer, length, error in cases:
            assert connect(fd, pointer, length) == -error
        rows = w.rows(len(cases))
    assert [r["connect.sockaddr"] for r in rows] == ["0x10", "NULL", "0x10", "0x10"]
    assert [r["connect.cause"] for r in rows] == ["bad_pointer", "bad_pointer", "bad_length", "bad_length"]


def test_only_the_asked_bytes_are_read() -> None:
    """A later, shorter address of the same thread shows nothing of the longer one before it."""
    with watch() as w, socket.socket(socket.AF_UNIX) as client:
        long = struct.pack("H", socket.AF_UNIX) + b"/" + b"secret" * 17
        assert connect(client.fileno(), long, len(long)) == -errno.ENOENT
        assert connect(client.fileno(), struct.pack("H", socket.AF_UNIX) + b"/no", 5) == -errno.ENOENT
        rows = w.rows(2)
    assert rows[1]["connect.sockaddr"] == '{sa_family=AF_UNIX, sun_path="/no"}'
    assert rows[1]["destination.address"] == "/no"
