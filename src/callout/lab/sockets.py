"""What a descriptor is just before a call on it: kind of socket, name, options that are not as they were made.

Rule of this file: it asks and changes nothing; SO_ERROR, which is cleared by asking, is left alone.
Sources: socket(7), ip(7), ipv6(7), tcp(7), unix(7).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
from typing import Any

SO_DOMAIN, SO_PROTOCOL, SO_TYPE, SO_ACCEPTCONN = 39, 38, 3, 30  # include/uapi/asm-generic/socket.h
TCP_SYNCNT, TCP_USER_TIMEOUT, TCP_FASTOPEN_CONNECT = 7, 18, 30  # include/uapi/linux/tcp.h
TIMEVAL = struct.Struct("@ll")

# Options that scenarios set, by the level and the families that have them: all are 0 on a fresh socket, but for
# those whose default is a setting of the network.
OPTIONS: tuple[tuple[str, int, int, tuple[int, ...]], ...] = (
    ("SO_BROADCAST", socket.SOL_SOCKET, socket.SO_BROADCAST, ()),
    ("IPV6_V6ONLY", socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, (socket.AF_INET6,)),
    ("IP_TTL", socket.IPPROTO_IP, socket.IP_TTL, (socket.AF_INET,)),
)
TCP_OPTIONS = (
    ("SO_REUSEADDR", socket.SOL_SOCKET, socket.SO_REUSEADDR),  # raw and ping sockets are made with it
    ("TCP_SYNCNT", socket.IPPROTO_TCP, TCP_SYNCNT),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, TCP_USER_TIMEOUT),
    ("TCP_FASTOPEN_CONNECT", socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
)
DEFAULTS = {"TCP_SYNCNT": "ipv4/tcp_syn_retries", "IP_TTL": "ipv4/ip_default_ttl"}


def described(fd: int) -> dict[str, Any]:
    """Facts about a descriptor; nothing where it is not open.

    ``inode`` tells sockets apart, ``domain``, ``type`` and ``protocol`` are socket(2)'s arguments. Where it is
    so: ``nonblocking``; ``listening``; ``paired`` (an end of a socketpair); ``bound`` to an address, in hexadecimal;
    ``options`` by name, SO_SNDTIMEO in microseconds. What is no socket has ``file``, its name in /proc/PID/fd.
    """
    try:
        status = os.fstat(fd)
    except (OSError, OverflowError):
        return {}
    if not stat.S_ISSOCK(status.st_mode):
        opened = fcntl.fcntl(fd, fcntl.F_GETFL)
        name = os.readlink(f"/proc/self/fd/{fd}")
        return {"file": f"O_PATH:{name}" if opened & os.O_PATH else name}
    handle = socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, fileno=fd
    )  # no call: it does not ask what it is
    try:
        return facts(handle, status.st_ino)
    finally:
        handle.detach()


def facts(handle: socket.socket, inode: int) -> dict[str, Any]:
    """All of ``described``."""
    domain, kind, protocol = (
        handle.getsockopt(socket.SOL_SOCKET, option) for option in (SO_DOMAIN, SO_TYPE, SO_PROTOCOL)
    )
    found: dict[str, Any] = {"inode": inode, "domain": domain, "type": kind, "protocol": protocol}
    if not os.get_blocking(handle.fileno()):
        found["nonblocking"] = True
    if handle.getsockopt(socket.SOL_SOCKET, SO_ACCEPTCONN):
        found["listening"] = True
    if domain == socket.AF_UNIX and has_peer(handle):
        found["paired"] = True
    if kind != socket.SOCK_RAW and (name := bound(handle.fileno(), domain)):
        found["bound"] = name.hex()
    if options := set_options(handle, domain, protocol):
        found["options"] = options
    return found


def has_peer(handle: socket.socket) -> bool:
    """Whether the socket is connected."""
    try:
        handle.getpeername()
    except OSError:
        return False
    return True


def bound(fd: int, domain: int) -> bytes:
    """The address that a socket is bound to, as the bytes of a sockaddr; empty for none.

    An IP socket counts as bound when it has a port. Of other families only Unix is told: some (AF_ALG) have no name.
    """
    from callout.lab import libc

    if domain not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return b""  # some have no getsockname(2): AF_ALG, AF_KEY, AF_XDP
    name = libc.getsockname(fd)
    if domain == socket.AF_UNIX:
        return name if len(name) > 2 else b""
    return name if name[2:4] != b"\0\0" else b""


def set_options(handle: socket.socket, domain: int, protocol: int) -> dict[str, int]:
    """Options that differ from those of a fresh socket in this network."""
    wanted = [
        (name, level, number)
        for name, level, number, families in OPTIONS
        if not families or domain in families
    ]
    if protocol == socket.IPPROTO_TCP:
        wanted += TCP_OPTIONS
    found = {}
    for name, level, number in wanted:
        with contextlib.suppress(OSError):  # MPTCP and others do not have all of them
            found[name] = handle.getsockopt(level, number)
    kept = {name: value for name, value in found.items() if value != default(name)}
    seconds, fraction = TIMEVAL.unpack(handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL.size))
    if seconds or fraction:
        kept["SO_SNDTIMEO"] = seconds * 1_000_000 + fraction
    return kept


def default(name: str) -> int:
    """What an option is where nobody has set it."""
    if name not in DEFAULTS:
        return 0
    with open(f"/proc/sys/net/{DEFAULTS[name]}") as file:
        return int(file.read())
