"""System calls of the i386 table from a 64-bit process: int 0x80 in a page below 4 GiB.

Rule of this file: everything that the kernel is to read lies in that page. Where a kernel takes no i386 calls,
the instruction faults and the process ends by SIGSEGV (``ia32_emulation=off``), which its parent tells.
Numbers: arch/x86/entry/syscalls/syscall_32.tbl, include/uapi/linux/net.h.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import platform
import socket
import struct
from collections.abc import Callable

from callout.lab.address import inet, unix
from callout.lab.ways.base import DISCARD, HOST, Made, NotHere, Way, granted, listener
from callout.lab.ways.datagrams import NAME, receiver

MAP_32BIT = 0x40  # arch/x86/include/uapi/asm/mman.h
NR_SOCKETCALL, NR_SENDMMSG, NR_CONNECT, NR_SENDTO, NR_SENDMSG = 102, 345, 362, 369, 370
MSG_FASTOPEN = 0x20000000  # include/linux/socket.h
SYS_CONNECT, SYS_SENDTO = 3, 11
DATA = 1024  # where data begins in the page, behind the code


class Page:
    """Memory below 4 GiB that holds the instruction and the data of calls."""

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise NotHere("i386 calls need x86-64")
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        try:
            self._page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, protection)
        except OSError as error:
            raise NotHere(f"no memory may be both written and run ({error.strerror})") from error
        self._anchor = ctypes.c_char.from_buffer(self._page)
        self._at = ctypes.addressof(self._anchor)
        self._used = DATA

    def put(self, data: bytes) -> int:
        """Stores data; returns its address."""
        place, self._used = self._used, self._used + (len(data) + 15 & ~15)
        self._page[place : place + len(data)] = data
        return self._at + place

    def call(self, number: int, *arguments: int) -> int:
        """A system call with up to six arguments: its result or -errno."""
        # push rbx; push rbp; mov eax, number; mov ebx, ecx, edx, esi, edi, ebp; int 0x80; pop rbp; pop rbx; ret
        words = (*arguments, *(0,) * (6 - len(arguments)))
        loads = (b"\xbb", b"\xb9", b"\xba", b"\xbe", b"\xbf", b"\xbd")
        moves = b"".join(load + struct.pack("=I", word) for load, word in zip(loads, words, strict=True))
        code = b"\x53\x55\xb8" + struct.pack("=I", number) + moves + b"\xcd\x80\x5d\x5b\xc3"
        self._page[: len(code)] = code
        result: int = ctypes.CFUNCTYPE(ctypes.c_int)(self._at)()
        if result == -errno.ENOSYS:
            raise NotHere("this kernel does not have the i386 call")
        return result

    def message(self, address: bytes, data: bytes = b"x") -> int:
        """A struct mmsghdr of the i386 ABI, which begins with a struct msghdr; returns its address."""
        vector = self.put(struct.pack("=II", self.put(data), len(data)))
        return self.put(struct.pack("=8I", self.put(address), len(address), vector, 1, 0, 0, 0, 0))


def by_number(caller: socket.socket, address: bytes) -> Made:
    """connect(2) by its own number."""
    page = Page()
    result = page.call(NR_CONNECT, caller.fileno(), page.put(address), len(address))
    return granted(caller, address, result)


def by_socketcall(caller: socket.socket, address: bytes) -> Made:
    """connect(2) by socketcall(2), which takes its arguments from memory."""
    page = Page()
    arguments = page.put(struct.pack("=III", caller.fileno(), page.put(address), len(address)))
    return granted(caller, address, page.call(NR_SOCKETCALL, SYS_CONNECT, arguments))


def connect_tcp() -> Made:
    """TCP."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        return by_number(caller, address)


def connect_udp() -> Made:
    """UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        return by_number(caller, inet(HOST, DISCARD))


def socketcall_tcp() -> Made:
    """TCP."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        return by_socketcall(caller, address)


def socketcall_udp() -> Made:
    """UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        return by_socketcall(caller, inet(HOST, DISCARD))


def connect_unix() -> Made:
    """A Unix datagram socket, by its own number."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
    ):
        server.bind(NAME)
        return by_number(caller, unix(NAME))


def sending(number: int, *more: int) -> Callable[[], Made]:
    """A UDP datagram by sendmsg(2) or sendmmsg(2)."""

    def act() -> Made:
        page = Page()
        server, address = receiver()
        with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            result = page.call(number, caller.fileno(), page.message(address), *more)
            return granted(caller, address, result)

    return act


def sendto() -> Made:
    """A UDP datagram by sendto(2)."""
    page = Page()
    server, address = receiver()
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        result = page.call(NR_SENDTO, caller.fileno(), page.put(b"x"), 1, 0, page.put(address), len(address))
        return granted(caller, address, result)


def unix_sendto() -> Made:
    """A Unix datagram by socketcall(2)."""
    page, address = Page(), unix(NAME)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
    ):
        server.bind(NAME)
        words = (caller.fileno(), page.put(b"x"), 1, 0, page.put(address), len(address))
        result = page.call(NR_SOCKETCALL, SYS_SENDTO, page.put(struct.pack("=6I", *words)))
        return granted(caller, address, result)


def fastopen() -> Made:
    """sendto(2) with MSG_FASTOPEN."""
    page = Page()
    server, address = listener()
    with server, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        words = (caller.fileno(), page.put(b"x"), 1, MSG_FASTOPEN, page.put(address), len(address))
        return granted(caller, address, page.call(NR_SENDTO, *words))


def socketcall_sendto() -> Made:
    """A UDP datagram by socketcall(2)."""
    page = Page()
    server, address = receiver()
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        words = (caller.fileno(), page.put(b"x"), 1, 0, page.put(address), len(address))
        result = page.call(NR_SOCKETCALL, SYS_SENDTO, page.put(struct.pack("=6I", *words)))
        return granted(caller, address, result)


WAYS = (
    Way("i386_tcp", "connect_ia32", "connect(2) of i386, TCP", "connect_ia32", "established", connect_tcp,
        in_part=True),
    Way("i386_udp", "connect_ia32", "connect(2) of i386, UDP", "connect_ia32", "associated", connect_udp),
    Way("socketcall_tcp", "socketcall", "connect(2) by socketcall(2) of i386, TCP", "socketcall", "established",
        socketcall_tcp, in_part=True),
    Way("socketcall_udp", "socketcall", "connect(2) by socketcall(2) of i386, UDP", "socketcall", "associated",
        socketcall_udp),
    Way("socketcall_sendto", "sendto", "sendto(2) by socketcall(2) of i386, UDP", "sendto", "associated",
        socketcall_sendto),
    Way("i386_unix", "connect_ia32", "connect(2) of i386, Unix", "connect_ia32", "associated", connect_unix),
    Way("i386_sendto", "sendto", "sendto(2) of i386, UDP", "sendto", "associated", sendto),
    Way("i386_sendmsg", "sendmsg", "sendmsg(2) of i386, UDP", "sendmsg", "associated", sending(NR_SENDMSG, 0)),
    Way("i386_sendmmsg", "sendmmsg", "sendmmsg(2) of i386, UDP", "sendmmsg", "associated",
        sending(NR_SENDMMSG, 1, 0)),
    Way("socketcall_unix", "unix_sendto", "sendto(2) by socketcall(2) of i386, Unix", "sendto", "associated",
        unix_sendto),
    Way("i386_fastopen", "sendto_fastopen", "sendto(2) of i386 with MSG_FASTOPEN", "sendto_fastopen", "established",
        fastopen),
)  # fmt: skip
