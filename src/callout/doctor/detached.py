"""Reading a kernel file system that is not mounted.

Rule of this file: the mount belongs to no mount tree, nobody else sees it, and it goes with its descriptor.
Source: fsopen(2), fsmount(2); Linux 5.2. It needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# the same numbers on every architecture except Alpha (include/uapi/asm-generic/unistd.h)
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
CLOEXEC = 1  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC
CMD_CREATE = 6  # FSCONFIG_CMD_CREATE


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@contextmanager
def detached(kind: str) -> Iterator[int]:
    """A descriptor of the root directory of a file system such as ``tracefs``. Raises OSError.

    It serves as ``dir_fd`` only: it is an O_PATH descriptor.
    """
    context = _syscall(FSOPEN, kind.encode(), CLOEXEC)
    try:
        _syscall(FSCONFIG, context, CMD_CREATE, None, None, 0)
        root = _syscall(FSMOUNT, context, CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield root
    finally:
        os.close(root)


def read_detached(kind: str, name: str) -> str | None:
    """The text of a small file of such a file system; None if either is not to be had."""
    try:
        with detached(kind) as root:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
            try:
                return os.read(file, 4096).decode(errors="replace")
            finally:
                os.close(file)
    except OSError:
        return None


def why_not(kind: str) -> str:
    """Why such a mount cannot be made, in the kernel's words; "" if it can."""
    try:
        with detached(kind):
            return ""
    except OSError as error:
        return error.strerror or str(error)
