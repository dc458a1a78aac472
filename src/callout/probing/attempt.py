"""One real connection attempt, and what an unprivileged caller can see of it.

Rule of this file: no data is sent, and the socket is closed. Errors of routers are read from the socket's own error
queue (IP_RECVERR: ip(7); on TCP sockets under way since Linux 5.9, net/ipv4/tcp_ipv4.c, tcp_v4_err).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from callout.verdict import errno_name

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
SO_COOKIE = 57
RETRANSMITS_AT, INFO_SIZE = 100, 104  # tcpi_total_retrans in struct tcp_info, linux/tcp.h
EXTENDED = struct.Struct("=IBBBxII")  # struct sock_extended_err, linux/errqueue.h
ORIGINS = {1: "local", 2: "icmp", 3: "icmp6"}


@dataclass
class Result:
    """What became of an attempt. ``error``: name of the errno, None for success; ``pending``: given up by us.

    Times are nanoseconds; ``began`` since the epoch. ``icmp``: version, type, code and sender of an ICMP error.
    """

    ip: str
    port: int
    transport: str
    began: int = 0
    took: int = 0
    returned: int = 0
    error: str | None = None
    pending: bool = False
    syns: int | None = None
    icmp: tuple[int, int, int, str] | None = None
    source: str | None = None
    sport: int | None = None
    descriptor: int = -1
    cookie: int | None = None
    thread: int = 0
    path: str | None = None
    family: str = "AF_INET"
    addrlen: int = 16
    notes: list[str] = field(default_factory=list)


def attempt_tcp(ip: str, port: int, patience: float) -> Result:
    """One TCP attempt, in the network namespace of this thread; given up after ``patience`` seconds."""
    six = ":" in ip
    result = Result(ip, port, "tcp", family="AF_INET6" if six else "AF_INET", addrlen=28 if six else 16)
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        level, option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if six else (socket.IPPROTO_IP, IP_RECVERR)
        caller.setsockopt(level, option, 1)
        made(caller, (ip, port), result, patience)
        info = caller.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_SIZE)
        if len(info) >= INFO_SIZE and result.returned == -errno.EINPROGRESS:
            result.syns = 1 + int(struct.unpack_from("=I", info, RETRANSMITS_AT)[0])
        read_errors(caller, result)
        if not result.pending:
            read_ends(caller, result)
    return result


def attempt_unix(path: str) -> Result:
    """One attempt on a Unix socket: as a stream, and where that is the wrong type as the other ones."""
    name = "\0" + path[1:] if path.startswith("@") else path
    result = Result("", 0, "unix", path=path, family="AF_UNIX", addrlen=len(os.fsencode(name)) + 3)
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as caller:
            caller.setblocking(False)
            made(caller, name, result, 1.0)
        if result.error != "EPROTOTYPE":
            break
        result.notes.append(f"it is no {kind.name.removeprefix('SOCK_').lower()} socket")
    return result


def made(caller: socket.socket, address: Any, result: Result, patience: float) -> None:
    """Makes the attempt and waits for its outcome."""
    result.descriptor = caller.fileno()
    result.thread = threading.get_native_id()
    result.cookie = int.from_bytes(caller.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
    result.began, started = time.time_ns(), time.monotonic_ns()
    try:
        number = caller.connect_ex(address)
    except OSError as error:  # a path too long for the address
        number = error.errno or errno.ENAMETOOLONG
    result.returned = -number
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(caller, select.POLLOUT)
        if poll.poll(patience * 1000):
            number = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            result.pending = True
            read_ends(caller, result)
    result.took = time.monotonic_ns() - started
    result.error = errno_name(number) if number and not result.pending else None


def read_errors(caller: socket.socket, result: Result) -> None:
    """Takes the newest ICMP error out of the socket's error queue."""
    while True:
        try:
            _, ancillary, _, _ = caller.recvmsg(0, 1024, socket.MSG_ERRQUEUE)
        except OSError:  # EAGAIN: the queue is empty
            return
        for level, _, data in ancillary:
            if len(data) < EXTENDED.size:
                continue
            _, origin, kind, code, _, _ = EXTENDED.unpack_from(data)
            if ORIGINS.get(origin) in ("icmp", "icmp6"):
                version = 6 if level == socket.IPPROTO_IPV6 else 4
                result.icmp = (version, kind, code, sender(data[EXTENDED.size :]))


def sender(data: bytes) -> str:
    """The address behind an extended error: who sent the ICMP message (SO_EE_OFFENDER)."""
    (family,) = struct.unpack_from("=H", data) if len(data) >= 2 else (0,)
    if family == socket.AF_INET and len(data) >= 8:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        return socket.inet_ntop(socket.AF_INET6, data[8:24])
    return ""


def read_ends(caller: socket.socket, result: Result) -> None:
    """The local end, where the socket still has one."""
    try:
        name = caller.getsockname()
    except OSError:
        return
    if name[1] and name[0] not in ("0.0.0.0", "::"):
        result.source, result.sport = str(name[0]).partition("%")[0], int(name[1])
