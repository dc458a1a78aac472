"""What a way out of a process is: one real attempt, and what a tracer ought to say of it.

Rule of this file: values, and the few hands that all ways share. A way acts in a process and a network
namespace of its own (``stage``), so it may leave sockets to the end of its process.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from callout.lab import libc
from callout.lab.address import inet, inet6
from callout.lab.namespace import RUN
from callout.lab.world import listening

HOST, HOST6 = "127.0.0.1", "::1"
DISCARD = 9  # RFC 863: a port that nobody listens on here


class Made(NamedTuple):
    """One attempt as the process that made it knows it.

    ``fd``: the descriptor it was made on, None where there is no number to it. ``address``: the bytes of the
    sockaddr. ``result``: 0 or -errno, None where no system call returns it. ``note``: what of the way this attempt
    leaves out, "" if nothing.
    """

    fd: int | None
    address: bytes
    result: int | None
    note: str = ""


class NotHere(Exception):
    """A way that this kernel or machine does not have; the text says why.

    ``made``: the attempt that found it out, None where none was made: a tracer sees that one, too.
    """

    def __init__(self, reason: str, made: Made | None = None) -> None:
        super().__init__(reason)
        self.made = made


@dataclass(frozen=True)
class Way:
    """One way out. ``path`` names the line of ``doctor.paths`` that claims it.

    ``entry`` and ``verdict`` are what the row must have (None: the interface has no word for this entry).
    ``in_part``: it is of the part that is claimed where only a part of its path is seen.
    """

    name: str
    path: str
    what: str
    entry: str | None
    verdict: str
    act: Callable[[], Made]
    in_part: bool = False


def connect(caller: socket.socket, address: bytes) -> Made:
    """connect(2), once, exactly as given."""
    return Made(caller.fileno(), address, libc.connect(caller.fileno(), address, len(address)))


def made_socket(family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket; NotHere where this kernel has none of that kind, or grants none."""
    try:
        return socket.socket(family, kind, protocol)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise NotHere(f"no such socket is granted ({error.strerror})") from error
        raise NotHere(f"this kernel has no such sockets ({error.strerror})") from error


def allow_ping() -> None:
    """Ping sockets for our group; each network namespace says which may have them (icmp(7))."""
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
        file.write(f"{os.getegid()} {os.getegid()}")


def private_directory() -> None:
    """A file system of our own for sockets with a path; NotHere where none is granted."""
    try:
        libc.private_tmpfs(RUN)
    except OSError as error:
        raise NotHere(f"no file system of its own ({error.strerror})") from error


def listener(host: str = HOST) -> tuple[socket.socket, bytes]:
    """A TCP listener on a port that the kernel chose, and its address."""
    server = listening(host, 0)
    pack = inet6 if ":" in host else inet
    return server, pack(host, server.getsockname()[1])


def outcome(caller: socket.socket, result: int) -> int:
    """What came of a call that returned ``result``: the same, or after EINPROGRESS what SO_ERROR tells."""
    if result != -errno.EINPROGRESS:
        return result
    poll = select.poll()
    poll.register(caller, select.POLLOUT)
    poll.poll()
    return -caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def granted(caller: socket.socket, address: bytes, result: int, *allowed: int) -> Made:
    """An attempt whose call returned ``result``; NotHere with the kernel's words if that is an error that is not
    ``allowed``. Bytes sent are success.
    """
    made = Made(caller.fileno(), address, min(0, result))
    if result >= 0 or result in allowed:
        return made
    raise NotHere(f"the kernel refused the call ({os.strerror(-result)})", made)
