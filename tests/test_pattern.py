"""Client habits among rows: what gets a name, what looks alike and does not, and what happens to such rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bench.patterns import floods
from hypothesis import given
from hypothesis import strategies as st

from callout.batch import Batch, Coded, concatenate
from callout.pattern import NAMES, WINNERS, Patterns, habits
from callout.picked import SECOND
from callout.pipeline import Stop, flow
from callout.probes import STEPS
from callout.rows import from_rows
from callout.summary import Summary

Row = dict[str, Any]
MS = SECOND // 1000
NOON = 1_798_718_400 * SECOND


def row(at: int, pid: int = 7, **more: Any) -> Row:
    """An attempt that begins ``at`` nanoseconds after noon and takes 10 µs; `_` in names stands for a dot."""
    base: Row = {
        "@timestamp": NOON + at,
        "event.duration": 10_000,
        "process.pid": pid,
        "process.thread.id": pid,
        "connect.fd": 3,
        "connect.nonblocking": False,
        "connect.return": 0,
    }
    return base | {name.replace("_", ".", 1): value for name, value in more.items()}


def unix(at: int, path: str, verdict: str = "unreachable") -> Row:
    return row(at, network_transport="unix", destination_address=path, connect_verdict=verdict)


def udp(at: int, ip: str | None, port: int = 443, verdict: str = "associated", **more: Any) -> Row:
    """A UDP call; without an address it dissolves."""
    if ip is None:
        return row(at, network_transport="udp", network_type="ipv6", destination_ip="::1", destination_port=0,
                   connect_verdict="dissolved", **more)  # fmt: skip
    return internet(at, "udp", ip, port, verdict, more)


def tcp(at: int, ip: str, port: int = 443, verdict: str = "established", **more: Any) -> Row:
    return internet(at, "tcp", ip, port, verdict, more)


def internet(at: int, transport: str, ip: str, port: int, verdict: str, more: dict[str, Any]) -> Row:
    kind = "ipv6" if ":" in ip else "ipv4"
    where: dict[str, Any] = {"destination_ip": ip, "destination_port": port}
    return row(at, network_transport=transport, network_type=kind, connect_verdict=verdict, **(where | more))


RACING: dict[str, Any] = {"connect_nonblocking": True, "connect_return": -115}
CLOSED: dict[str, Any] = {"verdict": "aborted", "connect_cause": "closed_by_application"} | RACING
N, P, L, C, F = NAMES


def by_kind(batch: Batch) -> Batch:
    """The same rows as one of each kind and what is each row's own."""
    own = ("@timestamp", "event.duration", "connect.fd", "connect.cookie")
    names = [name for name in batch.names if name not in own]
    rows = list(zip(*(batch.column(name).tolist() for name in names), strict=True))
    kinds = list(dict.fromkeys(rows))
    first = np.array([rows.index(kind) for kind in kinds])
    few = Batch(len(kinds), {name: batch.column(name).take(first) for name in names})
    columns = {name: batch.column(name) if name in own else None for name in batch.names}
    return Batch(len(batch), columns, few=few, codes=np.array([kinds.index(row) for row in rows]))


def named(*batches: list[Row]) -> list[list[str | None]]:
    """The patterns of batches that come one after another."""
    patterns, alike = Patterns(), Patterns()
    found = []
    for rows in batches:
        batch = Batch(len(rows), from_rows(rows))
        patterns.mark(batch)
        found.append(batch.column("connect.pattern").tolist())
        if rows:
            known = by_kind(Batch(len(rows), from_rows(rows)))
            alike.mark(known)
            assert known.column("connect.pattern").tolist() == found[-1], "the same where kinds are known"
    return found


