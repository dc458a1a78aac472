"""The table, whole: rows, what gives way when room is short, colours and totals."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.batch import Batch
from callout.rows import from_rows
from callout.sinks import Target
from callout.sinks.table import TableSink
from callout.summary import Summary
from callout.terminal import width

NOON = 1_798_718_400_123_456_789  # 2026-12-31 12:00:00.123456789 UTC
CURL = {"@timestamp": NOON, "process.name": "curl", "process.pid": 4242, "event.action": "connect"}
WEB = CURL | {"destination.ip": "93.184.216.34", "destination.port": 443, "network.transport": "tcp"}

ROWS: list[dict[str, Any]] = [
    WEB | {"connect.verdict": "established", "event.duration": 12_345_678},
    WEB
    | {"connect.verdict": "refused", "connect.errno": "ECONNREFUSED", "connect.cause": "rst_from_peer"}
    | {"event.duration": 870_000},
    WEB
    | {"destination.ip": "2001:db8:85a3:1111:2222:8a2e:370:7334"}
    | {"connect.verdict": "timed_out", "connect.errno": "ETIMEDOUT", "connect.cause": "syn_unanswered"}
    | {"event.duration": 131_000_000_000},
    WEB | {"connect.verdict": "associated", "network.transport": "udp", "destination.port": 53},
    CURL
    | {"network.transport": "unix", "destination.address": "@\x00bus\x1b[2J\udcff"}
    | {"connect.sockaddr": "{sa_family=AF_UNIX, sun_path=@...}", "connect.verdict": "established"}
    | {"process.name": "a\u202eb"},
    CURL
    | {"connect.sockaddr": "{sa_family=AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=1234}"}
    | {"destination.address": "2:1234", "connect.verdict": "invalid", "connect.errno": "EINVAL"},
    WEB | {"event.action": "attempt", "connect.lost_before": 7},
    {"connect.verdict": "pending"},
]


def table(rows: list[dict[str, Any]], columns: int = 80, **options: Any) -> str:
    stream = io.BytesIO()
    color = options.pop("color", False)
    sink = TableSink(Target(stream, width=columns, color=color), zone=UTC, **options)
    sink.write(Batch(len(rows), from_rows(rows)))
    return stream.getvalue().decode()


AT_80 = r"""
curl[4242]         → 93.184.216.34:443      established  12.3ms
curl[4242]     → 93.184.216.34:443  refused (ECONNREFUSED: rst_from_peer)  870µs
curl[4242] → [2001:db8:…:7334]:443  timed_out (ETIMEDOUT: syn_unanswered)  2m11s
curl[4242]         → 93.184.216.34:53/udp   associated
a\u202eb[4242]     → @\x00bus\x1b[2J\xff    established
curl[4242]  → AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=1234  invalid (EINVAL)
… 7 attempts lost here
curl[4242]         → 93.184.216.34:443      attempt …
                   → ?                      pending
"""

AT_120 = r"""
12:00:00.123 curl[4242]         → 93.184.216.34:443                         established  12.3ms
12:00:00.123 curl[4242]         → 93.184.216.34:443                         refused (ECONNREFUSED: rst_from_peer)  870µs
12:00:00.123 curl[4242]      → [2001:db8:85a3:1111:2222:8a2e:370:7334]:443  timed_out (ETIMEDOUT: syn_unanswered)  2m11s
12:00:00.123 curl[4242]         → 93.184.216.34:53/udp                      associated
12:00:00.123 a\u202eb[4242]     → @\x00bus\x1b[2J\xff                       established
12:00:00.123 curl[4242]         → AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=1234  invalid (EINVAL)
… 7 attempts lost here
12:00:00.123 curl[4242]         → 93.184.216.34:443                         attempt …
                                → ?                                         pending
"""

AT_60 = r"""
curl[4242]         → 93.184.216.34:443   established  12.3ms
curl[4242]         → 93.184.216.34:443      refused  870µs
    (ECONNREFUSED: rst_from_peer)
"""

EXPLAINED = r"""
12:00:00.123 curl[4242]         → 93.184.216.34:443      established  12.3ms  the peer accepted
12:00:00.123 curl[4242]         → 93.184.216.34:443     refused (ECONNREFUSED: rst_from_peer)  870µs
             the peer answered with RST: nothing listens on that port there
"""

COLORED = """
curl[4242]         → 93.184.216.34:443      \x1b[32mestablished\x1b[0m\x1b[2m  12.3ms\x1b[0m
curl[4242]     → 93.184.216.34:443  \x1b[31mrefused (ECONNREFUSED: rst_from_peer)\x1b[0m\x1b[2m  870µs\x1b[0m
"""


def test_eighty_columns() -> None:
    assert "\n" + table(ROWS) == AT_80


def test_width_that_is_there_is_used() -> None:
    assert "\n" + table(ROWS, 120) == AT_120


def test_cause_without_room_goes_below() -> None:
    assert "\n" + table(ROWS[:2], 60) == AT_60


def test_explain_says_what_it_means() -> None:
    assert "\n" + table(ROWS[:2], 100, explain=True) == EXPLAINED


def test_habits_have_their_name_and_no_alarming_color() -> None:
    rows = [
        WEB | {"connect.verdict": "refused", "connect.errno": "ECONNREFUSED", "connect.pattern": "fallback"},
        WEB | {"connect.verdict": "associated", "connect.pattern": "address_sort_probe"},
    ]
    assert table(rows, color=True) == (
        "curl[4242]         → 93.184.216.34:443      \x1b[2mrefused (ECONNREFUSED, fallback)\x1b[0m\n"
        "curl[4242]         → 93.184.216.34:443      \x1b[2massociated (address_sort_probe)\x1b[0m\n"
    )


def test_colors() -> None:
    assert "\n" + table(ROWS[:2], color=True) == COLORED


def test_lost_and_attempt_rows_in_color() -> None:
    assert table(ROWS[6:7], color=True) == (
        "\x1b[1;31m… 7 attempts lost here\x1b[0m\n"
        "curl[4242]         → 93.184.216.34:443      \x1b[2mattempt …\x1b[0m\n"
    )


def test_a_name_stands_where_it_fits_and_says_when_it_is_not_sure() -> None:
    row = WEB | {"destination.domain": "www.example\x1b.org", "connect.verdict": "established"}
    unsure = row | {"connect.domain_confidence": "low"}
    assert " → www.example\\x1b.org (93.184.216.34:443) " in table([row], 80)
    assert " → www.example\\x1b.org? (93.184.216.34:443) " in table([unsure], 80)
    assert " → 93.184.216.34:443 " in table([row], 60)
    assert "example" not in table([row], 60)


def test_domain_and_long_path() -> None:
    rows = [
        WEB | {"destination.domain": "example.org", "connect.verdict": "established"},
        CURL
        | {"destination.address": "/run/user/1000/containerd/containerd.sock", "network.transport": "unix"}
        | {"connect.verdict": "unreachable", "connect.errno": "ENOENT", "connect.cause": "unix_no_path"},
    ]
    assert table(rows, 100) == (
        "12:00:00.123 curl[4242]         → example.org (93.184.216.34:443)           established\n"
        "12:00:00.123 curl[4242] → /run/user/1000/cont…rd/containerd.sock  "
        "unreachable (ENOENT: unix_no_path)\n"
    )


WORDS = st.text(st.sampled_from("abc/.名\x1b\u202e\udcff"), max_size=50)


@given(
    WORDS,
    WORDS,
    st.integers(1, 1 << 22),
    st.sampled_from(["established", "unreachable", "timed_out", "x" * 9]),
    st.sampled_from([None, "icmp_host_unreachable", "no_route"]),
    st.integers(60, 200),
    st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    name: str, address: str, pid: int, verdict: str, cause: str | None, columns: int, explain: bool
) -> None:
    row: dict[str, Any] = CURL | {
        "process.name": name,
        "process.pid": pid,
        "destination.address": address,
        "network.transport": "unix",
        "connect.verdict": verdict,
        "connect.errno": "EHOSTUNREACH",
        "event.duration": 123_456_789,
    }
    lines = table([row | ({"connect.cause": cause} if cause else {})], columns, explain=explain)
    assert [line for line in lines.splitlines() if width(line) > columns or not line.isprintable()] == []


SUMMARY = Summary(attempts=3, rows=2, lost=1, verdicts=Counter(established=1, refused=1), seconds=1.5)


@pytest.mark.parametrize(
    ("terminal", "totals"),
    [
        (False, ""),
        (
            True,
            "3 attempts in 1.50s: 1 refused, 1 established\nLOST 1 attempt: what is shown is incomplete\n",
        ),
    ],
)
def test_totals_only_on_a_terminal(terminal: bool, totals: str) -> None:
    stream = io.BytesIO()
    sink = TableSink(Target(stream, terminal=terminal))
    sink.write(Batch(0, {}))
    sink.close(SUMMARY)
    assert (sink.shows_totals, stream.getvalue().decode()) == (terminal, totals)


SHOP = {
    "orchestrator.resource.name": "shop-7d9f8b6c5-x2x4z",
    "container.name": "web",
    "container.id": "ab" * 32,
}
BELONGING = [
    WEB | SHOP | {"connect.verdict": "established"},
    WEB | {"container.name": "web", "container.id": "ab" * 32, "connect.verdict": "established"},
    WEB | {"container.id": "ab" * 32, "connect.verdict": "established"},
    WEB | {"container.name": "w\x1b[2J", "connect.verdict": "established"},
    WEB | {"service.name": "cron.service", "connect.verdict": "established"},
    WEB | {"service.name": "session-3.scope", "connect.verdict": "established"},
    WEB | {"service.name": "user@1000.service", "connect.verdict": "established"},
    WEB
    | SHOP
    | {"connect.verdict": "refused", "connect.errno": "ECONNREFUSED", "connect.cause": "rst_from_peer"},
]

BELONGING_80 = r"""
shop-7…x2x4z[4242] → 93.184.216.34:443      established
web:curl[4242]     → 93.184.216.34:443      established
abababababab[4242] → 93.184.216.34:443      established
w\x1b[2J[4242]     → 93.184.216.34:443      established
cron:curl[4242]    → 93.184.216.34:443      established
curl[4242]         → 93.184.216.34:443      established
curl[4242]         → 93.184.216.34:443      established
shop-7…x2x4z[4242] → 93.184.216.34:443     refused (ECONNREFUSED: rst_from_peer)
"""


def test_the_most_telling_name() -> None:
    shown = table(BELONGING)
    assert shown == BELONGING_80.lstrip("\n")
    assert max(width(line) for line in shown.splitlines()) <= 80


def test_with_room_the_process_is_named_too() -> None:
    first = table(BELONGING, 120).splitlines()[0]
    assert "shop-7d9f8b6c5-x2x4z:curl[4242]" not in first, "31 columns are more than a name may take"
    assert "shop-7d9f8b6c5-x2x4z[4242]" in first
    assert "ababababab" + "ab:curl[4242]" in table(BELONGING, 120)
