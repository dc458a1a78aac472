"""What kind of address it is: `connect.range`, from IANA's special-purpose registries and cloud providers' pages.

Rule of this file: the facts stand in ``reference/special_addresses.csv``; the longest prefix wins, and what is
in none is ``global``. An IPv6 address that carries an IPv4 one openly (mapped) is judged by that one, because
that is where the packets go. Sources: IANA's IPv4 and IPv6 Special-Purpose Address Registries, RFC 6890.
"""

from __future__ import annotations

import csv
import socket
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

ORDINARY = "global"
MAPPED = b"\0" * 10 + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291
REMEMBERED = 65536  # addresses


class Range(NamedTuple):
    """One line of the data file. ``prefix`` is in the usual notation, ``source`` the RFC or provider."""

    prefix: str
    name: str
    what: str
    source: str


@cache
def ranges() -> tuple[Range, ...]:
    """Everything that is known, in the order of the file."""
    text = files("callout").joinpath("reference/special_addresses.csv").read_text(encoding="utf-8")
    return tuple(
        Range(r["prefix"], r["range"], r["what"], r["source"]) for r in csv.DictReader(text.splitlines())
    )


@cache
def table() -> dict[int, list[tuple[int, dict[int, Range]]]]:
    """By length of the address in bytes: for each prefix length, longest first, the ranges by their upper bits."""
    by: dict[int, dict[int, dict[int, Range]]] = {4: {}, 16: {}}
    for one in ranges():
        address, _, length = one.prefix.partition("/")
        data = packed(address)
        assert data is not None
        bits = 8 * len(data) - int(length)
        by[len(data)].setdefault(bits, {})[int.from_bytes(data, "big") >> bits] = one
    return {size: sorted(found.items()) for size, found in by.items()}


def plain(address: str) -> str | None:
    """The address without zone, an IPv4 one that is mapped into IPv6 as IPv4; None for what is no address."""
    data = packed(address)
    if data is None:
        return None
    if data.startswith(MAPPED):
        return socket.inet_ntop(socket.AF_INET, data[len(MAPPED) :])
    return address.partition("%")[0]


def packed(address: str) -> bytes | None:
    """4 or 16 bytes; a zone (`%eth0`) does not count. None for what is no address."""
    text = address.partition("%")[0]
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL
        return None


@lru_cache(REMEMBERED)
def range_of(address: str) -> Range | None:
    """The narrowest special range that an address is in; None for an ordinary address and for no address."""
    data = packed(address)
    if data is None:
        return None
    if data.startswith(MAPPED):
        data = data[len(MAPPED) :]
    number = int.from_bytes(data, "big")
    for bits, found in table()[len(data)]:
        if one := found.get(number >> bits):
            return one
    return None


def name_of(address: str) -> str | None:
    """`connect.range`: `loopback`, `private`, `metadata`, …, `global`; None for what is no address."""
    found = range_of(address)
    return found.name if found else ORDINARY if packed(address) else None
