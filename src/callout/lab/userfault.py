"""Memory whose pages come only when somebody asks for them: the kernel waits, in the middle of a system call.

Rule of this file: it knows pages, not what they are for. Source: userfaultfd(2), ioctl_userfaultfd(2),
include/uapi/linux/userfaultfd.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import select
import struct
from collections.abc import Callable, Mapping

from callout.lab import libc

NUMBERS = {"x86_64": 323, "aarch64": 282}
API, API_STRUCT = 0xC018AA3F, "=QQQ"  # UFFDIO_API: version, features, ioctls
REGISTER, REGISTER_STRUCT = 0xC020AA00, "=QQQQ"  # UFFDIO_REGISTER: start, length, mode, ioctls
COPY, COPY_STRUCT = 0xC028AA03, "=QQQQq"  # UFFDIO_COPY: destination, source, length, mode, copied
VERSION, MISSING = 0xAA, 1
EVENT = struct.Struct("=B7xQQQ")  # struct uffd_msg: event, flags, address, thread
PAGEFAULT = 0x12
PAGE = mmap.PAGESIZE


class Pages:
    """``count`` pages in a row. Those in ``held`` are not there: the first look at one waits.

    ``serve`` brings them, each when it is asked for, and first calls what stands in ``held`` for it: in the thread that
    serves, while the one that looks sleeps. Raises OSError where this process may not keep the kernel waiting (it takes
    CAP_SYS_PTRACE, or the sysctl vm.unprivileged_userfaultfd).
    """

    def __init__(self, count: int, held: Mapping[int, Callable[[], None]]) -> None:
        self._held = dict(held)
        self._fd = opened()
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self._memory = mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._contents = {page: bytearray(PAGE) for page in held}
        for page in held:
            area = struct.pack(REGISTER_STRUCT, self.at + page * PAGE, PAGE, MISSING, 0)
            fcntl.ioctl(self._fd, REGISTER, area)

    def write(self, offset: int, data: bytes) -> None:
        """Puts data in place; on a held page they are there once it comes."""
        while data:
            page, place = divmod(offset, PAGE)
            part, data = data[: PAGE - place], data[PAGE - place :]
            if page in self._contents:
                self._contents[page][place : place + len(part)] = part
            else:
                ctypes.memmove(self.at + offset, part, len(part))
            offset += len(part)

    def serve(self) -> None:
        """Brings every held page once, in the order in which they are asked for; returns after the last, or ``end``."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._over, select.POLLIN)
        for _ in range(len(self._held)):
            if self._fd not in (ready := [fd for fd, _ in poll.poll()]):
                assert ready == [self._over]
                return
            event, _, address, _ = EVENT.unpack(os.read(self._fd, EVENT.size))
            if event != PAGEFAULT:
                raise RuntimeError(f"userfaultfd told event {event:#x}, not a page fault")
            page = (address - self.at) // PAGE
            self._held[page]()
            contents = ctypes.create_string_buffer(bytes(self._contents[page]), PAGE)
            source = ctypes.addressof(contents)
            fcntl.ioctl(self._fd, COPY, struct.pack(COPY_STRUCT, self.at + page * PAGE, source, PAGE, 0, 0))

    def end(self) -> None:
        """No page will be asked for any more."""
        os.eventfd_write(self._over, 1)

    def close(self) -> None:
        """Lets go: whoever still waits for a page gets an empty one."""
        os.close(self._fd)
        os.close(self._over)


def opened() -> int:
    """A descriptor that is told of page faults, those of the kernel too. Raises OSError."""
    fd = libc.syscall("userfaultfd", NUMBERS[platform.machine()], os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, API, struct.pack(API_STRUCT, VERSION, 0, 0))
    except OSError:
        os.close(fd)
        raise
    return fd


def available() -> str | None:
    """Need ``userfault``: this process may keep the kernel waiting for a page."""
    if platform.machine() not in NUMBERS:
        return f"the number of userfaultfd(2) on {platform.machine()} is not in userfault.NUMBERS"
    try:
        os.close(opened())
    except OSError as error:
        return (
            f"userfaultfd(2) is not granted ({error.strerror}; run it as root, or set the sysctl "
            "vm.unprivileged_userfaultfd)"
        )
    return None
