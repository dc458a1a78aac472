"""Comparing one value of a packet with what a rule asks for.

Rule of this file: True, False, or None where it cannot be told.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

PORTS = {"ssh": 22, "http": 80, "https": 443, "domain": 53, "smtp": 25, "telnet": 23, "ftp": 21}


@lru_cache(1024)
def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An address or network; None where it is neither."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@lru_cache(1024)
def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address without its scope; None where it is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def number(value: Any) -> int | None:
    """A number, or a service's number by name."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            return PORTS.get(value)
    return None


def equal(have: Any, want: Any) -> bool | None:
    """Whether a value of a packet is a value of a rule: text, number, or address within a network."""
    if have is None:
        return None
    if isinstance(have, int):
        wanted = number(want)
        return None if wanted is None else have == wanted
    if isinstance(have, str) and isinstance(want, str):
        mine, theirs = address(have), network(want)
        if mine is not None and theirs is not None:
            return mine.version == theirs.version and mine in theirs
        return have.startswith(want[:-1]) if want.endswith(("*", "+")) else have == want
    return None


def between(have: Any, low: Any, high: Any) -> bool | None:
    """Whether a value lies within a range of numbers or addresses."""
    if isinstance(have, int):
        first, last = number(low), number(high)
        return None if first is None or last is None else first <= have <= last
    if isinstance(have, str):
        mine, first_address, last_address = address(have), address(str(low)), address(str(high))
        if mine is None or first_address is None or last_address is None:
            return None
        if not mine.version == first_address.version == last_address.version:
            return False
        return int(first_address) <= int(mine) <= int(last_address)
    return None


def negated(result: bool | None) -> bool | None:
    """Not, where it can be told."""
    return None if result is None else not result


def anyone(results: list[bool | None]) -> bool | None:
    """Whether one is True; None where none is and one cannot be told."""
    if any(result is True for result in results):
        return True
    return None if any(result is None for result in results) else False
