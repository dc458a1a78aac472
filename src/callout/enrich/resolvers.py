"""Whether an attempt asks for names itself, and in which way: what is asked over TLS cannot be seen.

Rule of this file: pure; known resolvers stand in ``reference/resolvers.csv``, with the page that each comes from.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

DNS, HTTPS, DOT = 53, 443, 853  # RFC 1035, RFC 8484, RFC 7858 and 9250
BY_PORT = {(DNS, "udp"): "dns", (DNS, "tcp"): "dns", (DOT, "tcp"): "dot", (DOT, "udp"): "doq"}


@cache
def known() -> tuple[frozenset[str], frozenset[str]]:
    """Names and addresses of public resolvers that answer over HTTPS."""
    table = files("callout").joinpath("reference/resolvers.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    names = frozenset(name for row in rows for name in row["names"].split())
    return names, frozenset(address for row in rows for address in row["addresses"].split())


def way(port: int | None, transport: str | None, ip: str | None, name: str | None) -> str | None:
    """connect.resolver: `dns`, `dot`, `doq`, `doh`, or None."""
    if port is None or ip is None:
        return None
    if port == HTTPS:
        names, addresses = known()
        return "doh" if ip in addresses or name in names else None
    return BY_PORT.get((port, "tcp" if transport == "mptcp" else transport or ""))
