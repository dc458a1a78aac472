r"""Socket addresses, decoded: raw bytes in, strace's notation or an :class:`Address` out.

>>> decode_sockaddr(bytes.fromhex("020001bb7f0000010000000000000000"))
'{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("127.0.0.1")}'
>>> parse_sockaddr(b"\1\0\0bus")
Address(family=1, ip=None, port=None, address='@bus')

The notation is that of strace 7 for the second argument of connect(2), byte for byte, in each of its ``-X``
styles.  Only the first min(addrlen, 128) bytes count; numbers are in this machine's byte order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from callout.errors import UsageError
from callout.sockaddr import bluetooth, cluster, internet, legacy, link, local, node
from callout.sockaddr.constants import family_name, names
from callout.sockaddr.family import Address, Family, raw_data
from callout.sockaddr.notation import STYLES, InterfaceNames, Notation, Style, interface_name
from callout.sockaddr.quoting import quoted
from callout.sockaddr.view import FAMILY_SIZE, LIMIT, View

__all__ = [
    "FAMILIES",
    "STYLES",
    "Address",
    "Style",
    "decode_sockaddr",
    "family_name",
    "parse_sockaddr",
]

if TYPE_CHECKING:
    FAMILIES: Mapping[int, str]

_DECODERS: Final[dict[int, Family]] = {
    entry.number: entry
    for group in (local, internet, legacy, link, cluster, bluetooth, node)
    for entry in group.FAMILIES
}


def decode_sockaddr(
    data: bytes,
    addrlen: int | None = None,
    style: str = "abbrev",
    *,
    pointer: int | None = None,
    ifname: InterfaceNames = interface_name,
    wordsize: int = 8,
) -> str:
    """Return an address as strace 7 prints the second argument of connect(2).

    ``data`` is what was read of the address, ``addrlen`` the length that the caller passed (a C ``int``;
    default: all of ``data``) and ``style`` one of :data:`STYLES`, strace's ``-X``.

    strace prints the pointer instead of an address when ``addrlen`` is below 2 or the memory cannot be
    read, which is what ``data`` shorter than min(``addrlen``, 128) stands for.  With ``pointer``, so does
    this function (``NULL`` for 0).  Without it, an address cut short is decoded as far as it goes, as if
    ``addrlen`` were ``len(data)``, and what is too short for a family is written as a C string, ``""`` or
    ``"\\2"``, which looks neither like an address nor like a pointer.

    ``ifname`` gives the name of an interface index, or None; the default asks this process's network
    namespace at that moment, like strace.  ``wordsize`` is the pointer size of the calling process in
    bytes, 8 or 4: an AF_NFC address ends in a ``size_t``.

    Raises :class:`callout.errors.UsageError` for a ``style`` that does not exist, and whatever ``ifname``
    raises; nothing else.
    """
    if style not in STYLES:
        raise UsageError(f"unknown address style {style!r}", f"use one of: {', '.join(STYLES)}")
    seen, complete = _seen(data, addrlen)
    if pointer is not None and not complete:
        return f"{pointer:#x}" if pointer else "NULL"
    if len(seen) < FAMILY_SIZE:
        return quoted(seen)
    view = View(seen, wordsize)
    notation = Notation(style, ifname)
    fields = [f"sa_family={notation.named('addrfams', view.family, 'AF_???')}"]
    if view.length > FAMILY_SIZE:
        decoder = _decoder(view)
        fields.append(decoder.notate(view, notation) if decoder else raw_data(view.payload))
    return f"{{{', '.join(fields)}}}"


def parse_sockaddr(data: bytes, addrlen: int | None = None) -> Address:
    """Return where an address points, for the fields of a destination.

    ``data`` and ``addrlen`` are as for :func:`decode_sockaddr`; missing bytes shorten the address.  An
    address that is too short for its family, or of a family without known fields, has only its family.

    ``address`` is the path of a Unix socket, or ``@`` and the name of an abstract one (with every NUL that
    belongs to it), None if unnamed; a path that begins with ``@`` has ``./`` before it.  Bytes that are not
    UTF-8 are lone surrogates (PEP 383), and it may hold any character, so escape it before a terminal sees it.
    Other families have a few words that identify the peer: ``2:1234`` is the CID and port of AF_VSOCK.
    AF_RXRPC has the IP address and port of its transport.

    Never raises.
    """
    seen, _ = _seen(data, addrlen)
    if len(seen) < FAMILY_SIZE:
        return Address()
    view = View(seen)
    decoder = _decoder(view)
    return decoder.locate(view) if decoder else Address(view.family)


def _seen(data: bytes, addrlen: int | None) -> tuple[bytes, bool]:
    """Return the bytes that take part in the call, and whether they are an address, family included."""
    length = len(data) if addrlen is None else _c_int(addrlen)
    wanted = min(max(length, 0), LIMIT)
    return bytes(data[:wanted]), FAMILY_SIZE <= wanted <= len(data)


def _c_int(value: int) -> int:
    """Return ``value`` as the kernel sees it: the low 32 bits, signed."""
    return ((value + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


def _decoder(view: View) -> Family | None:
    decoder = _DECODERS.get(view.family)
    return decoder if decoder and view.length >= decoder.minimum else None


def __getattr__(name: str) -> Mapping[int, str]:
    """Read :data:`FAMILIES` when it is first asked for, so that importing the package reads no file."""
    if name == "FAMILIES":
        return names("addrfams")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
