"""What some scenarios need of the kernel or of this process, asked by trying it.

Rule of this file: a probe changes nothing; its answer is None, or a sentence with the remedy.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable

from callout.lab import cgroup, landlock, libc, memcg, process, tools, userfault

IPPROTO_MPTCP = 262  # include/uapi/linux/in.h
TCP_REPAIR = 19  # include/uapi/linux/tcp.h


def users() -> str | None:
    """Need ``users``: there is another user to become."""
    with open("/proc/self/uid_map") as file:
        for line in file:
            first, _, count = map(int, line.split())
            if first <= process.NOBODY < first + count:
                return None
    return "only one user exists in this user namespace (run it as root)"


def numbers() -> str | None:
    """Need ``numbers``: this machine's system calls are known by number."""
    return (
        None if libc.NUMBER else f"the numbers of {os.uname().machine}'s system calls are not in libc.NUMBERS"
    )


def linux_6_7() -> str | None:
    """Need ``linux_6_7``: what a blocked call returns when its socket is disconnected changed with it."""
    release = os.uname().release
    major, minor = (int("".join(filter(str.isdigit, part))) for part in release.split(".")[:2])
    return None if (major, minor) >= (6, 7) else f"the kernel {release} answers otherwise (6.7 and later)"


def fastopen() -> str | None:
    """Need ``fastopen``: a network of our own may serve TCP Fast Open."""
    return writable("ipv4/tcp_fastopen")


def settings() -> str | None:
    """Need ``settings``: a scenario may change settings of its own network."""
    return writable("ipv4/ip_local_port_range")


def writable(name: str) -> str | None:
    """Whether a setting of the network can be changed."""
    path = f"/proc/sys/net/{name}"
    try:
        with open(path, "r+") as file:
            value = file.read()
            file.write(value)
    except OSError as error:
        return f"{path} cannot be written ({error.strerror}; containers have it read-only)"
    return None


def creatable(what: str, *kind: int) -> Callable[[], str | None]:
    """A probe that makes a socket."""

    def probe() -> str | None:
        try:
            socket.socket(*kind).close()
        except OSError as error:
            return f"this kernel makes no {what} ({error.strerror})"
        return None

    return probe


def landlock_net() -> str | None:
    """Need ``landlock``: rules for TCP ports, since Linux 6.7."""
    try:
        version = landlock.version()
    except OSError as error:
        return f"Landlock is off ({error.strerror}; boot with lsm=landlock,...)"
    return None if version >= landlock.WITH_NETWORK else "Landlock has no network rules yet (Linux 6.7 has)"


def landlock_scope() -> str | None:
    """Need ``landlock_scope``: abstract Unix sockets can be cut off, since Linux 6.12."""
    if reason := landlock_net():
        return reason
    scoped = landlock.version() >= landlock.WITH_SCOPE
    return None if scoped else "Landlock has no scopes yet (Linux 6.12 has)"


def cgroups() -> str | None:
    """Need ``cgroup``: a cgroup of our own can be made, and a program attached to it."""
    if not libc.NUMBER:
        return numbers()
    try:
        with cgroup.made() as group, cgroup.attached(group, cgroup.CONNECT4, cgroup.ALLOW):
            pass
    except OSError as error:
        return f"no BPF program can be attached to a cgroup ({error.strerror}; run it as root)"
    return None


IOCTL_VM_SOCKETS_GET_LOCAL_CID, VMADDR_CID_ANY, VMADDR_CID_LOCAL = 0x7B9, 0xFFFFFFFF, 1  # linux/vm_sockets.h


def vsock_nowhere() -> str | None:
    """Need ``vsock_nowhere``: vsock sockets, and no transport that a call could leave this machine by."""
    if reason := PROBES["vsock"]():
        return reason
    cid = bytearray(4)
    try:
        with open("/dev/vsock", "rb") as device:
            fcntl.ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, cid)
    except OSError as error:
        return f"/dev/vsock: {error.strerror}"
    number = int.from_bytes(cid, sys.byteorder)
    if number in (VMADDR_CID_ANY, VMADDR_CID_LOCAL):  # the latter: by loopback only
        return None
    return f"there is a vsock transport (this machine is context {number}): a call would leave the laboratory"


PACKAGES = {  # Debian's, of programs that scenarios start
    "bash": "bash", "perl": "perl-base", "gawk": "gawk", "nc.traditional": "netcat-traditional",
    "nc.openbsd": "netcat-openbsd", "ncat": "ncat", "socat": "socat", "getent": "libc-bin", "curl": "curl",
    "wget": "wget",
}  # fmt: skip


def installed(program: str) -> Callable[[], str | None]:
    """A probe for a program: need ``program:NAME``."""

    def probe() -> str | None:
        found = tools.located(program)
        return None if found else f"{program} is not installed (apt install {PACKAGES[program]})"

    return probe


def repair() -> str | None:
    """Need ``repair``: TCP's repair mode, which takes CAP_NET_ADMIN over the network."""
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            probe.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, -1)
        except OSError as error:
            return f"TCP has no repair mode for us ({error.strerror})"
    return None


def destroy() -> str | None:
    """Need ``destroy``: ss(8) can destroy sockets (CONFIG_INET_DIAG_DESTROY)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if reason := tools.feed("ss", "-aK", "sport", "=", f":{server.getsockname()[1]}", text=""):
            return reason
        gone = not server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return None if gone else "this kernel destroys no sockets on request (CONFIG_INET_DIAG_DESTROY)"


def vsock_loopback() -> str | None:
    """Need ``vsock_loopback``: the transport that stays in this machine, for CID 1 shall lead nowhere else."""
    if os.path.exists("/sys/module/vsock_loopback"):
        return None
    return "vsock leads out of this machine only (modprobe vsock_loopback, where the kernel has it)"


def xfrm() -> str | None:
    """Need ``xfrm``: IPsec policies."""
    return tools.feed("ip", "-batch", "-", text="xfrm policy count\n")


PROBES: dict[str, Callable[[], str | None]] = {
    "users": users,
    "numbers": numbers,
    "linux_6_7": linux_6_7,
    "fastopen": fastopen,
    "settings": settings,
    "raw": creatable("raw sockets for us", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
    "packet": creatable("packet sockets for us", socket.AF_PACKET, socket.SOCK_RAW),
    "vsock": creatable("vsock sockets", socket.AF_VSOCK, socket.SOCK_STREAM),
    "mptcp": creatable("MPTCP sockets", socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),
    "landlock": landlock_net,
    "landlock_scope": landlock_scope,
    "cgroup": cgroups,
    "repair": repair,
    "destroy": destroy,
    "xfrm": xfrm,
    "vsock_loopback": vsock_loopback,
    "userfault": userfault.available,
    "memory": memcg.available,
    "vsock_nowhere": vsock_nowhere,
    **{f"program:{name}": installed(name) for name in PACKAGES},
}
