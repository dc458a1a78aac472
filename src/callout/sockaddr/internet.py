"""The Internet families, AF_INET and AF_INET6 (ip(7), ipv6(7)): an IP address and a port."""

from __future__ import annotations

import socket
from typing import Final

from callout.sockaddr.family import Address, Family
from callout.sockaddr.notation import Notation
from callout.sockaddr.quoting import quoted_hex
from callout.sockaddr.view import View

INET: Final = 2
INET6: Final = 10
INET_MINIMUM: Final = 16
# Without sin6_scope_id, as in RFC 2133: the kernel still accepts it (SIN6_LEN_RFC2133, net/ipv6).
INET6_MINIMUM: Final = 24


def notate_inet(view: View, notation: Notation) -> str:
    """Return the fields of a ``sockaddr_in`` after its family."""
    address = view.octets(4, 4)
    meaning = f'inet_addr("{socket.inet_ntop(socket.AF_INET, address)}")'
    return f"sin_port={notation.port(view.octets(2, 2))}, sin_addr={notation.wire(address, meaning)}"


def notate_inet6(view: View, notation: Notation) -> str:
    """Return the fields of a ``sockaddr_in6`` after its family; the scope id only if it is there."""
    fields = [
        f"sin6_port={notation.port(view.octets(2, 2))}",
        # All 32 bits, not the flow label alone: the traffic class is part of the field (RFC 3493, 3.3).
        f"sin6_flowinfo={notation.wire(view.octets(4, 4), f'htonl({view.network(4, 4)})')}",
        _notate_ip6(view.octets(8, 16), notation),
    ]
    if view.length > INET6_MINIMUM:
        scope = view.number(24, 4)
        fields.append(f"sin6_scope_id={notation.interface(scope) if _is_link_local(view) else scope}")
    return ", ".join(fields)


def _notate_ip6(address: bytes, notation: Notation) -> str:
    call = f'inet_pton(AF_INET6, "{socket.inet_ntop(socket.AF_INET6, address)}"'
    if notation.style == "abbrev":  # the field is named by the call that fills it
        return f"{call}, &sin6_addr)"
    return f"sin6_addr={notation.alternatives(quoted_hex(address), call + ')')}"


def _is_link_local(view: View) -> bool:
    """Tell whether the scope is an interface: fe80::/10, or multicast of link scope (RFC 4291)."""
    first, second = view.octets(8, 2)
    return (first == 0xFE and second & 0xC0 == 0x80) or (first == 0xFF and second & 0x0F == 2)


def locate_inet(view: View) -> Address:
    """Return IP address and port of a ``sockaddr_in``."""
    return Address(INET, socket.inet_ntop(socket.AF_INET, view.octets(4, 4)), view.network(2, 2))


def locate_inet6(view: View) -> Address:
    """Return IP address and port of a ``sockaddr_in6``."""
    return Address(INET6, socket.inet_ntop(socket.AF_INET6, view.octets(8, 16)), view.network(2, 2))


FAMILIES: Final = (
    Family(INET, INET_MINIMUM, notate_inet, locate_inet),
    Family(INET6, INET6_MINIMUM, notate_inet6, locate_inet6),
)
