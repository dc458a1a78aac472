"""Socket addresses as the kernel takes them, for callers that pass exactly the bytes they mean.

Rule of this file: packing only, and no checks: a scenario may want an address that is wrong.
Sources: ip(7), ipv6(7), unix(7). Ports and addresses are in network order, the family in the machine's.
"""

from __future__ import annotations

import socket
import struct

UNSPEC = struct.pack("=H14x", socket.AF_UNSPEC)


def inet(host: str, port: int) -> bytes:
    """A sockaddr_in: 16 bytes."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(host))


def inet6(host: str, port: int) -> bytes:
    """A sockaddr_in6 without flow label and scope: 28 bytes."""
    packed = socket.inet_pton(socket.AF_INET6, host)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 0, packed, 0)


def unix(name: str) -> bytes:
    """A sockaddr_un: of a path with its NUL, or of an abstract name where ``name`` begins with a NUL."""
    end = b"" if name.startswith("\0") else b"\0"
    return struct.pack("=H", socket.AF_UNIX) + name.encode() + end
