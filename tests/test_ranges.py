"""Special addresses: every range of the data file, its edges, and what the standard library thinks of them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.enrich.ranges import ORDINARY, Range, name_of, range_of, ranges


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("::1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.15.255.255", "global"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.0", "global"),
        ("192.168.1.1", "private"),
        ("fd12:3456::1", "private"),
        ("100.64.0.1", "shared"),
        ("100.100.100.200", "metadata"),
        ("169.254.169.254", "metadata"),
        ("169.254.169.253", "link_local"),
        ("169.254.170.2", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fe80::1%eth0", "link_local"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:8.8.8.8", "global"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "this_network"),
        ("::", "unspecified"),
        ("198.18.0.1", "benchmarking"),
        ("198.20.0.0", "global"),
        ("192.0.2.1", "documentation"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("224.0.0.251", "multicast"),
        ("ff02::fb", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("250.0.0.1", "reserved"),
        ("64:ff9b::8.8.8.8", "nat64"),
        ("2002::1", "6to4"),
        ("2001::1", "teredo"),
        ("2001:20::1", "orchid"),
        ("1.1.1.1", "global"),
        ("2606:4700:4700::1111", "global"),
        ("no address", None),
        ("", None),
        ("1\0", None),
    ],
)
def test_names(address: str, name: str | None) -> None:
    assert name_of(address) == name


@pytest.mark.parametrize("one", ranges(), ids=lambda one: one.prefix)
def test_both_ends_of_every_range(one: Range) -> None:
    network = ipaddress.ip_network(one.prefix)  # strict: no bits set beyond the prefix
    narrower = [ipaddress.ip_network(r.prefix) for r in ranges() if r is not one]
    for end in (network[0], network[-1]):
        inside = [
            n
            for n in narrower
            if n.version == network.version and n.prefixlen > network.prefixlen and end in n
        ]
        found = range_of(str(end))
        assert found is not None
        assert found == one if not inside else ipaddress.ip_network(found.prefix) in inside


def test_names_are_words_and_sources_are_given() -> None:
    assert len({one.prefix for one in ranges()}) == len(ranges())
    for one in ranges():
        assert one.name.isidentifier() or one.name.startswith("6to4")
        assert one.name != ORDINARY
        assert one.what
        assert one.source


@given(st.ip_addresses())
def test_agrees_with_the_standard_library(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    name = name_of(str(address))
    if getattr(address, "ipv4_mapped", None):
        address = address.ipv4_mapped  # type: ignore[union-attr,assignment]
    if name == ORDINARY:
        special = ("is_loopback", "is_link_local", "is_multicast", "is_private")
        assert [word for word in special if getattr(address, word)] == []
    if address.is_loopback:
        assert name == "loopback"
    if address.is_multicast:
        assert name == "multicast"
