"""Families that stay on this machine, and the kernel's own sockets: Unix, netlink, packet, vsock, 9P.

Sources: unix(7), netlink(7), packet(7), vsock(7), Documentation/filesystems/9p.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable

from callout.lab import libc
from callout.lab.address import inet, unix
from callout.lab.namespace import RUN
from callout.lab.ways.base import DISCARD, HOST, Made, NotHere, Way, connect, made_socket, private_directory

ABSTRACT, FILE = "\0callout-ways", f"{RUN}/callout-ways"
LIVE_VSOCK = "CALLOUT_VSOCK_LOOPBACK"
CID_LOCAL = 1  # VMADDR_CID_LOCAL, include/uapi/linux/vm_sockets.h
NO_9P = {
    errno.ENODEV: "this kernel has no 9P, the only file system whose mount connects without a helper",
    errno.EINVAL: "9P has no TCP in this kernel",
    errno.EPERM: "mounting a file system is not granted",
}


def unix_connect(kind: int, name: str) -> Callable[[], Made]:
    """A Unix socket to one that listens, or is bound, under a path or an abstract name."""

    def act() -> Made:
        if name == FILE:
            private_directory()
        with socket.socket(socket.AF_UNIX, kind) as server, socket.socket(socket.AF_UNIX, kind) as caller:
            server.bind(name)
            if kind != socket.SOCK_DGRAM:
                server.listen()
            return connect(caller, unix(name))

    return act


def netlink() -> Made:
    """The kernel as peer."""
    with made_socket(socket.AF_NETLINK, socket.SOCK_RAW) as caller:
        return connect(caller, struct.pack("=HHII", socket.AF_NETLINK, 0, 0, 0))


def packet() -> Made:
    """Packet sockets have no connect(2): EOPNOTSUPP."""
    with made_socket(socket.AF_PACKET, socket.SOCK_DGRAM) as caller:
        return connect(caller, struct.pack("=HHiHBB8s", socket.AF_PACKET, 0, 1, 0, 0, 0, b""))


def vsock_address(port: int) -> bytes:
    """A sockaddr_vm of this machine."""
    return struct.pack("=HHIIB3x", socket.AF_VSOCK, 0, port, CID_LOCAL, 0)


def vsock() -> Made:
    """Never a live attempt, which might reach a hypervisor; only in a guest that says it has vsock_loopback."""
    if os.environ.get(LIVE_VSOCK) != "1":
        address = vsock_address(DISCARD)
        return Made(-1, address, libc.connect(-1, address, len(address)), "on descriptor -1: nothing is sent")
    with (
        made_socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server,
        made_socket(socket.AF_VSOCK, socket.SOCK_STREAM) as caller,
    ):
        server.bind((CID_LOCAL, DISCARD))
        server.listen()
        return connect(caller, vsock_address(DISCARD))


def kernel() -> Made:
    """The 9P client connects inside mount(2); nobody listens, so nothing is ever mounted."""
    mount = ctypes.CDLL(None, use_errno=True).mount
    options = f"trans=tcp,port={DISCARD}".encode()
    mount(HOST.encode(), RUN.encode(), b"9p", ctypes.c_ulong(0), options)
    number = ctypes.get_errno()
    if number in NO_9P:
        raise NotHere(NO_9P[number])
    if number != errno.ECONNREFUSED:
        raise OSError(number, f"mount: {os.strerror(number)}")
    return Made(None, inet(HOST, DISCARD), None)


def subflow() -> Made:
    """Not made: see the reason."""
    raise NotHere("a worker of the kernel makes it, outside of the cgroup that the self-test watches")


UNIX = (
    ("stream", socket.SOCK_STREAM, "established"),
    ("dgram", socket.SOCK_DGRAM, "associated"),
    ("seqpacket", socket.SOCK_SEQPACKET, "established"),
)
WAYS = (
    *(
        Way(f"unix_{word}_{place}", "unix", f"connect(2), Unix {word}, {what}", "connect", verdict,
            unix_connect(kind, name))
        for word, kind, verdict in UNIX
        for place, name, what in (("path", FILE, "by path"), ("abstract", ABSTRACT, "by abstract name"))
    ),
    Way("netlink", "netlink", "connect(2) on a netlink socket", "connect", "associated", netlink),
    Way("packet", "packet", "connect(2) on a packet socket, which has none", "connect", "invalid", packet),
    Way("vsock", "vsock", "connect(2) to an AF_VSOCK address", "connect",
        "established" if os.environ.get(LIVE_VSOCK) == "1" else "invalid", vsock),
    Way("kernel", "kernel", "a socket of the kernel: mount(2) of 9P over TCP", "kernel", "refused", kernel),
    Way("mptcp_subflow", "mptcp_subflow", "further subflows of MPTCP", "kernel", "established", subflow),
)  # fmt: skip