# Each case: rows, each with the pattern that it gets.
CASES: dict[str, list[tuple[Row, str | None]]] = {
    "nscd": [
        (unix(0, "/var/run/nscd/socket"), N),
        (unix(1, "/run/nscd/socket", "refused"), N),
        (unix(2, "/run/nscd/socket", "established"), None),
        (unix(3, "/run/nscd/socket", "denied"), None),
        (unix(4, "/run/other/socket"), None),
    ],
    "port 0": [
        (udp(0, "192.0.2.1", 0), P),
        (udp(1, "2001:db8::1", 0, "unreachable", connect_nonblocking=True), P),
        (udp(2, "192.0.2.1", 0, "denied"), None),
        (tcp(3, "192.0.2.1", 0, "refused"), None),
    ],
    "port 9 is Go's where it does not block, port 65535 musl's where it does": [
        (udp(0, "192.0.2.1", 9, connect_nonblocking=True), P),
        (udp(1, "192.0.2.1", 9), None),
        (udp(2, "127.0.0.1", 65535), P),
        (udp(3, "127.0.0.1", 65535, connect_nonblocking=True), None),
    ],
    "port 53 is Go's for addresses one after another": [
        (udp(0, "2001:db8::1", 53, connect_nonblocking=True), P),
        (udp(1_000, "192.0.2.9", 53, connect_nonblocking=True, pid=8), None),
        (udp(20_000, "192.0.2.1", 53, connect_nonblocking=True, process_thread__id=70), P),
        (udp(40_000, "192.0.2.2", 53, "unreachable", connect_nonblocking=True), P),
        (udp(60_000, "192.0.2.3", 53, connect_nonblocking=True, connect_fd=4), None),  # name servers side by side
        (udp(5 * MS, "192.0.2.1", 53, connect_nonblocking=True), None),  # long enough for an answer
        (udp(9 * MS, "192.0.2.4", 53, connect_nonblocking=True), None),
        (udp(9 * MS + 20_000, "192.0.2.4", 53, connect_nonblocking=True), None),
        (udp(20 * MS, "192.0.2.1", 53), None),
        (udp(20 * MS + 10_010, "192.0.2.2", 53), None),
    ],
    "glibc, IPv6 first, one socket": [
        (udp(0, "2001:db8::1", verdict="unreachable"), P),
        (udp(20_000, None), P),
        (udp(40_000, "::ffff:192.0.2.1"), P),
        (udp(60_000, None), P),
        (udp(80_000, "::ffff:192.0.2.2"), P),
        (udp(120_000, "192.0.2.1"), None),  # what the application does with the sorted addresses
    ],
    "glibc, IPv4 first, then a socket for IPv6": [
        (udp(0, "192.0.2.1"), P),
        (udp(20_000, "2001:db8::1"), P),
        (udp(60_000, "2001:db8::1"), None),
    ],
    "not a loop: other port, too late, other descriptor, other order, does not wait": [
        (udp(0, "192.0.2.1"), None),
        (udp(20_000, "2001:db8::1", 80), None),
        (udp(100 * MS, "192.0.2.1"), None),
        (udp(200 * MS, "2001:db8::1"), None),
        (udp(300 * MS, "192.0.2.1"), None),
        (udp(300 * MS + 20_000, "2001:db8::1", connect_fd=4), None),
        (udp(400 * MS, "2001:db8::1"), None),
        (udp(400 * MS + 20_000, "192.0.2.1"), None),
        (udp(500 * MS, "192.0.2.1", connect_nonblocking=True), None),
        (udp(500 * MS + 20_000, "2001:db8::1", connect_nonblocking=True), None),
    ],
    "dissolving alone is no loop": [
        (udp(0, "192.0.2.1"), None),
        (udp(20_000, None), None),
        (udp(100 * MS, "192.0.2.1"), None),
    ],
    "threads side by side": [
        (udp(0, "2001:db8::1"), P),
        (udp(1_000, "2001:db8::1", process_thread__id=8), None),
        (udp(20_000, None), P),
        (udp(30_000, "192.0.2.9", process_thread__id=9), None),
        (udp(40_000, "::ffff:192.0.2.1"), P),
    ],
    "followed by TCP": [
        (udp(0, "192.0.2.1"), P),
        (udp(1_000, "::ffff:192.0.2.2"), P),
        (udp(2_000, "192.0.2.3"), None),
        (udp(3_000, "192.0.2.2", 80), None),
        (udp(4_000, "192.0.2.1", pid=8), None),
        (udp(5_000, "192.0.2.1", connect_nonblocking=True), None),  # QUIC beside TCP
        (udp(6_000, "192.0.2.53", 53), None),  # DNS, truncated
        (tcp(20 * MS, "192.0.2.1", process_thread__id=70), None),
        (tcp(30 * MS, "192.0.2.2", verdict="timed_out"), None),
        (tcp(40 * MS, "192.0.2.53", 53), None),
        (tcp(1_100 * MS, "192.0.2.3"), None),
    ],
    "TCP before is no reason": [(tcp(0, "192.0.2.1"), None), (udp(1_000, "192.0.2.1"), None)],
    "a race, lost": [
        (tcp(200 * MS, "192.0.2.1", **RACING, event_duration=20 * MS), None),
        (tcp(0, "2001:db8::1", **CLOSED, event_duration=221 * MS), L),
        (tcp(0, "2001:db8::1", 80, **CLOSED, event_duration=221 * MS), None),
        (tcp(0, "2001:db8::1", **CLOSED, event_duration=221 * MS, pid=8), None),
        (tcp(0, "192.0.2.2", **CLOSED, event_duration=221 * MS), None),  # one of many hosts, perhaps
        (tcp(0, "2001:db8::2", **CLOSED, event_duration=900 * MS), None),  # long after
        (tcp(-2 * SECOND, "2001:db8::2", **CLOSED, event_duration=2 * SECOND + 221 * MS), None),  # long before
        (tcp(0, "2001:db8::3", **CLOSED | {"connect_cause": "process_died"}, event_duration=221 * MS), L),
        (tcp(0, "2001:db8::3", **CLOSED | {"connect_cause": "unknown"}, event_duration=221 * MS), None),
        (tcp(0, "2001:db8::4", **RACING, verdict="timed_out", event_duration=221 * MS), None),
    ],
    "a race that the second may begin when the first is closed (Node)": [
        (tcp(0, "2001:db8::1", **CLOSED, event_duration=250 * MS), L),
        (tcp(251 * MS, "192.0.2.1", **RACING), None),
    ],
    "asked again": [
        (tcp(0, "192.0.2.1", **RACING, connect_cookie=5), None),
        (tcp(MS, "192.0.2.1", connect_nonblocking=True, connect_cookie=5), C),
        (tcp(2 * MS, "192.0.2.1", verdict="invalid", connect_errno="EISCONN", connect_cookie=5), C),
        (tcp(3 * MS, "192.0.2.1", 80, verdict="invalid", connect_errno="EISCONN", connect_cookie=5), None),
        (tcp(4 * MS, "192.0.2.1", verdict="invalid", connect_errno="EISCONN", connect_cookie=6), None),
        (tcp(5 * MS, "192.0.2.1", verdict="invalid", connect_errno="EISCONN"), None),
        (tcp(6 * MS, "192.0.2.1", connect_cookie=5), None),
        (tcp(7 * MS, "192.0.2.1", verdict="invalid", connect_errno="EINVAL", connect_cookie=5), None),
    ],
    "localhost": [
        (tcp(0, "::1", 5432, "refused"), F),
        (tcp(MS, "::1", 80, "refused"), None),
        (tcp(MS, "::2", 5432, "refused"), None),
        (tcp(MS, "::1", 5432, "refused", pid=8), None),
        (tcp(2 * MS, "127.0.0.1", 5432), None),
        (tcp(3 * MS, "127.0.0.1", 80, "refused"), None),
        (tcp(4 * MS, "::1", 5432, "refused"), None),  # after it
    ],
    "calls that are no attempts": [
        (udp(0, "192.0.2.1", 0, event_action="send"), None),
        (udp(1_000, "192.0.2.1", event_action="connect"), None),
        (tcp(2_000, "192.0.2.1", event_action="send"), None),
        (udp(3_000, "192.0.2.2", event_action="connect"), P),
        (tcp(4_000, "192.0.2.2", event_action="attempt"), None),
    ],
    "neither TCP nor UDP, no verdict, no transport": [
        (row(0, network_transport="sctp", connect_verdict="refused"), None),
        (row(1, network_transport="udp", destination_port=0, connect_nonblocking=False), None),
        (row(2, connect_verdict="invalid"), None),
    ],
}  # fmt: skip


