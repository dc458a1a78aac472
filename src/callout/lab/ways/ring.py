"""A small io_uring, by its three system calls alone.

Rule of this file: a ring is used once: ``run`` submits entries and returns their results. What the entries
point at must live until then. Sources: io_uring_setup(2), io_uring_enter(2), io_uring_register(2),
include/uapi/linux/io_uring.h.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from collections.abc import Sequence

from callout.lab.ways.base import NotHere
from callout.lab.ways.message import Message, system_call

SETUP, ENTER, REGISTER = 425, 426, 427
SETUP_SQPOLL = 2
GETEVENTS, SQ_WAKEUP = 1, 2
REGISTER_FILES = 2
SQES_AT = 0x10000000
FIXED_FILE, IO_LINK, ASYNC = 1, 4, 16  # flags of an entry
SENDMSG, LINK_TIMEOUT, CONNECT, SEND, SEND_ZC, SENDMSG_ZC = 9, 15, 16, 26, 47, 48  # its opcodes
ENTRIES = 4


def entry(
    opcode: int, fd: int, address: int, offset: int = 0, length: int = 0, more: int = 0, flags: int = 0
) -> bytes:
    """A struct io_uring_sqe without its user_data. ``more``: flags of the operation itself."""
    return struct.pack("=BBHiQQII", opcode, flags, 0, fd, offset, address, length, more)


class Pinned:
    """Bytes at a fixed address, for as long as this lives."""

    def __init__(self, data: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(data, len(data))
        self.at = ctypes.addressof(self._buffer)


def connect_entry(fd: int, address: Pinned, addrlen: int, flags: int = 0) -> bytes:
    """IORING_OP_CONNECT; the length stands where other operations have an offset."""
    return entry(CONNECT, fd, address.at, offset=addrlen, flags=flags)


def sendmsg_entry(fd: int, message: Message, more: int = 0, opcode: int = SENDMSG) -> bytes:
    """IORING_OP_SENDMSG or its like without copies."""
    return entry(opcode, fd, message.at, length=1, more=more)


def send_entry(fd: int, data: Pinned, address: Pinned, addrlen: int, opcode: int = SEND) -> bytes:
    """IORING_OP_SEND of one byte to an address (Linux 6.0), whose length stands in the last 16 bytes."""
    return entry(opcode, fd, data.at, offset=address.at, length=1) + struct.pack("=8xHHH", 0, 0, addrlen)


class Ring:
    """One io_uring; NotHere where the kernel has none or does not grant it."""

    def __init__(self, poll: bool = False) -> None:
        self._poll = poll
        parameters = (ctypes.c_uint32 * 30)()
        parameters[2] = SETUP_SQPOLL if poll else 0
        parameters[4] = 1000  # ms until a polling thread sleeps
        self._fd = system_call(SETUP, ENTRIES, ctypes.addressof(parameters))
        if self._fd < 0:
            switched_off = " (see the sysctl kernel.io_uring_disabled)" if self._fd == -errno.EPERM else ""
            raise NotHere(f"no io_uring: {os.strerror(-self._fd)}{switched_off}")
        # struct io_sqring_offsets begins at word 10: head, tail, ring_mask, ring_entries, flags, dropped, array;
        # struct io_cqring_offsets at word 20: head, tail, ring_mask, ring_entries, overflow, cqes
        self._tail, self._array, self._cqes = parameters[11], parameters[16], parameters[25]
        size = max(self._cqes + parameters[1] * 16, self._array + parameters[0] * 4)
        self._rings = mmap.mmap(self._fd, size)  # both in one: IORING_FEAT_SINGLE_MMAP, Linux 5.4
        self._sqes = mmap.mmap(self._fd, ENTRIES * 64, offset=SQES_AT)

    def register(self, caller: socket.socket) -> int:
        """Puts a socket into the ring's own table of files; returns its place there."""
        files = Pinned(struct.pack("=i", caller.fileno()))
        result = system_call(REGISTER, self._fd, REGISTER_FILES, files.at, 1)
        if result < 0:
            raise NotHere(f"io_uring registers no files: {os.strerror(-result)}")
        return 0

    def run(self, entries: Sequence[bytes]) -> list[int]:
        """Submits entries together and waits for all: their results, in their order."""
        for i, sqe in enumerate(entries):
            self._sqes[i * 64 : i * 64 + 64] = (sqe[:32] + struct.pack("=Q", i) + sqe[40:]).ljust(64, b"\0")
            self._rings[self._array + i * 4 : self._array + i * 4 + 4] = struct.pack("=I", i)
        self._rings[self._tail : self._tail + 4] = struct.pack("=I", len(entries))
        flags = GETEVENTS | (SQ_WAKEUP if self._poll else 0)
        result = system_call(ENTER, self._fd, len(entries), len(entries), flags, 0, 0)
        if result < 0:
            raise OSError(-result, f"io_uring_enter: {os.strerror(-result)}")
        found = [struct.unpack_from("=Qi", self._rings, self._cqes + i * 16) for i in range(len(entries))]
        return [result for _, result in sorted(found)]
