"""The hands of a scenario: sockets to call from, peers to call, and the call itself, reported as it went.

Rule of this file: every attempt goes through ``World``, so none is made without its report. Waiting is for
readiness (poll), never for time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import threading
import time
from dataclasses import replace

from callout.lab import libc
from callout.lab.report import Attempt, send
from callout.verdict import errno_name

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # include/uapi/asm-generic/socket.h
BPF_RET_K = 0x06  # linux/filter.h: return a constant, the number of bytes to keep


class World:
    """What one scenario acts through. ``name`` is the scenario's, ``fd`` where reports go."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd

    def connect(
        self,
        caller: socket.socket | int,
        address: bytes | int,
        addrlen: int | None = None,
        wait: bool = False,
    ) -> int:
        """Makes one attempt, reports it, returns 0 or -errno as connect(2) did.

        ``caller`` is a socket or a bare descriptor; ``address`` bytes or a bare pointer, with ``addrlen``
        then. ``wait`` stays until the outcome of a non-blocking attempt is there and asks for it by
        SO_ERROR.
        """
        attempt = self.begin(caller, address, addrlen)
        result = attempt.return_
        assert result is not None
        if wait and result == -errno.EINPROGRESS and isinstance(caller, socket.socket):
            self.tell(attempt, self.outcome(caller))
        else:
            self.tell(attempt, 0 if result == -errno.EINPROGRESS else -result)
        return result

    def begin(self, caller: socket.socket | int, address: bytes | int, addrlen: int | None = None) -> Attempt:
        """Makes one attempt as ``connect`` does, for scenarios that learn its outcome some other way.

        They report it by ``tell``.
        """
        attempt = self.about(caller, address, addrlen)
        result = libc.connect(attempt.fd, address, attempt.addrlen)
        return replace(attempt, return_=result)

    def about(self, caller: socket.socket | int, address: bytes | int, addrlen: int | None = None) -> Attempt:
        """What is known of an attempt before it is made: for calls that do not come back, or are others."""
        fd = caller if isinstance(caller, int) else caller.fileno()
        data = address if isinstance(address, bytes) else b""
        length = len(data) if addrlen is None else addrlen
        tid = threading.get_native_id()
        return Attempt(self.name, os.getpid(), tid, fd, data.hex(), length, None, None, time.time_ns())

    def tell(self, attempt: Attempt, error: int = 0) -> None:
        """Reports an attempt with the error that the application got in the end; 0 for none."""
        send(self.fd, replace(attempt, error=errno_name(error) if error else None))

    @staticmethod
    def outcome(caller: socket.socket) -> int:
        """Waits until a non-blocking attempt is over, and asks for its error: 0 or an errno."""
        poll = select.poll()
        poll.register(caller, select.POLLOUT)
        poll.poll()
        return caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    @staticmethod
    def tcp(family: int = socket.AF_INET, blocking: bool = True) -> socket.socket:
        """A fresh TCP socket."""
        caller = socket.socket(family, socket.SOCK_STREAM)
        caller.setblocking(blocking)
        return caller

    @staticmethod
    def listener(host: str, port: int, backlog: int = 16) -> socket.socket:
        """A TCP listener. The kernel completes handshakes up to the backlog, so nobody needs to accept."""
        server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        server.bind((host, port))
        server.listen(backlog)
        return server

    @classmethod
    def silent(cls, host: str, port: int) -> socket.socket:
        """A TCP listener that hears no SYN: a socket filter drops each before TCP sees it (socket(7)).

        So an attempt stays pending, without any tool or privilege.
        """
        server = cls.listener(host, port)
        program = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RET_K, 0, 0, 0))
        option = struct.pack("@HP", 1, ctypes.addressof(program))  # struct sock_fprog
        server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)
        return server

    @staticmethod
    def hear(server: socket.socket) -> None:
        """Lets a ``silent`` listener answer: the next SYN, up to a second later, establishes."""
        server.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)

    @staticmethod
    def unix_listener(name: str, backlog: int = 16, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A Unix listener on a path, or on an abstract name where ``name`` begins with a NUL."""
        server = socket.socket(socket.AF_UNIX, kind)
        server.bind(name)
        server.listen(backlog)
        return server

    @staticmethod
    def set(name: str, value: str) -> None:
        """Sets a setting of a network namespace that the scenario has alone. Raises OSError."""
        with open(f"/proc/sys/net/{name}", "w") as file:
            file.write(value)
