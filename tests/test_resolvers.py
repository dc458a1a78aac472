"""Attempts that ask for names."""

from __future__ import annotations

import csv
import ipaddress
from importlib.resources import files

import pytest

from callout.enrich.resolvers import known, way


@pytest.mark.parametrize(
    ("port", "transport", "ip", "name", "expected"),
    [
        (53, "udp", "192.0.2.1", None, "dns"),
        (53, "tcp", "192.0.2.1", None, "dns"),
        (853, "tcp", "192.0.2.1", None, "dot"),
        (853, "mptcp", "192.0.2.1", None, "dot"),
        (853, "udp", "192.0.2.1", None, "doq"),
        (443, "tcp", "1.1.1.1", None, "doh"),
        (443, "udp", "1.1.1.1", None, "doh"),
        (443, "tcp", "192.0.2.1", "dns.google", "doh"),
        (443, "tcp", "192.0.2.1", "www.example.org", None),
        (80, "tcp", "1.1.1.1", None, None),
        (53, "sctp", "192.0.2.1", None, None),
        (None, "unix", None, None, None),
    ],
)
def test_way(
    port: int | None, transport: str, ip: str | None, name: str | None, expected: str | None
) -> None:
    assert way(port, transport, ip, name) == expected


def test_the_list_is_in_order() -> None:
    names, addresses = known()
    assert all(str(ipaddress.ip_address(address)) == address for address in addresses)
    assert all(name == name.lower() for name in names)
    text = files("callout").joinpath("reference/resolvers.csv").read_text(encoding="utf-8")
    assert all(row["source"].startswith("https://") for row in csv.DictReader(text.splitlines()))
