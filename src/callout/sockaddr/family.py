"""What one address family contributes: its number, the shortest address with fields, and how to tell them.

``notate`` returns the fields as strace writes them, without the braces and the family; ``locate`` where
they point, for which most families only ``describe`` themselves in a few words.  Both get ``minimum`` bytes
or more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from callout.sockaddr.notation import Notation
from callout.sockaddr.quoting import quoted
from callout.sockaddr.view import View


class Address(NamedTuple):
    """Where an address points, in the fields that a destination has; None for what it does not say."""

    family: int | None = None
    """Number of the address family; None when the address is shorter than its family field."""
    ip: str | None = None
    """IP address in canonical text; IPv6 compressed, IPv4-mapped IPv6 as IPv6 (``::ffff:192.0.2.1``)."""
    port: int | None = None
    """Port of an IP address."""
    address: str | None = None
    """Path or name where there is no IP address: a Unix path, ``@name`` if abstract, else a few words."""


class Family(NamedTuple):
    """One address family."""

    number: int
    minimum: int
    notate: Callable[[View, Notation], str]
    locate: Callable[[View], Address]


def family(
    number: int, minimum: int, notate: Callable[[View, Notation], str], describe: Callable[[View], str | None]
) -> Family:
    """Return a family whose place is text only, that of ``describe``."""
    return Family(number, minimum, notate, lambda view: Address(number, address=describe(view)))


def raw_data(data: bytes) -> str:
    """Return the data of an address without known fields."""
    return f"sa_data={quoted(data)}"
