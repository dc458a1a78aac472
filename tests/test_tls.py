"""Client hellos: those of a real TLS library, whole and in pieces, and what an enemy makes of them."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.tls import Hello, read_hello


def hello(name: str | None) -> bytes:
    """The first bytes of OpenSSL as a client."""
    context = ssl.create_default_context()
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


REAL = hello("www.example.org")


def extended(data: bytes, kind: int, body: bytes) -> bytes:
    """A hello with one more extension at its end."""
    extension = struct.pack(">HH", kind, len(body)) + body
    at = 5 + 4 + 2 + 32
    for width in (1, 2, 1):
        at += width + int.from_bytes(data[at : at + width])
    size = int.from_bytes(data[at : at + 2])
    message = data[9:at] + (size + len(extension)).to_bytes(2) + data[at + 2 : at + 2 + size] + extension
    handshake = b"\1" + len(message).to_bytes(3) + message
    return data[:3] + len(handshake).to_bytes(2) + handshake


def records(data: bytes, size: int) -> bytes:
    """The same handshake bytes in records of at most ``size``."""
    body = data[5:]
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(data[:3] + len(part).to_bytes(2) + part for part in parts)


def test_a_real_hello() -> None:
    assert read_hello(REAL) == Hello("www.example.org", False)
    assert read_hello(hello(None)) == Hello(None, False)
    assert read_hello(hello("bücher.example")) == Hello("xn--bcher-kva.example", False)


def test_encrypted_client_hello() -> None:
    assert read_hello(extended(REAL, 0xFE0D, bytes(200))) == Hello("www.example.org", True)
    assert read_hello(extended(hello(None), 0xFE0D, b"")) == Hello(None, True)


@pytest.mark.parametrize("size", [1, 7, 100, 16384])
def test_spread_over_records(size: int) -> None:
    assert read_hello(records(REAL, size)) == Hello("www.example.org", False)


def test_a_part_is_none() -> None:
    assert all(read_hello(REAL[:size]) is None for size in range(len(REAL)))
    assert read_hello(REAL + b"more") == Hello("www.example.org", False)


def test_a_name_that_is_none_is_escaped() -> None:
    name = b"a\x1b[2Jb.\xff"
    body = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name
    assert read_hello(extended(hello(None), 0, body)) == Hello(r"a\027[2jb.\255", False)


def test_other_things_are_none() -> None:
    assert read_hello(b"GET / HTTP/1.1\r\n\r\n") is None
    assert read_hello(b"\x15\3\3\0\2\2\x28") is None
    server = b"\x16\3\3\0\4\2\0\0\0"
    assert read_hello(server) is None


@given(st.binary(max_size=400))
def test_whatever_comes_it_does_not_crash(data: bytes) -> None:
    read_hello(data)
    read_hello(b"\x16\3\1" + len(data).to_bytes(2) + data)
    read_hello(b"\x16\3\1" + (len(data) + 4).to_bytes(2) + b"\1" + len(data).to_bytes(3) + data)


@given(st.data())
def test_a_changed_hello_does_not_crash(data: st.DataObject) -> None:
    wire = bytearray(REAL)
    for place in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=6)):
        wire[place] = data.draw(st.integers(0, 255))
    found = read_hello(bytes(wire))
    assert found is None or found.name is None or (found.name.isascii() and found.name.isprintable())
