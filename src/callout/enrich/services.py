"""The usual service of a port: `connect.service`.

Rule of this file: the facts stand in ``reference/services.csv``: IANA's name (Service Name and Transport
Protocol Port Number Registry), or, where no or another service is registered, what is commonly found there
(`common`). The host's /etc/services is not asked: the same trace says the same everywhere. A port is a habit
and no proof of what is spoken.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

LIKE = {"mptcp": "tcp", "udplite": "udp"}  # same port numbers, RFC 8684 and RFC 3828


class Service(NamedTuple):
    """One line of the data file; ``source`` is `iana` or `common`."""

    name: str
    source: str


@cache
def services() -> dict[tuple[str, int], Service]:
    """All of them by transport and port."""
    text = files("callout").joinpath("reference/services.csv").read_text(encoding="utf-8")
    return {
        (r["transport"], int(r["port"])): Service(r["service"], r["source"])
        for r in csv.DictReader(text.splitlines())
    }


def service_of(transport: str | None, port: int | None) -> str | None:
    """Name of the usual service, or None."""
    if transport is None or port is None:
        return None
    found = services().get((LIKE.get(transport, transport), port))
    return found.name if found else None
