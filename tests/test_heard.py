"""From packets to facts: which answer is whose, in which order whatever comes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import dns.message
import dns.rrset
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callout.batch import Batch, Coded, Plain
from callout.btf import Btf
from callout.capture.loading import read_object
from callout.enrich.heard import WAITING, Heard
from callout.enrich.names import Names
from callout.enrich.nametable import SECOND, Asker, NameTable
from callout.footprint import Table

pytestmark = pytest.mark.object
NET = 7
CURL = Asker((11, 100), 3)
IP = "192.0.2.1"
Record = Callable[..., np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf.of_object(read_object())


@pytest.fixture(scope="module")
def record(btf: Btf) -> Record:
    """Makes a ``packet`` record."""
    layout, kinds = btf.layout("packet"), btf.enum("packet_is")

    def make(what: str, data: bytes, when: int = SECOND, cookie: int = 1, pid: int = 0, **more: int) -> Any:
        made = np.zeros(1, layout.dtype)
        made["is"], made["when"], made["cookie"], made["netns"] = kinds[what], when, cookie, NET
        made["pid"], made["start"], made["cgroup"], made["protocol"] = pid, 11 if pid else 0, 3, 17
        made["kept"], made["length"] = len(data), more.pop("length", len(data))
        made["data"][0, : len(data)] = np.frombuffer(data, np.uint8)
        for name, value in more.items():
            made[name] = value
        return made

    return make


def bytes_of(tables: list[Table]) -> dict[str, int]:
    """What is kept, by name."""
    return {table.name: table.bytes for table in tables}


def hello() -> bytes:
    """What OpenSSL says first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="www.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


REAL = hello()


def query(name: str = "a.test", number: int = 1) -> bytes:
    return dns.message.make_query(name, "A", id=number).to_wire()


def answer(name: str = "a.test", number: int = 1, count: int = 1) -> bytes:
    message = dns.message.make_response(dns.message.make_query(name, "A", id=number))
    message.answer.append(
        dns.rrset.from_text(f"{name}.", 60, "IN", "A", *(f"192.0.2.{n + 1}" for n in range(count)))
    )
    return message.to_wire()


def found(table: NameTable, now: int = 2 * SECOND, ip: str = IP) -> tuple[str, str] | None:
    one = table.find(NET, ip, CURL, now)
    return one and (one.name, one.confidence)


@pytest.fixture
def table() -> NameTable:
    return NameTable()


@pytest.fixture
def heard(btf: Btf, table: NameTable) -> Heard:
    return Heard(btf, table)


def test_an_answer_to_a_question(heard: Heard, table: NameTable, record: Record) -> None:
    heard.take(np.concatenate([record("PACKET_QUERY", query(), pid=100), record("PACKET_ANSWER", answer())]))
    assert found(table) == ("a.test", "high")


@pytest.mark.parametrize(
    "changed",
    [
        {"cookie": 2},
        {"data": answer(number=2)},
        {"data": answer("b.test")},
        {"when": 2 * SECOND + WAITING},
    ],
    ids=["another socket", "another number", "another name", "too late"],
)
def test_an_answer_that_nobody_asked_for(
    heard: Heard, table: NameTable, record: Record, changed: dict[str, Any]
) -> None:
    heard.take(record("PACKET_QUERY", query(), pid=100))
    heard.take(record("PACKET_ANSWER", **{"data": answer(), **changed}))
    name = "b.test" if changed.get("data") == answer("b.test") else "a.test"
    assert found(table, 3 * SECOND + WAITING) == (name, "low")


def test_a_question_is_answered_once(heard: Heard, table: NameTable, record: Record) -> None:
    heard.take(record("PACKET_QUERY", query(), pid=100))
    heard.take(record("PACKET_ANSWER", answer()))
    heard.take(record("PACKET_ANSWER", answer(count=2)))
    assert found(table) == ("a.test", "high")
    assert found(table, ip="192.0.2.2") == ("a.test", "low")


def test_over_tcp_in_pieces(heard: Heard, table: NameTable, record: Record) -> None:
    asked, told = (len(data).to_bytes(2) + data for data in (query(), answer(count=80)))
    heard.take(record("PACKET_QUERY", asked, pid=100, protocol=6, sequence=0xFFFFFFFA))
    for place in range(0, len(told), 100):
        assert found(table) is None
        piece = told[place : place + 100]
        heard.take(record("PACKET_ANSWER", piece, protocol=6, sequence=500 + place))
    assert found(table, ip="192.0.2.80") == ("a.test", "high")


