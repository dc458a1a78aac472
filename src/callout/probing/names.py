"""From a name to addresses, in the order in which programs try them.

Rule of this file: asks the C library, as programs do: its order is that of RFC 6724 and /etc/gai.conf. What it asks on
the network (DNS) is part of the probe.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

HOSTS, RESOLV = Path("/etc/hosts"), Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Names:
    """What became of a name. ``addresses``: in order, without scope; ``took`` seconds; ``error``: the library's words.

    ``told``: where the answer may be from, for people.
    """

    host: str
    addresses: tuple[str, ...]
    took: float
    error: str | None
    told: str


def resolve(host: str, port: int) -> Names:
    """Asks for the addresses of a host, in the network namespace of this thread."""
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Names(host, (), time.monotonic() - began, text, servers())
    took = time.monotonic() - began
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if host in addresses:
        return Names(host, addresses, took, None, "an address needs no look-up")
    return Names(host, addresses, took, None, "/etc/hosts" if in_hosts(host) else servers())


def in_hosts(host: str) -> bool:
    """Whether /etc/hosts names a host (hosts(5))."""
    try:
        lines = HOSTS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(host.lower() in line.partition("#")[0].lower().split()[1:] for line in lines)


def servers() -> str:
    """The name servers of resolv.conf(5)."""
    try:
        lines = RESOLV.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"{RESOLV}: {error.strerror}"
    found = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
    return f"name servers {', '.join(found)}" if found else f"{RESOLV} names no server: 127.0.0.1 is asked"
