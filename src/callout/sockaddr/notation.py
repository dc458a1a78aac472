"""How a value is written: one object knows the style (strace's ``-X``), families only say what a value is.

``abbrev`` writes names, ``raw`` numbers and bytes, ``verbose`` the number with the name as a comment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from callout.sockaddr.constants import names
from callout.sockaddr.quoting import quoted, quoted_hex

Style = Literal["abbrev", "raw", "verbose"]
InterfaceNames = Callable[[int], str | None]

STYLES: Final[tuple[Style, ...]] = get_args(Style)
"""Every style."""


def interface_name(index: int) -> str | None:
    """Return the name of interface ``index`` in this process's network namespace, None when there is none."""
    import socket  # only some addresses carry an interface index, and this import is the dearest of all

    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):  # no such interface, or an index that no interface can have
        return None


def padded_hex(value: int, size: int) -> str:
    """Return ``value`` in C's ``%#0*x`` with two columns per byte of its ``size``: 0 is ``00``, 1 is ``0x1``.

    The prefix counts as columns, so a one-byte value is never padded, except that zero has no prefix.
    """
    return f"{value:#0{2 * size}x}" if value else "0" * (2 * size)


def plain_hex(value: int) -> str:
    """Return ``value`` in C's ``%#x``: hexadecimal with prefix, but a bare ``0`` for zero."""
    return f"{value:#x}" if value else "0"


def colons(data: bytes) -> str:
    """Return a hardware address as ``aa:bb:cc``, bytes in memory order."""
    return data.hex(":")


class Notation:
    """Writes values in one style.

    ``style`` is ``abbrev``, ``raw`` or ``verbose``; ``ifname`` gives the name of an interface index, or None.
    """

    __slots__ = ("ifname", "style")

    def __init__(self, style: Style, ifname: InterfaceNames) -> None:
        self.style = style
        self.ifname = ifname

    def alternatives(self, value: str, meaning: str | None) -> str:
        """Return ``meaning``, ``value`` or ``value /* meaning */``, as the style asks; ``value`` if None."""
        if self.style == "raw" or meaning is None:
            return value
        return meaning if self.style == "abbrev" else f"{value} /* {meaning} */"

    def wire(self, data: bytes, meaning: str) -> str:
        """Return a field that is kept in network order or as an array: its bytes, or what they mean."""
        return self.alternatives("" if self.style == "abbrev" else quoted_hex(data), meaning)

    def port(self, data: bytes) -> str:
        """Return a 16-bit number in network order as ``htons(N)``."""
        return self.wire(data, f"htons({int.from_bytes(data, 'big')})")

    def mac(self, data: bytes) -> str:
        """Return a hardware address."""
        return self.wire(data, colons(data))

    def interface(self, index: int) -> str:
        """Return an interface index, by name where that interface exists: ``if_nametoindex("lo")``."""
        name = None if self.style == "raw" else self.ifname(index)
        if name is None:
            return str(index)
        encoded = name.encode("utf-8", "surrogateescape")
        return self.alternatives(str(index), f"if_nametoindex({quoted(encoded)})")

    def named(self, table: str, value: int, unknown: str | None = None) -> str:
        """Return ``value`` by its name in ``table``; without one, the number and the comment ``unknown``."""
        name = names(table).get(value)
        if name is not None:
            return self.alternatives(plain_hex(value), name)
        return self._nameless(value, unknown)

    def numbered(self, table: str, value: int, unknown: str | None = None) -> str:
        """Return ``value`` as a number with its name as a comment, in both ``abbrev`` and ``verbose``.

        For fields whose number people know better than its name.
        """
        return self._nameless(value, names(table).get(value, unknown))

    def _nameless(self, value: int, comment: str | None) -> str:
        number = plain_hex(value)
        return number if self.style == "raw" or comment is None else f"{number} /* {comment} */"

    def flags(self, table: str, value: int, unknown: str) -> str:
        """Return bits as ``A|B|0xrest``; if none has a name, the number and the comment ``unknown``."""
        bits = _bits(table, value)
        if bits is not None:
            return self.alternatives(plain_hex(value), bits)
        return self._nameless(value, unknown if value else None)

    def numbered_flags(self, table: str, value: int, unknown: str) -> str:
        """Return bits as a number with ``A|B|0xrest`` as a comment, in both ``abbrev`` and ``verbose``."""
        return self._nameless(value, (_bits(table, value) or unknown) if value else None)


def _bits(table: str, value: int) -> str | None:
    """Return the names of the bits of ``value`` and the rest in hexadecimal; None if no bit has a name."""
    found = []
    rest = value
    for bit, name in names(table).items():
        if bit and rest & bit == bit:
            found.append(name)
            rest &= ~bit
    if not found:
        return None
    return "|".join([*found, plain_hex(rest)] if rest else found)
