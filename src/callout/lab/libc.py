"""The C library's calls that Python 3.11 lacks or wraps in too much.

Rule of this file: one thin function a call; a failure is an OSError with its errno, except for ``connect`` and
``sendto``, whose failures are what the laboratory is about. Numbers: unshare(2), prctl(2), mount(2), as in
include/uapi/linux.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000

# System call numbers by machine (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)
NUMBERS = {
    "x86_64": {"connect": 42, "sendto": 44, "bpf": 321},
    "aarch64": {"connect": 203, "sendto": 206, "bpf": 280},
}
NUMBER = NUMBERS.get(platform.machine(), {})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.connect.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.sendto.argtypes = (
    ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
)  # fmt: skip
_libc.sendto.restype = ctypes.c_ssize_t
_libc.getsockname.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p,
)  # fmt: skip

_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.syscall.restype = ctypes.c_long
HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_libc.signal.argtypes = (ctypes.c_int, HANDLER)
_libc.signal.restype = ctypes.c_void_p


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def connect(fd: int, address: bytes | int, addrlen: int) -> int:
    """connect(2) exactly as given, once: 0 or -errno. ``address``: bytes to point at, or a bare pointer.

    Unlike ``socket.connect`` it never calls again, never waits for readiness and checks nothing.
    """
    return 0 if _libc.connect(fd, address, addrlen) == 0 else -ctypes.get_errno()


def sendto(fd: int, data: bytes, flags: int, address: bytes) -> int:
    """sendto(2) exactly as given, once: the number of bytes, or -errno."""
    sent = int(_libc.sendto(fd, data, len(data), flags, address, len(address)))
    return sent if sent >= 0 else -ctypes.get_errno()


def getsockname(fd: int) -> bytes:
    """getsockname(2) as the bytes of the sockaddr, of any family. Raises OSError."""
    buffer = ctypes.create_string_buffer(128)
    length = ctypes.c_uint(len(buffer))
    _check(_libc.getsockname(fd, buffer, ctypes.byref(length)), "getsockname")
    return buffer.raw[: length.value]


def unshare(flags: int) -> None:
    """Moves the calling thread into new namespaces (CLONE_NEW…). Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def set_name(name: str) -> None:
    """Sets the calling thread's comm, of which the kernel keeps 15 bytes; threads and forks inherit it."""
    _check(_libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0), "prctl(PR_SET_NAME)")


def die_with_parent(signal: int) -> None:
    """Has the kernel send ``signal`` to this process when the thread that started it ends.

    Forks do not inherit it; the step into a user namespace leaves it (commit_creds in kernel/cred.c).
    """
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def private_tmpfs(path: str) -> None:
    """Covers ``path`` with an empty file system that only this mount namespace sees. Raises OSError."""
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount --make-rprivate /")
    _check(_libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, b"mode=0755,size=1m"), f"mount tmpfs on {path}")


def setns(fd: int) -> None:
    """Moves the calling thread into the network namespace that ``fd`` stands for. Raises OSError."""
    _check(_libc.setns(fd, CLONE_NEWNET), "setns")


def syscall(what: str, number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """A system call by its number, its arguments integers, buffers or NULL. Raises OSError with ``what``."""
    result = int(_libc.syscall(ctypes.c_long(number), *map(_register, arguments)))
    _check(result, what)
    return result


def _register(value: int | ctypes.Array[ctypes.c_char] | None) -> ctypes.c_long | ctypes.c_void_p:
    if isinstance(value, int):
        return ctypes.c_long(value)
    return ctypes.c_void_p(None if value is None else ctypes.addressof(value))


def prctl(what: str, option: int, second: int = 0, third: int = 0) -> None:
    """prctl(2) with plain numbers. Raises OSError with ``what``."""
    _check(_libc.prctl(option, second, third, 0, 0), what)


def on_signal(number: int, handler: Callable[[int], None]) -> object:
    """signal(3): a handler that runs in the middle of the interrupted call, with SA_RESTART.

    Python's own handlers run after the call. Keep the result as long as the handler may be called, and only
    let the signal come while the thread waits in a call of this module.
    """
    kept = HANDLER(handler)
    _libc.signal(number, kept)
    return kept
