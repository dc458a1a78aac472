"""The calls around an attempt, as people and readers of strace get them."""

from __future__ import annotations

import io
from datetime import UTC
from typing import Any

import pytest

from callout.batch import Batch
from callout.rows import from_rows
from callout.sinks import Target
from callout.sinks.related import Call, short, told, written
from callout.sinks.strace import StraceSink
from callout.sinks.table import TableSink

INET = '{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("1.2.3.4")}'
INET6 = (
    "{sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), "
    'inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}'
)
NOTHING = dict.fromkeys(Call._fields)


def call(action: str, **values: Any) -> Call:
    return Call(**{**NOTHING, "action": action, "entry": action, **values})


@pytest.mark.parametrize(
    ("made", "people", "strace"),
    [
        (
            call("socket", fd=3, returned=3, family="AF_INET", type="SOCK_STREAM", nonblocking=True,
                 argument="IPPROTO_TCP"),
            "socket → 3",
            "socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP)",
        ),
        (
            call("socket", returned=-97, family="AF_CAN", type="SOCK_RAW", argument="0", error="EAFNOSUPPORT"),
            "socket EAFNOSUPPORT",
            "socket(AF_CAN, SOCK_RAW, 0)",
        ),
        (
            call("bind", fd=3, returned=-98, sockaddr=INET, addrlen=16, error="EADDRINUSE"),
            "bind 3 ← 1.2.3.4:53 EADDRINUSE",
            f"bind(3, {INET}, 16)",
        ),
        (call("listen", fd=3, returned=0, argument="5"), "listen 3 backlog 5", "listen(3, 5)"),
        (
            call("accept", entry="accept4", fd=3, returned=4, sockaddr=INET6, addrlen=28),
            "accept 3 → 4 from [::1]:53",
            f"accept4(3, {INET6}, [28], ...)",
        ),
        (call("accept", fd=3, returned=4, sockaddr=INET), "accept 3 → 4 from 1.2.3.4:53", "accept(3, NULL, NULL)"),
        (call("accept", fd=3, returned=-22, error="EINVAL"), "accept 3 EINVAL", "accept(3, NULL, NULL)"),
        (
            call("getsockopt", fd=3, returned=0, argument="SO_ERROR"),
            "getsockopt 3 SO_ERROR 0",
            "getsockopt(3, SOL_SOCKET, SO_ERROR, [0], [4])",
        ),
        (
            call("getsockopt", fd=3, returned=0, argument="SO_ERROR", error="ECONNREFUSED"),
            "getsockopt 3 SO_ERROR ECONNREFUSED",
            "getsockopt(3, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4])",
        ),
        (call("poll", fd=3, returned=1), "poll 3 ready", "poll([{fd=3, ...}], ...)"),
        (call("poll", entry="epoll_wait", fd=3, returned=1), "poll 3 ready", "epoll_wait(...)"),
        (call("send", entry="write", fd=3, returned=1), "send 3 1 byte", "write(3, ..., ...)"),
        (call("send", entry="sendmmsg", fd=3, returned=2), "send 3 2 messages", "sendmmsg(3, ..., ..., ...)"),
        (
            call("receive", entry="recvfrom", fd=3, returned=-104, error="ECONNRESET"),
            "receive 3 ECONNRESET",
            "recvfrom(3, ..., ..., ..., ..., ...)",
        ),
        (call("shutdown", fd=3, returned=0, argument="SHUT_WR"), "shutdown 3 SHUT_WR", "shutdown(3, SHUT_WR)"),
        (call("close", fd=3, returned=0), "close 3", "close(3)"),
        (
            call("end", entry=None, fd=3, reason="closed_by_peer", took=2_500_000, sent=1200, received=7),
            "end 3 closed_by_peer after 2.50ms: 1,200 bytes sent, 7 received",
            "/* 3: closed_by_peer after 2.50ms; 1200 bytes sent, 7 received */",
        ),
    ],
)  # fmt: skip
def test_each_call(made: Call, people: str, strace: str) -> None:
    assert (told(made), written(made)) == (people, strace)


def test_short_addresses() -> None:
    assert short('{sa_family=AF_UNIX, sun_path="/run/s"}') == "/run/s"
    assert short('{sa_family=AF_UNIX, sun_path=@"abstract"}') == "@abstract"
    assert short("{sa_family=AF_UNIX}") == "AF_UNIX"
    assert short(None) == "?"


def test_what_processes_choose_is_escaped() -> None:
    made = call("bind", fd=3, returned=0, sockaddr='{sa_family=AF_UNIX, sun_path="\x1b[31m"}', addrlen=8)
    assert "\x1b" not in told(made) + written(made)


ROW: dict[str, Any] = {
    "@timestamp": 1_798_718_400_123_456_789,
    "process.pid": 4242,
    "process.thread.id": 4243,
    "process.name": "nc",
}
ROWS = [
    {**ROW, "event.action": "listen", "event.duration": 2_000, "connect.entry": "listen", "connect.fd": 3,
     "connect.argument": "5", "connect.return": 0},
    {**ROW, "event.action": "connect", "connect.entry": "connect", "connect.fd": 3, "connect.verdict": "established",
     "connect.sockaddr": INET, "connect.addrlen": 16, "connect.return": 0, "destination.ip": "1.2.3.4",
     "destination.port": 53, "network.transport": "tcp"},
    {**ROW, "event.action": "close", "connect.entry": "close", "connect.fd": 3, "connect.return": -9,
     "connect.errno": "EBADF"},
]  # fmt: skip


def test_among_attempts_in_the_table() -> None:
    stream = io.BytesIO()
    TableSink(Target(stream, color=True, width=80), zone=UTC).write(Batch(len(ROWS), from_rows(ROWS)))
    assert stream.getvalue().decode().splitlines() == [
        "\x1b[2mnc[4242]             listen 3 backlog 5\x1b[0m",
        "nc[4242]           → 1.2.3.4:53             \x1b[32mestablished\x1b[0m",
        "\x1b[2mnc[4242]             close 3 EBADF\x1b[0m",
    ]


def test_among_attempts_in_strace() -> None:
    stream = io.BytesIO()
    StraceSink(Target(stream), zone=UTC).write(Batch(len(ROWS), from_rows(ROWS)))
    leader = "[pid  4243] 12:00:00.123456 "
    assert stream.getvalue().decode().splitlines() == [
        leader + "listen(3, 5) = 0 <0.000002>",
        leader + f"connect(3, {INET}, 16) = 0",
        leader + "close(3) = -1 EBADF (Bad file descriptor)",
    ]
