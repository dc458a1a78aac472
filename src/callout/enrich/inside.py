"""Files of another process, as it sees them: through /proc/PID/root, where its root is.

Rule of this file: what is there was put there by others. A link leads nowhere outside (RESOLVE_IN_ROOT,
openat2(2)), what is no plain file is found but never opened (a device might do something, a pipe wait), and no more is
read than asked for.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

SYS_OPENAT2 = 437  # on every architecture (linux/unistd.h)
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10  # linux/openat2.h
_libc = ctypes.CDLL(None, use_errno=True)


def open_inside(pid: int, path: str) -> int:
    """A descriptor for reading a plain file of a process. Raises OSError."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        found: int = _libc.syscall(
            ctypes.c_long(SYS_OPENAT2), ctypes.c_int(root), os.fsencode(path), how, ctypes.c_size_t(len(how))
        )
    finally:
        os.close(root)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", path)
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)


def read_inside(pid: int, path: str, most: int = 1 << 20) -> bytes:
    """The first bytes of a plain file of a process. Raises OSError."""
    with open(open_inside(pid, path), "rb") as file:
        return file.read(most)
