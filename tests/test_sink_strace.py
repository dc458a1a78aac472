"""The strace notation, line by line: what the call said, and in a comment what it could not know."""

from __future__ import annotations

import io
import os
from datetime import UTC
from typing import Any

import pytest

from callout.batch import Batch
from callout.rows import from_rows
from callout.sinks import Target
from callout.sinks.strace import StraceSink

NOON = 1_798_718_400_123_456_789
INET = '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.2.3.4")}'
CALL: dict[str, Any] = {
    "@timestamp": NOON,
    "event.action": "connect",
    "process.pid": 4242,
    "process.thread.id": 4243,
    "connect.entry": "connect",
    "connect.fd": 3,
    "connect.addrlen": 16,
    "connect.sockaddr": INET,
}
LEADER = f"[pid  4243] 12:00:00.123456 connect(3, {INET}, 16"


def lines(*rows: dict[str, Any]) -> str:
    stream = io.BytesIO()
    sink = StraceSink(Target(stream), zone=UTC)
    sink.write(Batch(len(rows), from_rows(rows)))
    sink.close(None)
    return stream.getvalue().decode()


REFUSED = {
    "connect.verdict": "refused",
    "connect.errno": "ECONNREFUSED",
    "connect.cause": "no_listener",
    "event.duration": 12_345_678,
}
ESTABLISHED = {"connect.verdict": "established", "event.duration": 1_012_345_678}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (ESTABLISHED | {"connect.return": 0}, ") = 0 <1.012345>"),
        (REFUSED | {"connect.return": -111}, ") = -1 ECONNREFUSED (Connection refused) <0.012345>"),
        (
            ESTABLISHED | {"connect.return": -115},
            ") = -1 EINPROGRESS (Operation now in progress) /* established after 1.01s */",
        ),
        (
            REFUSED | {"connect.return": -115},
            ") = -1 EINPROGRESS (Operation now in progress)"
            " /* refused (ECONNREFUSED: no_listener) after 12.3ms */",
        ),
        (
            {"connect.return": -115, "connect.verdict": "pending"},
            ") = -1 EINPROGRESS (Operation now in progress)",
        ),
        (
            {"connect.return": -512, "connect.verdict": "interrupted", "connect.errno": "EINTR"},
            ") = ? ERESTARTSYS (To be restarted if SA_RESTART is set) /* interrupted (EINTR) */",
        ),
        (
            ESTABLISHED | {"connect.return": -4},
            ") = -1 EINTR (Interrupted system call) /* established after 1.01s */",
        ),
        (
            {"connect.return": -95, "connect.verdict": "invalid", "connect.errno": "EOPNOTSUPP"},
            ") = -1 EOPNOTSUPP (Operation not supported)",
        ),
        (
            {"connect.return": -999, "connect.verdict": "invalid", "connect.errno": "999"},
            ") = -1 (errno 999)",
        ),
        ({"connect.verdict": "pending"}, ") = ?"),
        ({"connect.verdict": "aborted"}, ") = ? /* aborted */"),
        (
            ESTABLISHED | {"connect.entry": "io_uring", "connect.return": 0},
            ") = 0 <1.012345> /* io_uring */",
        ),
        (
            REFUSED | {"connect.entry": "kernel"},
            ") = ? /* kernel; refused (ECONNREFUSED: no_listener) after 12.3ms */",
        ),
        ({"event.action": "attempt"}, " <unfinished ...>"),
    ],
)
def test_connect(fields: dict[str, Any], expected: str) -> None:
    assert lines(CALL | fields) == LEADER + expected + "\n"


@pytest.mark.parametrize(
    ("entry", "call"),
    [
        ("sendto", f"sendto(3, ..., ..., ..., {INET}, 16)"),
        ("sendto_fastopen", f"sendto(3, ..., ..., MSG_FASTOPEN, {INET}, 16)"),
        ("sendmsg", f"sendmsg(3, {{msg_name={INET}, msg_namelen=16, ...}}, ...)"),
        ("sendmsg_fastopen", f"sendmsg(3, {{msg_name={INET}, msg_namelen=16, ...}}, MSG_FASTOPEN)"),
        ("sendmmsg", f"sendmmsg(3, [{{msg_hdr={{msg_name={INET}, msg_namelen=16, ...}}, ...}}], ...)"),
    ],
)
def test_other_calls(entry: str, call: str) -> None:
    assert lines(CALL | {"connect.entry": entry}) == f"[pid  4243] 12:00:00.123456 {call} = ?\n"


def test_losses_unknown_values_and_hostile_text() -> None:
    rows = [
        CALL | {"connect.return": 0, "connect.lost_before": 1, "process.thread.id": 123456},
        {"connect.sockaddr": "NULL\x1b[2J\n", "connect.lost_before": 2, "process.pid": 1},
        {},
    ]
    assert lines(*rows) == (
        "/* 1 attempt lost here */\n"
        f"[pid 123456] 12:00:00.123456 connect(3, {INET}, 16) = 0\n"
        "/* 2 attempts lost here */\n"
        "[pid     1] ? connect(?, NULL\\x1b[2J\\x0a, ?) = ?\n"
        "[pid     ?] ? connect(?, ?, ?) = ?\n"
    )


def test_error_texts_are_those_of_the_c_library() -> None:
    for number in range(1, 134):
        (line,) = lines(CALL | {"connect.return": -number, "connect.verdict": "pending"}).splitlines()
        assert f"({os.strerror(number)})" in line or f"(errno {number})" in line
