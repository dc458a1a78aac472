"""DNS messages: what a whole library (dnspython) reads in them, we read too; what is hostile says nothing."""

from __future__ import annotations

import csv
import socket
import struct
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import callout.dns
from callout.dns import Address, Message, hostname, read, text

LABELS = st.binary(min_size=1, max_size=63)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: dns.name.Name([*labels, b""]))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def answer(question: str, *records: str, kind: str = "A", rcode: int = 0) -> dns.message.Message:
    """An answer to a question; records as in a master file: `name ttl type data`."""
    message = dns.message.make_response(dns.message.make_query(question, kind))
    for record in records:
        name, ttl, type_, data = record.split(maxsplit=3)
        message.answer.append(dns.rrset.from_text(name, int(ttl), "IN", type_, data))
    message.set_rcode(dns.rcode.Rcode(rcode))
    return message


def addresses(message: dns.message.Message) -> tuple[Address, ...]:
    found = read(message.to_wire())
    assert found is not None
    assert found.response
    return found.addresses


def test_a_query() -> None:
    query = dns.message.make_query("Example.ORG", "AAAA", id=77)
    assert read(query.to_wire()) == Message(77, False, "example.org", dns.rdatatype.AAAA)


def test_addresses_at_the_end_of_a_chain_have_the_name_asked_for_and_the_least_time() -> None:
    message = answer(
        "www.example.org",
        "edge.cdn.test. 300 A 192.0.2.2",
        "edge.cdn.test. 20 AAAA 2001:db8::2",
        "alias.example.net. 30 CNAME edge.cdn.test.",
        "www.Example.org. 60 CNAME alias.example.net.",
    )
    assert addresses(message) == (Address("192.0.2.2", 30), Address("2001:db8::2", 20))


def test_addresses_of_other_names_are_not_believed() -> None:
    assert addresses(answer("a.test", "b.test. 300 A 192.0.2.2", "a.test. 9 A 192.0.2.1")) == (
        Address("192.0.2.1", 9),
    )


def test_a_chain_that_bites_its_tail_ends() -> None:
    message = answer("a.test", "a.test. 1 CNAME b.test.", "b.test. 1 CNAME a.test.", "b.test. 9 A 192.0.2.1")
    assert addresses(message) == (Address("192.0.2.1", 1),)


def test_hints_and_keys_of_https_records() -> None:
    record = 'a.test. 60 HTTPS 1 . alpn="h2,h3" ipv4hint="192.0.2.7,192.0.2.8" ech="AAX+DQABAA=="'
    found = read(answer("a.test", record, kind="HTTPS").to_wire())
    assert found is not None
    assert found.ech
    assert [one.ip for one in found.addresses] == ["192.0.2.7", "192.0.2.8"]
    alias = read(answer("a.test", "a.test. 60 HTTPS 0 b.test.", kind="HTTPS").to_wire())
    assert alias is not None
    assert not alias.ech


def test_errors_and_other_operations_tell_nothing() -> None:
    assert read(answer("a.test", "a.test. 9 A 192.0.2.1", rcode=3).to_wire()) is None
    update = dns.message.make_query("a.test", "A")
    update.set_opcode(dns.opcode.UPDATE)
    assert read(update.to_wire()) is None
    chaos = dns.message.make_query("version.bind", "TXT", "CH")
    assert read(chaos.to_wire()) is None


def test_a_message_that_is_cut_off_tells_as_much_as_there_is() -> None:
    wire = answer("a.test", *(f"a.test. 9 A 192.0.2.{i}" for i in range(1, 30))).to_wire()
    assert read(wire[:-10]) is None
    part = read(wire[: len(wire) // 2], cut=True)
    assert part is not None
    assert 5 < len(part.addresses) < 25


@given(st.integers(0, 65535), NAMES, st.lists(NAMES, max_size=4), st.lists(ADDRESSES, max_size=6))
def test_as_a_whole_library_reads_it(
    number: int, name: dns.name.Name, chain: list[dns.name.Name], ips: list[object]
) -> None:
    message = dns.message.make_response(dns.message.make_query(name, "A", id=number))
    owner = name
    for target in chain:
        message.answer.append(dns.rrset.from_rdata(owner, 60, cname(target)))
        owner = target
    for ip in ips:
        kind = "AAAA" if ":" in str(ip) else "A"
        message.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, str(ip)))
    found = read(message.to_wire())
    assert found is not None
    assert found.id == number
    assert found.name == name.canonicalize().to_text(omit_final_dot=True)
    if len({name, *chain}) == 1 + len(chain):
        assert {one.ip for one in found.addresses} == {canonical(str(ip)) for ip in ips}


def cname(target: dns.name.Name) -> dns.rdata.Rdata:
    wire = target.to_wire()
    assert wire is not None
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.CNAME, wire, 0, len(wire))


def canonical(ip: str) -> str:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_ntop(family, socket.inet_pton(family, ip))


@given(st.lists(LABELS, max_size=4))
def test_a_name_can_be_turned_back(labels: list[bytes]) -> None:
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    shown = text(wire)
    assert shown.isascii()
    assert shown.isprintable()
    assert dns.name.from_text(shown).to_wire() == wire
    assert hostname(b"WWW.Example.ORG.") == "www.example.org"
    assert hostname(b"a\x1b[31m.t\xc3\xa9") == r"a\027[31m.t\195\169"


def header(answers: int = 1, flags: int = 0x8180) -> bytes:
    return struct.pack(">HHHHHH", 1, flags, 1, answers, 0, 0)


QUESTION = b"\1a\4test\0\0\1\0\1"
# each breaks a rule of RFC 1035 that a careless reader stumbles over; tests/kernel/test_names.py sends them for real
with Path(__file__).with_name("test_dns_hostile.csv").open(newline="") as file:
    HOSTILE = {row["what"]: bytes.fromhex(row["message"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_messages_say_nothing(data: bytes) -> None:
    assert read(data) is None
    read(data, cut=True)


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst that 64 KiB can hold: as many records as fit, each an alias of a pointer."""
    calls: list[int] = []
    real = callout.dns._name

    def counted(data: bytes, at: int) -> tuple[bytes, int]:
        calls.append(at)
        return real(data, at)

    monkeypatch.setattr(callout.dns, "_name", counted)
    data = header(65535) + QUESTION + b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x0c" * 4600
    read(data, cut=True)
    assert len(calls) <= 1 + 2 * callout.dns.RECORDS


def test_an_address_has_four_or_sixteen_bytes() -> None:
    record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\3\1\2\3"
    assert read(header() + QUESTION + record) == Message(1, True, "a.test", 1)


@given(st.binary(max_size=300))
@example(header() + QUESTION)
def test_whatever_comes_it_does_not_crash(data: bytes) -> None:
    for message in (data, header(3) + QUESTION + data):
        for cut in (False, True):
            found = read(message, cut)
            assert found is None or (found.name.isascii() and found.name.isprintable())


@given(st.data())
def test_a_changed_answer_does_not_crash(data: st.DataObject) -> None:
    wire = bytearray(
        answer("www.a.test", "www.a.test. 9 CNAME b.a.test.", "b.a.test. 9 A 192.0.2.1").to_wire()
    )
    for place in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=6)):
        wire[place] = data.draw(st.integers(0, 255))
    read(bytes(wire[: data.draw(st.integers(0, len(wire)))]), data.draw(st.booleans()))
