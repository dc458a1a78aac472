"""Records to rows: records are written with the dtype of the real object, whole rows are compared."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

import numpy as np
import pytest

from callout.btf import Btf, Layout
from callout.capture.columns import Decoder
from callout.capture.loading import read_object
from callout.schema import FIELD_TYPES, ordered

pytestmark = pytest.mark.object

UTC = 1_700_000_000_000_000_000  # what CLOCK_BOOTTIME 0 is in these tests
HOST = os.uname().nodename
INET, INET6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
REASONS = {5: "NETFILTER_DROP"}
NOBODY = 4_294_967_000  # no user database has it


class Fixed(Decoder):
    """A decoder whose clock stands still."""

    def offset(self) -> int:
        return UTC


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf.of_object(read_object())


@pytest.fixture(scope="module")
def layout(btf: Btf) -> Layout:
    return btf.layout("attempt")


@pytest.fixture
def decoder(btf: Btf) -> Fixed:
    return Fixed(btf, REASONS.__getitem__)


def address(text: str, port: int) -> bytes:
    family = INET6 if ":" in text else INET
    packed = socket.inet_pton(family, text)
    if family == INET:
        return struct.pack("=H", INET) + port.to_bytes(2, "big") + packed + bytes(8)
    return struct.pack("=H", INET6) + port.to_bytes(2, "big") + bytes(4) + packed + bytes(4)


class Maker:
    """Writes records: a call of one process, changed by what a test names."""

    def __init__(self, btf: Btf, layout: Layout) -> None:
        self.dtype = layout.dtype
        self.enums = {**btf.enum("attempt_flag"), **btf.enum("record_phase"), **btf.enum("entry_path")}

    def flags(self, *names: str) -> int:
        return sum(self.enums[f"FLAG_{name}"] for name in names)

    def __call__(self, *seen: dict[str, Any]) -> np.ndarray[Any, Any]:
        records = np.zeros(len(seen), self.dtype)
        for row, values in zip(records, seen, strict=True):
            whole = {
                "id": 1 << 41 | 5,
                "began": 1_000,
                "ended": 3_500,
                "start": 700,
                "pointer": 0x7FFE_0000_1000,
                "pid": 70,
                "tid": 71,
                "ppid": 1,
                "uid": 0,
                "gid": 100,
                "fd": 3,
                "netns": 4_026_531_840,
                "cookie": 99,
                "entry": self.enums["ENTRY_CONNECT"],
                "comm": b"curl",
                **values,
            }
            if "asked" in whole:
                asked = whole.pop("asked")
                row["sockaddr"][: len(asked)] = np.frombuffer(asked, np.uint8)
                whole.setdefault("addrlen", len(asked))
            for name, port in (("sport", whole.pop("sport", 0)), ("dport", whole.pop("dport", 0))):
                row[name] = port
            for name in ("saddr", "daddr"):
                packed = whole.pop(name, b"")
                row[name][: len(packed)] = np.frombuffer(packed, np.uint8)
            for name, value in whole.items():
                row[name] = value
        return records


@pytest.fixture
def make(btf: Btf, layout: Layout) -> Maker:
    return Maker(btf, layout)


def tcp(make: Maker, *flags: str, **more: Any) -> dict[str, Any]:
    """A TCP attempt from 192.0.2.1:40000 to 198.51.100.7:443 of which the kernel side saw both ends."""
    return {
        "family": INET,
        "type": socket.SOCK_STREAM,
        "protocol": 6,
        "asked": address("198.51.100.7", 443),
        "peer_family": INET,
        "saddr": socket.inet_aton("192.0.2.1"),
        "daddr": socket.inet_aton("198.51.100.7"),
        "sport": 40000,
        "dport": 443,
        "flags": make.flags("RETURNED", "FOLLOWED", "SETTLED", "LOCAL", "PEER", *flags),
        **more,
    }


WHO = {
    "@timestamp": UTC + 1_000,
    "event.kind": "event",
    "event.category": ["network"],
    "event.type": ["connection", "start"],
    "event.action": "connect",
    "event.duration": 2_500,
    "host.name": HOST,
    "process.pid": 70,
    "process.thread.id": 71,
    "process.parent.pid": 1,
    "process.name": "curl",
    "process.start": UTC + 700,
    "process.entity_id": "2bc-46",
    "user.id": 0,
    "group.id": 100,
    "connect.id": 1 << 41 | 5,
    "connect.entry": "connect",
    "connect.fd": 3,
    "connect.cookie": 99,
    "connect.netns": 4_026_531_840,
}
TCP_ROW = {
    **WHO,
    "source.ip": "192.0.2.1",
    "source.port": 40000,
    "destination.ip": "198.51.100.7",
    "destination.port": 443,
    "network.transport": "tcp",
    "network.type": "ipv4",
    "connect.addrlen": 16,
    "connect.family": "AF_INET",
    "connect.type": "SOCK_STREAM",
    "connect.protocol": 6,
    "connect.sockaddr": '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("198.51.100.7")}',
}


def only_row(decoder: Decoder, records: np.ndarray[Any, Any]) -> dict[str, Any]:
    batch = decoder.batch(records)
    (row,) = batch.rows()
    assert batch.names == ordered(batch.names), "columns stand in the order of the schema"
    assert set(row) <= set(FIELD_TYPES)
    return row


def test_established_without_blocking(decoder: Decoder, make: Maker) -> None:
    record = tcp(make, "NONBLOCK", ret=-errno.EINPROGRESS, state=1)
    assert only_row(decoder, make(record)) == {
        **TCP_ROW,
        "event.outcome": "success",
        "connect.nonblocking": True,
        "connect.return": -errno.EINPROGRESS,
        "connect.verdict": "established",
    }


def test_refused_by_a_reset(decoder: Decoder, make: Maker) -> None:
    record = tcp(make, "RST", ret=-errno.ECONNREFUSED, state=7, err=errno.ECONNREFUSED)
    assert only_row(decoder, make(record)) == {
        **TCP_ROW,
        "event.outcome": "failure",
        "connect.nonblocking": False,
        "connect.return": -errno.ECONNREFUSED,
        "connect.verdict": "refused",
        "connect.errno": "ECONNREFUSED",
        "connect.cause": "rst_from_peer",
        "connect.evidence": {"rst": True, "syns": 1},
    }


def test_timed_out_behind_a_firewall_of_this_host(decoder: Decoder, make: Maker) -> None:
    record = tcp(
        make, ret=-errno.ETIMEDOUT, state=7, err=errno.ETIMEDOUT, soft=errno.EHOSTUNREACH, syns=6, drop=5
    )
    assert only_row(decoder, make(record)) == {
        **TCP_ROW,
        "event.outcome": "failure",
        "connect.nonblocking": False,
        "connect.return": -errno.ETIMEDOUT,
        "connect.verdict": "timed_out",
        "connect.errno": "ETIMEDOUT",
        "connect.cause": "netfilter_drop",
        "connect.evidence": {"syns": 7, "soft_error": "EHOSTUNREACH", "drop_reason": "NETFILTER_DROP"},
    }


def test_still_under_way_at_the_end(decoder: Decoder, make: Maker) -> None:
    flags = make.flags("RETURNED", "FOLLOWED", "PEER", "NONBLOCK")
    record = tcp(make, flags=flags, ret=-errno.EINPROGRESS, ended=0, phase=make.enums["PHASE_PENDING"])
    expected = {
        **TCP_ROW,
        "event.outcome": "unknown",
        "connect.nonblocking": True,
        "connect.return": -errno.EINPROGRESS,
        "connect.verdict": "pending",
        "connect.evidence": {"syns": 1},
    }
    for unknown in ("event.duration", "source.ip", "source.port"):
        del expected[unknown]
    assert only_row(decoder, make(record)) == expected


def test_the_extra_row_of_phases_has_no_verdict(decoder: Decoder, make: Maker) -> None:
    record = tcp(make, flags=0, ended=0, phase=make.enums["PHASE_ATTEMPT"])
    expected = {
        **TCP_ROW,
        "event.action": "attempt",
        "event.outcome": "unknown",
        "connect.nonblocking": False,
    }
    for unknown in ("event.duration", "source.ip", "source.port"):
        del expected[unknown]
    assert only_row(decoder, make(record)) == expected


def test_the_address_that_the_kernel_used_goes_before_the_one_asked_for(
    decoder: Decoder, make: Maker
) -> None:
    """The sockaddr stays what the caller wrote: 0.0.0.0 means this host."""
    local = socket.inet_aton("127.0.0.1")
    record = tcp(
        make, "RST", asked=address("0.0.0.0", 80), saddr=local, daddr=local, dport=80, state=7, err=111
    )
    record["ret"] = -errno.ECONNREFUSED
    assert only_row(decoder, make(record)) == {
        **TCP_ROW,
        "event.outcome": "failure",
        "source.ip": "127.0.0.1",
        "destination.ip": "127.0.0.1",
        "destination.port": 80,
        "connect.nonblocking": False,
        "connect.return": -errno.ECONNREFUSED,
        "connect.sockaddr": '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}',
        "connect.verdict": "refused",
        "connect.errno": "ECONNREFUSED",
        "connect.cause": "no_listener",
        "connect.evidence": {"rst": True, "syns": 1},
    }


def test_datagram_over_ipv6_of_a_privileged_program(decoder: Decoder, make: Maker) -> None:
    record = {
        "family": INET6,
        "type": socket.SOCK_DGRAM,
        "protocol": 17,
        "asked": address("2001:db8::1", 53),
        "flags": make.flags("RETURNED", "LOCAL", "PEER"),
        "peer_family": INET6,
        "saddr": socket.inet_pton(INET6, "2001:db8::2"),
        "daddr": socket.inet_pton(INET6, "2001:db8::1"),
        "sport": 50000,
        "dport": 53,
        "uid": NOBODY,
        "euid": 0,
        "comm": b"fifteen bytes!!",
        "cookie": 0,
    }
    expected = {
        **WHO,
        "event.outcome": "success",
        "process.name": "fifteen bytes!!",
        "user.id": NOBODY,
        "user.effective.id": 0,
        "source.ip": "2001:db8::2",
        "source.port": 50000,
        "destination.ip": "2001:db8::1",
        "destination.port": 53,
        "network.transport": "udp",
        "network.type": "ipv6",
        "connect.addrlen": 28,
        "connect.family": "AF_INET6",
        "connect.type": "SOCK_DGRAM",
        "connect.protocol": 17,
        "connect.sockaddr": "{sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}',
        "connect.nonblocking": False,
        "connect.return": 0,
        "connect.verdict": "associated",
    }
    del expected["connect.cookie"]
    assert only_row(decoder, make(record)) == expected


def test_unix_socket_without_a_listener(decoder: Decoder, make: Maker) -> None:
    record = {
        "family": UNIX,
        "type": socket.SOCK_STREAM,
        "asked": struct.pack("=H", UNIX) + b"/run/none.sock\0",
        "flags": make.flags("RETURNED"),
        "ret": -errno.ECONNREFUSED,
    }
    assert only_row(decoder, make(record)) == {
        **WHO,
        "event.outcome": "failure",
        "destination.address": "/run/none.sock",
        "network.transport": "unix",
        "connect.addrlen": 17,
        "connect.family": "AF_UNIX",
        "connect.type": "SOCK_STREAM",
        "connect.protocol": 0,
        "connect.sockaddr": '{sa_family=AF_UNIX, sun_path="/run/none.sock"}',
        "connect.nonblocking": False,
        "connect.return": -errno.ECONNREFUSED,
        "connect.verdict": "refused",
        "connect.errno": "ECONNREFUSED",
        "connect.cause": "unix_no_listener",
    }


@pytest.mark.parametrize(
    ("pointer", "addrlen", "flags", "number", "told"),
    [
        (
            0x10,
            16,
            ("NO_FILE", "UNREADABLE"),
            errno.EBADF,
            {"connect.sockaddr": "0x10", "connect.errno": "EBADF", "connect.cause": "bad_descriptor"},
        ),
        (
            0,
            16,
            ("NOT_SOCKET", "UNREADABLE"),
            errno.ENOTSOCK,
            {"connect.sockaddr": "NULL", "connect.errno": "ENOTSOCK", "connect.cause": "not_a_socket"},
        ),
        (
            0x10,
            1,
            ("NO_FILE",),
            errno.EBADF,
            {"connect.sockaddr": "0x10", "connect.errno": "EBADF", "connect.cause": "bad_descriptor"},
        ),
    ],
)
def test_without_a_socket_or_an_address(
    decoder: Decoder,
    make: Maker,
    pointer: int,
    addrlen: int,
    flags: tuple[str, ...],
    number: int,
    told: dict[str, str],
) -> None:
    """Nothing is known of the socket: nothing is said of it. Where strace prints the pointer, so do we."""
    record = {
        "pointer": pointer,
        "addrlen": addrlen,
        "fd": -1,
        "ret": -number,
        "flags": make.flags("RETURNED", *flags),
        "netns": 0,
        "cookie": 0,
    }
    expected = {
        **WHO,
        **told,
        "event.outcome": "failure",
        "connect.fd": -1,
        "connect.addrlen": addrlen,
        "connect.return": -number,
        "connect.verdict": "invalid",
    }
    del expected["connect.cookie"], expected["connect.netns"]
    assert only_row(decoder, make(record)) == expected


def test_family_of_the_address_where_there_is_no_socket(decoder: Decoder, make: Maker) -> None:
    record = {
        "asked": address("192.0.2.9", 1),
        "flags": make.flags("RETURNED", "NO_FILE"),
        "ret": -errno.EBADF,
    }
    row = only_row(decoder, make(record))
    assert (row["connect.family"], row["destination.ip"], row["destination.port"]) == (
        "AF_INET",
        "192.0.2.9",
        1,
    )


def test_denied_is_said_in_the_type_of_the_event(decoder: Decoder, make: Maker) -> None:
    record = tcp(make, flags=make.flags("RETURNED"), ret=-errno.EPERM)
    row = only_row(decoder, make(record))
    assert (row["event.type"], row["connect.verdict"]) == (["connection", "denied"], "denied")


def test_a_name_that_is_not_utf8(decoder: Decoder, make: Maker) -> None:
    assert only_row(decoder, make(tcp(make, comm=b"\xff\x1bx")))["process.name"] == "\udcff\x1bx"


def test_rows_keep_their_own_values(decoder: Decoder, make: Maker) -> None:
    """Shared work must not mix rows: equal and different ones in turn."""
    one, other = (
        tcp(make, state=1),
        tcp(make, state=7, ret=-errno.ETIMEDOUT, err=errno.ETIMEDOUT, pid=71, dport=80),
    )
    rows = list(decoder.batch(make(one, other, one, other)).rows())
    (first,) = decoder.batch(make(one)).rows()
    (second,) = decoder.batch(make(other)).rows()
    assert rows == [first, second, first, second]
    assert first["process.entity_id"] != second["process.entity_id"]


def test_nothing(decoder: Decoder, make: Maker) -> None:
    assert list(decoder.batch(make()).rows()) == []


def lost(decoder: Decoder, make: Maker, *pairs: tuple[int, int]) -> list[Any]:
    """connect.lost_before for records of (cpu, records lost on it so far)."""
    records = make(*(tcp(make, cpu=cpu, lost=count) for cpu, count in pairs))
    return decoder.batch(records).column("connect.lost_before").tolist()


def test_losses_are_told_once_by_the_next_record_of_that_cpu(decoder: Decoder, make: Maker) -> None:
    assert lost(decoder, make, (0, 0), (1, 3), (0, 2), (1, 3), (0, 2)) == [None, 3, 2, None, None]
    assert lost(decoder, make, (1, 4), (0, 2)) == [1, None], "counts go on from batch to batch"


def test_an_older_count_is_no_loss(decoder: Decoder, make: Maker) -> None:
    """A record that an interrupt overtook, and one that was never submitted (count 0)."""
    assert lost(decoder, make, (0, 5), (0, 4), (0, 6)) == [5, None, 1]
    assert lost(decoder, make, (0, 0), (0, 7)) == [None, 1]


class Clocks:
    """In place of the module time: UTC is ``ahead`` of a boot clock that goes on by ``steps`` when read."""

    CLOCK_BOOTTIME = 7

    def __init__(self) -> None:
        self.boot, self.ahead, self.steps = 0, UTC, [10]

    def clock_gettime_ns(self, clock: int) -> int:
        assert clock == self.CLOCK_BOOTTIME
        self.boot += self.steps[0]
        self.steps = self.steps[1:] or self.steps
        return self.boot

    def time_ns(self) -> int:
        return self.boot + self.ahead


def test_start_times_stay_until_the_clock_is_set(
    btf: Btf, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks()
    monkeypatch.setattr("callout.capture.columns.time", clocks)
    decoder = Decoder(btf)

    def start() -> int:
        (row,) = decoder.batch(make(tcp(make))).rows()
        return int(row["process.start"]) - UTC

    first = start()
    assert first == 700 - 5, "half of the 10 ns that a reading takes"
    clocks.steps = [10, 80_000_000, 10]  # the first reading is interrupted for 80 ms
    assert start() == first
    clocks.ahead += 900_000  # drifts
    assert start() == first
    clocks.ahead += 900_000  # too far: it was set
    assert start() == first + 1_800_000
