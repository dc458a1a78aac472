"""The bytes of one address: readable at any offset, zero where the caller gave none, nothing past its length.

Linux copies at most ``sizeof(struct sockaddr_storage)`` = 128 bytes of an address (``move_addr_to_kernel``,
net/socket.c); a decoder that looks further reads memory that took no part in the call.
"""

from __future__ import annotations

import sys
from typing import Final

LIMIT: Final = 128
FAMILY_SIZE: Final = 2


class View:
    """Reads the fields of an address of ``length`` bytes; bytes beyond it read as zero.

    ``wordsize`` is the size of a ``long`` in the calling process: 8, or 4 for a 32-bit one.
    Numbers are in the byte order of this machine, like the address itself, unless a method says otherwise.
    """

    __slots__ = ("_padded", "length", "wordsize")

    def __init__(self, data: bytes, wordsize: int = 8) -> None:
        self.length = len(data)
        self.wordsize = wordsize
        self._padded = data.ljust(LIMIT, b"\0")

    @property
    def family(self) -> int:
        """The address family, the first two bytes."""
        return self.number(0, 2)

    @property
    def payload(self) -> bytes:
        """Everything after the family."""
        return self._padded[FAMILY_SIZE : self.length]

    def octets(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, padded with zeros."""
        return self._padded[offset : offset + size]

    def to_end(self, offset: int) -> bytes:
        """Return the bytes from ``offset`` to the end of the address."""
        return self._padded[offset : self.length]

    def number(self, offset: int, size: int) -> int:
        """Return an unsigned number of ``size`` bytes in this machine's byte order."""
        return int.from_bytes(self._padded[offset : offset + size], sys.byteorder)

    def signed(self, offset: int, size: int) -> int:
        """Return a signed number of ``size`` bytes in this machine's byte order."""
        return int.from_bytes(self._padded[offset : offset + size], sys.byteorder, signed=True)

    def network(self, offset: int, size: int) -> int:
        """Return an unsigned number of ``size`` bytes in network byte order."""
        return int.from_bytes(self._padded[offset : offset + size], "big")

    def little(self, offset: int, size: int) -> int:
        """Return an unsigned number of ``size`` bytes with the low byte first (Bluetooth's order)."""
        return int.from_bytes(self._padded[offset : offset + size], "little")

    def inner(self, offset: int, length: int) -> View:
        """Return the address of ``length`` bytes nested at ``offset``.

        Unlike the outer address it keeps the bytes that follow it: they are there, whatever its length says.
        """
        nested = View(self._padded[offset:], self.wordsize)
        nested.length = length
        return nested