def spelled(rows: Iterator[Row]) -> list[Row]:
    """`__` in names stands for the second dot."""
    return [{name.replace("__", "."): value for name, value in r.items()} for r in rows]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_row_gets_its_name(case: list[tuple[Row, str | None]]) -> None:
    assert named(spelled(r for r, _ in case)) == [[pattern for _, pattern in case]]


LOOP = [udp(0, "2001:db8::1"), udp(20_000, None), udp(40_000, "::ffff:192.0.2.1")]
PAIR = [udp(0, "192.0.2.1"), udp(20_000, "2001:db8::1")]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        # what is out stays as it is; the rest is recognised by what came before
        ([LOOP[:1], LOOP[1:]], [[None], [P, P]]),
        ([LOOP[:2], LOOP[2:]], [[None, None], [P]]),
        ([PAIR[:1], PAIR[1:]], [[None], [P]]),
        ([LOOP[:1], [tcp(30_000, "192.0.2.7")], LOOP[1:]], [[None], [None], [P, P]]),
        (
            [
                [tcp(200 * MS, "192.0.2.1", **RACING, event_duration=20 * MS)],
                [],
                [tcp(0, "2001:db8::1", **CLOSED, event_duration=221 * MS)],
            ],
            [[None], [], [L]],
        ),
        (
            [
                [tcp(0, "192.0.2.1", **RACING, connect_cookie=5)],
                [tcp(9 * SECOND, "192.0.2.1", verdict="invalid", connect_errno="EISCONN", connect_cookie=5)],
            ],
            [[None], [C]],
        ),
    ],
)
def test_batches_one_after_another(batches: list[list[Row]], expected: list[list[str | None]]) -> None:
    batches = [spelled(iter(rows)) for rows in batches]
    patterns = Patterns()
    found = []
    for rows in batches:
        batch = Batch(len(rows), from_rows(rows))
        patterns.mark(batch)
        found.append(batch.column("connect.pattern").tolist() if len(batch) else [])
    assert found == expected


