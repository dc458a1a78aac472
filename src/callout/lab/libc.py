"""The C library's calls that Python 3.11 lacks or wraps in too much.

Rule of this file: one thin function a call; a failure is an OSError with its errno, except for ``connect``,
whose failures are what the laboratory is about. Numbers: unshare(2), prctl(2), mount(2), as in
include/uapi/linux.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.connect.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p,
)  # fmt: skip


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def connect(fd: int, address: bytes | int, addrlen: int) -> int:
    """connect(2) exactly as given, once: 0 or -errno. ``address``: bytes to point at, or a bare pointer.

    Unlike ``socket.connect`` it never calls again, never waits for readiness and checks nothing.
    """
    return 0 if _libc.connect(fd, address, addrlen) == 0 else -ctypes.get_errno()


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