def test_over_tcp_nothing_is_believed_that_was_not_asked(
    heard: Heard, table: NameTable, record: Record
) -> None:
    told = len(answer()).to_bytes(2) + answer()
    heard.take(record("PACKET_ANSWER", told, protocol=6, sequence=1))
    assert len(table) == 0


def test_an_answer_larger_than_a_record(heard: Heard, table: NameTable, record: Record) -> None:
    whole = answer(count=250)
    heard.take(record("PACKET_QUERY", query(), pid=100))
    heard.take(record("PACKET_ANSWER", whole[:2000], length=len(whole)))
    assert 100 < len(table) < 128


def test_a_hello_in_pieces_and_twice(heard: Heard, record: Record) -> None:
    def piece(start: int, end: int) -> Any:
        return record("PACKET_HELLO", REAL[start:end], pid=100, protocol=6, sequence=1000 + start)

    heard.take(piece(0, 200))
    heard.take(piece(0, 200))
    assert heard.hello(1) is None
    heard.take(piece(150, len(REAL)))
    hello = heard.hello(1)
    assert hello is not None
    assert hello.name == "www.example.org"
    assert list(heard.cookies()) == [1]
    heard.take(piece(0, 200))
    assert heard.hello(1) == hello


def test_what_is_kept_is_bounded(heard: Heard, table: NameTable, record: Record) -> None:
    for number in range(3000):
        heard.take(record("PACKET_QUERY", query(number=number), cookie=number, pid=100))
        heard.take(record("PACKET_HELLO", REAL[:400], cookie=number, pid=100, protocol=6, sequence=1))
    assert bytes_of(heard.memory())["names: questions"] < 200_000
    assert bytes_of(heard.memory())["names: TCP streams"] < 200_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_comes_it_does_not_crash(heard: Heard, record: Record, data: st.DataObject) -> None:
    kinds = st.sampled_from(["PACKET_QUERY", "PACKET_ANSWER", "PACKET_HELLO"])
    payload = st.one_of(st.binary(max_size=100), st.sampled_from([query(), answer(), REAL, REAL[:9]]))
    for _ in range(data.draw(st.integers(1, 5))):
        wire = data.draw(payload)
        heard.take(
            record(
                data.draw(kinds), wire, cookie=data.draw(st.integers(0, 2)), pid=data.draw(st.integers(0, 1)),
                protocol=data.draw(st.sampled_from([6, 17])), sequence=data.draw(st.integers(0, 200)),
            )
        )  # fmt: skip


def batch(*rows: tuple[int, int, int]) -> Batch:
    """TCP attempts of CURL to IP and port 443: cookie, began, pid."""
    count = len(rows)
    same = np.zeros(count, np.int32)
    return Batch(
        count,
        {
            "destination.ip": Coded(same, [IP]),
            "destination.port": Plain(np.full(count, 443, np.uint16)),
            "network.transport": Coded(same, ["tcp"]),
            "connect.netns": Plain(np.full(count, NET, np.uint32)),
            "connect.cookie": Plain(np.array([row[0] for row in rows], np.uint64)),
        },
        keys={
            "process": Coded(np.arange(count, dtype=np.int32), [(11, row[2]) for row in rows]),
            "cgroup": Coded(same, [3]),
            "began": Plain(np.array([row[1] for row in rows], np.int64)),
        },
    )


class Quiet:
    """A kernel side that has nothing to report."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf

    def look(self) -> None:
        """There is nothing."""


def test_rows_of_one_batch_around_an_answer(btf: Btf, record: Record) -> None:
    names = Names()
    names.begin(Quiet(btf))
    names.feed("RECORD_PACKET", record("PACKET_QUERY", query(), when=4 * SECOND, pid=100))
    names.feed("RECORD_PACKET", record("PACKET_ANSWER", answer(), when=5 * SECOND))
    names.feed("RECORD_PACKET", record("PACKET_HELLO", REAL, cookie=9, pid=100, protocol=6, sequence=1))
    rows = batch((1, 4 * SECOND, 100), (2, 6 * SECOND, 100), (3, 7 * SECOND, 101), (9, 8 * SECOND, 100))
    names.add(rows)
    fields = (
        "destination.domain",
        "connect.domain_source",
        "connect.domain_confidence",
        "connect.domain_age",
    )
    told = list(zip(*(rows.column(name).tolist() for name in fields), strict=True))
    assert told == [
        (None, None, None, None),
        ("a.test", "dns", "high", SECOND),
        ("a.test", "dns", "medium", 2 * SECOND),
        ("www.example.org", "sni", "medium", None),
    ]
    assert set(bytes_of(names.memory())) >= {"names: answers", "names: TLS hellos"}
