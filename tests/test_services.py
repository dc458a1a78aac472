"""The usual service of a port, compared with this host's /etc/services where there is one."""

from __future__ import annotations

import socket

import pytest

from callout.enrich.services import service_of, services

# Debian's /etc/services has names of its own for these; IANA's registry has ours.
DIFFER = {
    "nicname", "ident", "imap", "snmptrap", "router", "kerberos-iv", "l2tp", "sips", "x11", "afs3-fileserver", "ndmp",
}  # fmt: skip


@pytest.mark.parametrize(
    ("transport", "port", "name"),
    [
        ("tcp", 443, "https"),
        ("mptcp", 443, "https"),
        ("udp", 443, "https"),
        ("udp", 53, "domain"),
        ("tcp", 5432, "postgresql"),
        ("tcp", 9092, "kafka"),
        ("tcp", 4, None),
        ("unix", 443, None),
        (None, 443, None),
        ("tcp", None, None),
    ],
)
def test_names(transport: str | None, port: int | None, name: str | None) -> None:
    assert service_of(transport, port) == name


def test_ours_are_the_hosts() -> None:
    compared = 0
    for (transport, port), service in services().items():
        try:
            other = socket.getservbyport(port, transport)
        except OSError:
            continue
        compared += 1
        assert service.source == "common" or service.name == other or service.name in DIFFER, (port, other)
    if compared < 50:
        pytest.skip("this host's /etc/services is missing or short (Debian: netbase)")


def test_sources() -> None:
    assert {service.source for service in services().values()} == {"iana", "common"}
    assert all(0 < port < 65536 and transport in ("tcp", "udp", "sctp") for transport, port in services())
