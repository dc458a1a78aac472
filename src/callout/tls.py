"""What a TLS client says before anything is encrypted: the name of the server that it wants.

Rule of this file: pure, and the bytes are an enemy's: time is bounded by their number, and what is malformed says
nothing. With Encrypted Client Hello the name that can be read is that of the provider, not the one that is meant; a
client that only pretends (GREASE) looks the same, by design.

Sources: RFC 8446 (records, 5.1; client hello, 4.1.2), RFC 6066 (server_name, 3), RFC 9849 (encrypted_client_hello).
"""

from __future__ import annotations

from typing import NamedTuple

from callout.dns import hostname

HANDSHAKE, CLIENT_HELLO = 0x16, 1
SERVER_NAME, ENCRYPTED_CLIENT_HELLO = 0, 0xFE0D
HOST_NAME = 0
LONGEST = 16384  # bytes of a hello that are looked at


class Hello(NamedTuple):
    """``name`` as in ``dns.hostname``; None where the client sent none. ``ech``: an inner hello is encrypted."""

    name: str | None
    ech: bool


class _Bytes:
    """A reader that stops at the end: IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IndexError
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        return self.take(self.number(width))

    def __bool__(self) -> bool:
        return self._at < len(self._data)


def read_hello(data: bytes) -> Hello | None:
    """The client hello at the beginning of what a client sent; None if it is none, or is not complete."""
    try:
        return _read(_Bytes(_handshake(data[:LONGEST])))
    except IndexError:
        return None


def _handshake(data: bytes) -> bytes:
    """The handshake bytes of the records at the beginning; a message may be spread over several."""
    records, found = _Bytes(data), bytearray()
    while records:
        if records.number(1) != HANDSHAKE or records.number(1) != 3:
            break
        records.take(1)
        found += records.vector(2)
        if len(found) >= 4 and len(found) >= 4 + int.from_bytes(found[1:4]):
            break
    return bytes(found)


def _read(message: _Bytes) -> Hello | None:
    if message.number(1) != CLIENT_HELLO:
        return None
    hello = _Bytes(message.vector(3))
    hello.take(2 + 32)  # version, random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        hello.vector(width)
    if not hello:
        return Hello(None, False)
    extensions = _Bytes(hello.vector(2))
    name, ech = None, False
    while extensions:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == SERVER_NAME and name is None:
            name = _server_name(_Bytes(body))
        ech |= kind == ENCRYPTED_CLIENT_HELLO
    return Hello(name, ech)


def _server_name(body: _Bytes) -> str | None:
    names = _Bytes(body.vector(2))
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == HOST_NAME and 0 < len(name) <= 255:
            return hostname(name)
    return None
