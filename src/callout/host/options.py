"""Options of a socket that another process still has: how long it waits, and how it is bound.

Rule of this file: looks at a copy of the descriptor, and only if it still is the socket of the attempt (by its cookie).
Sources: pidfd_getfd(2) (it takes the right to trace the process), socket(7), tcp(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
PIDFD_GETFD = 438  # all architectures, Linux 5.6
SO_COOKIE = 57  # asm-generic/socket.h
TCP_USER_TIMEOUT, TCP_SYNCNT = 18, 7  # linux/tcp.h
GONE = ""  # the device that the socket is bound to
TIMEVAL = struct.Struct("@ll")


@dataclass(frozen=True)
class Options:
    """What was set. Times in seconds; None: not set, or the default. ``device``: GONE, where it has been removed."""

    user_timeout: float | None
    syn_retries: int | None
    send_timeout: float | None
    device: str | None
    mark: int | None


@contextmanager
def copied(pid: int, descriptor: int) -> Iterator[socket.socket | None]:
    """A copy of a TCP or UDP socket of another process; None where it is no such socket or not ours to look at."""
    copy = taken(pid, descriptor) if descriptor >= 0 else -1
    if copy < 0:
        yield None
        return
    try:
        found = socket.socket(fileno=copy)
    except OSError:  # no socket
        os.close(copy)
        yield None
        return
    with found:
        internet = found.family in (socket.AF_INET, socket.AF_INET6) and found.type in KINDS
        yield found if internet else None


def taken(pid: int, descriptor: int) -> int:
    """A copy of a descriptor of another process; negative where it cannot be had."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return -1
    try:
        return int(ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, descriptor, 0))
    finally:
        os.close(process)


def options_of(pid: int, descriptor: int, cookie: int | None) -> Options | None:
    """Options of the socket of an attempt; None where it is gone or not ours to look at."""
    if cookie is None:
        return None
    with copied(pid, descriptor) as found:
        if found is None or found.type != socket.SOCK_STREAM:
            return None
        try:
            (number,) = struct.unpack("=Q", found.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))
            return read(found) if number == cookie else None
        except OSError:
            return None


def device_of(pid: int, descriptor: int) -> str | None:
    """The device that the socket on a descriptor is bound to now; GONE, or None for none or where it cannot be seen."""
    with copied(pid, descriptor) as found:
        return None if found is None else bound_to(found)


def bound_to(found: socket.socket) -> str | None:
    """The device that a socket is bound to; GONE where that is no more (net/core/sock.c, sock_getbindtodevice)."""
    try:
        name = found.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return GONE
    return name.split(b"\0")[0].decode(errors="replace") or None


def read(found: socket.socket) -> Options:
    """The options of a TCP socket."""
    user = found.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT)
    retries = found.getsockopt(socket.IPPROTO_TCP, TCP_SYNCNT)
    seconds, micros = TIMEVAL.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL.size))
    return Options(
        user_timeout=user / 1000 or None,
        syn_retries=retries or None,
        send_timeout=seconds + micros / 1e6 or None,
        device=bound_to(found),
        mark=found.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) or None,
    )
