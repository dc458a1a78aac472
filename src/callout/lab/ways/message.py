"""sendmsg(2) and sendmmsg(2) as given, for callers that want the structures themselves.

Rule of this file: a ``Message`` keeps alive what its pointers point at. Layout: include/linux/socket.h
(struct user_msghdr, struct mmsghdr), 64-bit.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def system_call(number: int, *arguments: int | bytes | None) -> int:
    """Any system call by its number: its result or -errno. Bytes are passed by their address."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    return result if result >= 0 else -ctypes.get_errno()


class Message:
    """A struct mmsghdr with one byte of data; it begins with a struct msghdr. ``at`` is its address."""

    def __init__(self, address: bytes, data: bytes = b"x") -> None:
        self._name = ctypes.create_string_buffer(address, len(address))
        self._data = ctypes.create_string_buffer(data, len(data))
        self._vector = ctypes.create_string_buffer(
            struct.pack("=QQ", ctypes.addressof(self._data), len(data))
        )
        head = (ctypes.addressof(self._name), len(address), ctypes.addressof(self._vector), 1, 0, 0, 0, 0)
        self._header = ctypes.create_string_buffer(struct.pack("=QI4xQQQQI4xI4x", *head))
        self.at = ctypes.addressof(self._header)


def send_message(caller: socket.socket, message: Message, flags: int = 0) -> int:
    """sendmsg(2): 0 or -errno."""
    return min(0, _result(_libc.sendmsg(caller.fileno(), ctypes.c_void_p(message.at), flags)))


def send_messages(caller: socket.socket, message: Message, flags: int = 0) -> int:
    """sendmmsg(2) of one message: 0 or -errno."""
    return min(0, _result(_libc.sendmmsg(caller.fileno(), ctypes.c_void_p(message.at), 1, flags)))


def _result(returned: int) -> int:
    return returned if returned >= 0 else -(ctypes.get_errno() or os.EX_OSERR)
