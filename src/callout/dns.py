"""What a DNS message says about addresses: the question, and the addresses that its answer leads to.

Rule of this file: pure, and the message is an enemy's: time is bounded by its length, a pointer only ever leads
back, a malformed message says nothing, and an address is believed only at the end of a chain of aliases that
begins at the name in the question. Only what a name needs is read (A, AAAA, CNAME, SVCB, HTTPS): some 10
microseconds a message, where a library that builds every record takes ten times as long.

Sources: RFC 1035 (messages, 4.1; master file notation, 5.1), RFC 3596 (AAAA), RFC 9460 (SVCB, HTTPS), RFC 9848 (ech).
"""

from __future__ import annotations

import re
import socket
from struct import Struct
from typing import NamedTuple

A, CNAME, AAAA, SVCB, HTTPS = 1, 5, 28, 64, 65
IN = 1
RESPONSE, OPCODE, RCODE = 0x8000, 0x7800, 0x000F
IPV4HINT, ECH, IPV6HINT = 4, 5, 6  # keys of SVCB parameters
RECORDS = 512  # read of one message
ADDRESSES = 128  # kept of one message
ALIASES = 16  # longest chain: resolvers give up earlier
LONGEST = 255  # bytes of a name on the wire
SPECIAL = b'"().;\\@$'  # in master files

_HEADER = Struct(">HHHHHH")
_PAIR = Struct(">HH")
_RECORD = Struct(">HHIH")
_PLAIN = re.compile(rb"[a-z0-9_-]+")


class Address(NamedTuple):
    """An address in text, and how many seconds it may be kept: the least of its chain."""

    ip: str
    ttl: int


class Message(NamedTuple):
    """A query, or an answer without error. ``name`` is the one in the question, in master file notation and in
    lower case; ``ech``: the answer has keys for Encrypted Client Hello.
    """

    id: int
    response: bool
    name: str
    kind: int
    addresses: tuple[Address, ...] = ()
    ech: bool = False


class Malformed(ValueError):
    """Not a message that a resolver would take."""


def read(data: bytes, cut: bool = False) -> Message | None:
    """The message, or None where there is nothing to learn from it.

    ``cut``: there was more of it, so that records are read as far as they go.
    """
    try:
        return _read(data, cut)
    except Malformed:
        return None


def text(wire: bytes) -> str:
    r"""A name on the wire (length, label, …) in master file notation, which can be turned back: bytes that are
    not printable ASCII become ``\DDD``, special ones like a dot in a label ``\.``. The root is ``.``.
    """
    labels, at = [], 0
    while at < len(wire) and wire[at]:
        labels.append(_label(wire[at + 1 : at + 1 + wire[at]]))
        at += 1 + wire[at]
    return ".".join(labels) or "."


def hostname(data: bytes) -> str:
    """A host name that came as text, in the same notation and in lower case; without the dot at its end."""
    return ".".join(map(_label, data.lower().removesuffix(b".").split(b".")))


def _label(data: bytes) -> str:
    if _PLAIN.fullmatch(data):
        return data.decode()
    return "".join(
        "\\" + chr(byte) if byte in SPECIAL else chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03}"
        for byte in data
    )


def _read(data: bytes, cut: bool) -> Message | None:
    if len(data) < _HEADER.size:
        raise Malformed
    number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if questions != 1 or flags & OPCODE:
        return None
    name, at = _name(data, _HEADER.size)
    if at + 4 > len(data):
        raise Malformed
    kind, klass = _PAIR.unpack_from(data, at)
    if klass != IN:
        return None
    if not flags & RESPONSE:
        return Message(number, False, text(name), kind)
    if flags & RCODE:
        return None
    aliases, found, ech = _records(data, at + 4, min(answers, RECORDS), cut)
    chain = {name: 1 << 31}
    here, ttl = name, 1 << 31
    for _ in range(ALIASES):
        if here not in aliases:
            break
        here, least = aliases[here]
        ttl = min(ttl, least)
        if here in chain:
            break
        chain[here] = ttl
    addresses = tuple(
        Address(ip, min(ttl, chain[owner])) for owner, ip, ttl in found[:ADDRESSES] if owner in chain
    )
    return Message(number, True, text(name), kind, addresses, not ech.isdisjoint(chain))


def _records(
    data: bytes, at: int, count: int, cut: bool
) -> tuple[dict[bytes, tuple[bytes, int]], list[tuple[bytes, str, int]], set[bytes]]:
    """Aliases by name, addresses with their owners, owners of keys."""
    aliases: dict[bytes, tuple[bytes, int]] = {}
    found: list[tuple[bytes, str, int]] = []
    ech: set[bytes] = set()
    try:
        for _ in range(count):
            owner, at = _name(data, at)
            if at + _RECORD.size > len(data):
                raise Malformed
            kind, klass, ttl, size = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            end = at + size
            if end > len(data):
                raise Malformed
            if ttl >> 31:
                ttl = 0  # RFC 2181, 8
            if klass != IN:
                pass
            elif kind == A and size == 4:
                found.append((owner, socket.inet_ntop(socket.AF_INET, data[at:end]), ttl))
            elif kind == AAAA and size == 16:
                found.append((owner, socket.inet_ntop(socket.AF_INET6, data[at:end]), ttl))
            elif kind == CNAME:
                aliases.setdefault(owner, (_name(data, at)[0], ttl))
            elif kind in (SVCB, HTTPS):
                hints, has_keys = _service(data, at, end)
                found += [(owner, ip, ttl) for ip in hints]
                if has_keys:
                    ech.add(owner)
            at = end
    except Malformed:
        if not cut:
            raise
    return aliases, found, ech


def _service(data: bytes, at: int, end: int) -> tuple[list[str], bool]:
    """Address hints of a SVCB or HTTPS record, and whether it has keys; an alias (priority 0) has neither."""
    if end - at < 3:
        raise Malformed
    priority, hints, ech = int.from_bytes(data[at : at + 2]), [], False
    at = _name(data, at + 2)[1]
    while priority and at < end:
        if at + 4 > end:
            raise Malformed
        key, size = _PAIR.unpack_from(data, at)
        at += 4
        value, at = data[at : at + size], at + size
        if at > end:
            raise Malformed
        ech |= key == ECH
        width, family = {IPV4HINT: (4, socket.AF_INET), IPV6HINT: (16, socket.AF_INET6)}.get(key, (0, 0))
        if width and size % width == 0:
            hints += [socket.inet_ntop(family, value[i : i + width]) for i in range(0, size, width)]
    return hints, ech


def _name(data: bytes, at: int) -> tuple[bytes, int]:
    """The name at an offset, uncompressed and in lower case, and where it ends. Raises Malformed."""
    labels: list[bytes] = []
    size, after, limit = 0, 0, at
    while True:
        if at >= len(data):
            raise Malformed
        length = data[at]
        if length < 64:
            size += length + 1
            if size > LONGEST or at + length >= len(data):
                raise Malformed
            labels.append(data[at : at + length + 1])
            at += length + 1
            if not length:
                break
        elif length >= 192 and at + 1 < len(data):
            after = after or at + 2
            at = (length & 63) << 8 | data[at + 1]
            if at >= limit:  # back, and further back each time: no loops
                raise Malformed
            limit = at
        else:
            raise Malformed
    return b"".join(labels).lower(), after or at