@given(
    st.lists(st.sampled_from([r for case in CASES.values() for r, _ in case]), max_size=40),
    st.integers(0, 40),
)
def test_any_rows_in_any_batches_get_a_known_name_or_none(rows: list[Row], at: int) -> None:
    rows = spelled(iter(rows))
    for parts in ([rows], [rows[:at], rows[at:]]):
        found = named(*[part for part in parts if part and any("network.transport" in r for r in part)
                        and any("connect.verdict" in r for r in part)])  # fmt: skip
        assert {name for names in found for name in names} <= {*NAMES, None}


@pytest.mark.parametrize("kind", list(floods(1)))
def test_floods_are_no_habits_and_are_not_remembered_for_ever(kind: str) -> None:
    patterns = Patterns()
    for _ in range(4):
        batch = floods(3000)[kind]
        patterns.mark(batch)
    assert len(patterns._probes._steps) <= STEPS
    assert len(patterns._winners) <= WINNERS
    names = set(batch.column("connect.pattern").tolist())
    # addresses and ports of the UDP rows are those of the TCP rows that follow: what a probe is
    assert names == ({P, None} if kind == "UDP and TCP to the same: probes" else {None})


def test_what_a_batch_has_already_stays() -> None:
    batch = Batch(1, from_rows([unix(0, "/run/nscd/socket") | {"connect.pattern": "older"}]))
    Patterns().mark(batch)
    assert batch.column("connect.pattern").tolist() == ["older"]
    bare = Batch(1, from_rows([{"connect.verdict": "refused"}]))
    Patterns().mark(bare)
    assert bare.names == ["connect.verdict"]


MIX = [unix(0, "/run/nscd/socket"), udp(1, "192.0.2.1", 0), tcp(2, "192.0.2.1"), udp(3, "192.0.2.2", 0)]


class Source:
    """Yields its batches."""

    def __init__(self, *batches: Batch) -> None:
        self.given = batches

    def batches(self) -> Iterator[Batch]:
        yield from self.given

    def finish(self, summary: Summary) -> Iterator[Batch]:
        return iter(())


def moved(rows: list[Row], **more: Any) -> tuple[list[str | None], Summary]:
    """What comes through the pipeline, by pattern."""
    summary = Summary()
    parts = list(flow(Source(Batch(len(rows), from_rows(rows)), Batch(0, {})), summary, Stop(), **more))
    return concatenate(parts).column("connect.pattern").tolist(), summary


def test_the_pipeline_names_them_and_keeps_them() -> None:
    assert moved(MIX)[0] == [N, P, None, P]


def test_set_aside_they_are_counted_by_name() -> None:
    shown, summary = moved(MIX, all_rows=False)
    assert shown == [None]
    assert summary.habits == Counter({P: 2, N: 1})
    assert (summary.rows, summary.attempts, summary.hidden) == (1, 4, 0)
    assert summary.verdicts == Counter(established=1)
    assert summary.as_dict()["habits"] == {P: 2, N: 1}
    summary.seconds = 1.0
    assert summary.lines() == [
        "4 attempts in 1.00s: 1 established",
        "not shown: 3 client habits (see --all): 2 address_sort_probe, 1 nscd",
    ]


def test_a_filter_sees_the_names_and_goes_first() -> None:
    def probes(batch: Batch) -> Any:
        column = batch.column("connect.pattern")
        assert isinstance(column, Coded)
        return column.codes == NAMES.index(P)

    assert moved(MIX, mask=probes)[0] == [P, P]
    _, summary = moved(MIX, mask=lambda batch: ~probes(batch), all_rows=False)
    assert (summary.hidden, summary.habits, summary.attempts) == (2, Counter({N: 1}), 4)


def test_a_row_that_tells_of_a_loss_is_not_set_aside() -> None:
    lost = [MIX[0] | {"connect.lost_before": 3}, MIX[1]]
    shown, summary = moved(lost, all_rows=False)
    assert (shown, summary.habits) == ([N], Counter({P: 1}))


def test_nothing_to_set_aside() -> None:
    assert habits(Batch(0, {})) is None
    assert moved([tcp(0, "192.0.2.1")], all_rows=False)[0] == [None]


def test_a_loop_that_begins_in_a_batch_without_probes() -> None:
    calls = [udp(i * MS, "192.0.2.1", 443) for i in range(STEPS)]
    later = [udp(STEPS * MS + i * MS, "2001:db8::1", 443) for i in range(STEPS)]
    assert named(calls, later) == [[None] * STEPS, [P, *[None] * (STEPS - 1)]]
    one = [udp(STEPS * MS - 1, "192.0.2.1", 443)]
    assert named(calls, one, later)[1:] == [[None], [P, *[None] * (STEPS - 1)]]
