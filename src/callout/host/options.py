"""Options of a socket that another process still has: how long it waits, and how it is bound.

Rule of this file: looks at a copy of the descriptor, and only if it still is the socket of the attempt (by its cookie).
Sources: pidfd_getfd(2) (it takes the right to trace the process), socket(7), tcp(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from dataclasses import dataclass

PIDFD_GETFD = 438  # all architectures, Linux 5.6
SO_COOKIE = 57  # asm-generic/socket.h
TCP_USER_TIMEOUT, TCP_SYNCNT = 18, 7  # linux/tcp.h
TIMEVAL = struct.Struct("@ll")


@dataclass(frozen=True)
class Options:
    """What was set. Times in seconds; None: not set, or the default."""

    user_timeout: float | None
    syn_retries: int | None
    send_timeout: float | None
    device: str | None
    mark: int | None


def options_of(pid: int, descriptor: int, cookie: int | None) -> Options | None:
    """Options of the socket of an attempt; None where it is gone or not ours to look at."""
    if cookie is None or descriptor < 0:
        return None
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        copy = libc.syscall(PIDFD_GETFD, process, descriptor, 0)
    finally:
        os.close(process)
    if copy < 0:
        return None
    try:
        with socket.socket(fileno=copy) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
                return None
            (number,) = struct.unpack("=Q", found.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))
            return read(found) if number == cookie else None
    except OSError:
        return None


def read(found: socket.socket) -> Options:
    """The options of a TCP socket."""
    user = found.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT)
    retries = found.getsockopt(socket.IPPROTO_TCP, TCP_SYNCNT)
    seconds, micros = TIMEVAL.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL.size))
    bound = (
        found.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        .split(b"\0")[0]
        .decode(errors="replace")
    )
    return Options(
        user_timeout=user / 1000 or None,
        syn_retries=retries or None,
        send_timeout=seconds + micros / 1e6 or None,
        device=bound or None,
        mark=found.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) or None,
    )
