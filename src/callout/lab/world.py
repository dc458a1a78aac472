"""The hands of a scenario: sockets to call from, peers to call, and the call itself, reported as it went.

Rule of this file: every attempt goes through ``World``, so none is made without its report, also where it finds out
that its scenario cannot be had here (``NotHere``). Waiting is for readiness (poll), never for time.
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

from callout.lab import libc, sockets
from callout.lab.report import Announced, Arranged, Attempt, send
from callout.verdict import errno_name

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # include/uapi/asm-generic/socket.h
# Milliseconds, for TCP_USER_TIMEOUT: over when the first retransmission is due (a second), which the kernel sends all
# the same, and not just about then, when a jiffy decides whether there is one more (net/ipv4/tcp_timer.c).
SOON = 500
BPF_RET_K = 0x06  # linux/filter.h: return a constant, the number of bytes to keep


class World:
    """What one scenario acts through. ``name`` is the scenario's, ``fd`` where reports go.

    ``gate``: a descriptor from which one byte is taken before each attempt, None for going straight on.
    """

    def __init__(self, name: str, fd: int, gate: int | None = None) -> None:
        self.name = name
        self.fd = fd
        self.gate = gate

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

    def about(
        self,
        caller: socket.socket | int,
        address: bytes | int,
        addrlen: int | None = None,
        call: str = "connect",
    ) -> Attempt:
        """What is known of an attempt just before it is made; the gate, if there is one, opens here."""
        fd = caller if isinstance(caller, int) else caller.fileno()
        data = address if isinstance(address, bytes) else b""
        attempt = Attempt(
            self.name, os.getpid(), threading.get_native_id(), fd, data.hex(),
            len(data) if addrlen is None else addrlen, None, None, 0, call,
            address if isinstance(address, int) else 0, sockets.described(fd),
        )  # fmt: skip
        self.wait(attempt)
        return replace(attempt, time=time.time_ns())

    def wait(self, attempt: Attempt) -> None:
        """Announces an attempt and waits for its turn, where the child goes step by step."""
        if self.gate is not None:
            send(self.fd, Announced(attempt))
            if not os.read(self.gate, 1):
                os._exit(0)  # whoever watched is gone

    def by_program(self, address: bytes, command: str) -> Attempt:
        """Announces the attempt that another program is about to make, and waits for its turn. To be reported then."""
        attempt = Attempt(
            self.name,
            0,
            0,
            -1,
            address.hex(),
            len(address),
            None,
            None,
            time.time_ns(),
            "connect",
            command=command,
        )
        self.wait(attempt)
        return attempt

    def arranged(self, what: str) -> None:
        """Reports something that was put in place, so that whoever watches can tell."""
        send(self.fd, Arranged(self.name, what))

    def report(self, attempt: Attempt) -> None:
        """Reports an attempt that was made some other way, as it is."""
        send(self.fd, attempt)

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
    def impatient() -> socket.socket:
        """A fresh TCP socket whose unanswered attempt ends with its second SYN, after a second."""
        caller = World.tcp()
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SOON)
        return caller

    def listener(self, host: str, port: int, backlog: int = 16) -> socket.socket:
        """A TCP listener, reported; see ``listening``."""
        server = listening(host, port, backlog)
        self.arranged(f"TCP listens on {shown(host)}:{port}, backlog {backlog}")
        return server

    def silent(self, host: str, port: int) -> socket.socket:
        """A TCP listener that hears nothing, reported; see ``deaf``."""
        server = deaf(host, port)
        self.arranged(f"TCP listens on {shown(host)}:{port}, but a socket filter drops each SYN")
        return server

    @staticmethod
    def hear(server: socket.socket) -> None:
        """Lets a ``silent`` listener answer: the next SYN, up to a second later, establishes."""
        server.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)

    def unix_listener(
        self, name: str, backlog: int = 16, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        """A Unix listener on a path, or on an abstract name where ``name`` begins with a NUL. Reported."""
        server = socket.socket(socket.AF_UNIX, kind)
        server.bind(name)
        server.listen(backlog)
        self.arranged(f"a Unix {kind.name} listens on {name.replace(chr(0), '@')}, backlog {backlog}")
        return server

    def set(self, name: str, value: str) -> None:
        """Sets a setting of a network namespace that the scenario has alone. Raises OSError."""
        with open(f"/proc/sys/net/{name}", "w") as file:
            file.write(value)
        self.arranged(f"sysctl net.{name.replace('/', '.')}={value.strip()}")


def listening(host: str, port: int, backlog: int = 16) -> socket.socket:
    """A TCP listener. The kernel completes handshakes up to the backlog, so nobody needs to accept."""
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    server.bind((host, port))
    server.listen(backlog)
    return server


def deaf(host: str, port: int) -> socket.socket:
    """A TCP listener that hears no SYN: a socket filter drops each before TCP sees it (socket(7)).

    So an attempt stays pending, without any tool or privilege.
    """
    server = listening(host, port)
    program = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RET_K, 0, 0, 0))
    option = struct.pack("@HP", 1, ctypes.addressof(program))  # struct sock_fprog
    server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)
    return server


def shown(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host
