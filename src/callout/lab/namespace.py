"""A network of our own: entered by the child process, gone with it, never a change to the host.

Rule of this file: nothing here touches anything before ``enter`` has returned. What a scenario needs is a
name in ``NEEDS``; a need that cannot be met is answered with a sentence and a remedy, never with an
exception.

There is one veth pair with both ends inside, lab0 and lab1, which leads nowhere: 192.0.2.1/24 and
2001:db8::1/64 are ours (RFC 5737, RFC 3849), their neighbours do not exist, and there is no default route.
Sources: network_namespaces(7), user_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable

from callout.errors import NotPermittedError
from callout.lab import families, libc, needs, router
from callout.lab.scenario import Scenario
from callout.lab.tools import PACKAGES, feed, located

RUN = "/run"  # sockets with a path live here, on a file system that only the child sees
SYN_RETRIES = "/proc/sys/net/ipv4/tcp_syn_retries"
TABLE = """\
table inet lab {{
  chain output {{
    type filter hook output priority 0
    {rules}
  }}
}}
"""
NETWORK = """\
link add lab0 type veth peer name lab1
link set lab0 up
link set lab1 up
addr add 192.0.2.1/24 dev lab0
"""
NETWORK6 = "addr add 2001:db8::1/64 dev lab0 nodad\n"
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7), linux/sockios.h
IFF_UP = 1


def enter() -> Namespace:
    """Moves this single-threaded process into its own network and mount namespace, and brings loopback up.

    Without the privilege to do so it takes a user namespace first, in which it is root over nothing but
    these. Raises NotPermittedError where the host allows neither.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        try:
            libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)
        except PermissionError:
            libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNET | libc.CLONE_NEWNS)
            become_root(uid, gid)
        loopback_up()
    except OSError as error:
        raise NotPermittedError(
            f"no private network namespace can be had here ({error.strerror})",
            "run it as root, or allow unprivileged user namespaces: see the sysctls "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone (Debian) and "
            "kernel.apparmor_restrict_unprivileged_userns (Ubuntu); in a container: --cap-add SYS_ADMIN",
        ) from error
    return Namespace()


def enter_alone() -> None:
    """Moves this single-threaded process on into a network of its own: loopback and nothing else."""
    libc.unshare(libc.CLONE_NEWNET)
    loopback_up()


def become_root(uid: int, gid: int) -> None:
    """Maps the user to root of the new user namespace: only so ``ip`` and ``nft`` keep its capabilities."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def loopback_up() -> None:
    """Brings lo up, which also gives it 127.0.0.1 and ::1; by ioctl, so that it takes no tool."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))


class Namespace:
    """The network that this process is in, with what has been found out about it."""

    def __init__(self) -> None:
        self._answers: dict[str, str | None] = {}

    def prepare(self, scenario: Scenario) -> str | None:
        """Puts rules and routes of a scenario in place. Returns None, or why it is not possible here."""
        for need in scenario.requirements:
            if need not in self._answers:
                self._answers[need] = NEEDS[need]()
            if (reason := self._answers[need]) is not None:
                return f"not possible here: {reason}"
        reason = None
        if scenario.routes:
            reason = feed("ip", "-batch", "-", text=scenario.routes)
        if scenario.firewall and reason is None:
            reason = feed("nft", "-f", "-", text=TABLE.format(rules=scenario.firewall))
        return f"not possible here: {reason}" if reason else None


def network() -> str | None:
    """Need ``ip``: iproute2 and the veth pair."""
    return feed("ip", "-batch", "-", text=NETWORK + (NETWORK6 if ipv6() is None else ""))


def firewall() -> str | None:
    """Need ``nft``: nftables, in the tool and in the kernel."""
    return feed("nft", "-f", "-", text=TABLE.format(rules=""))


def traffic_control() -> str | None:
    """Need ``tc``: traffic control, in the tool and in the kernel."""
    return feed("tc", "-batch", "-", text="qdisc replace dev lo root pfifo\nqdisc del dev lo root\n")


def ipv6() -> str | None:
    """Need ``ipv6``: ::1 is there."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        return f"IPv6 is switched off ({error.strerror}; see the sysctl net.ipv6.conf.all.disable_ipv6)"
    return None


def impatience() -> str | None:
    """Need ``sysctl``: settings can be changed. One SYN retry makes a timeout take 3 s instead of 2 min."""
    try:
        with open(SYN_RETRIES, "w") as file:
            file.write("1")
    except OSError as error:
        return f"{SYN_RETRIES} cannot be written ({error.strerror}; containers have it read-only)"
    return None


def files() -> str | None:
    """Need ``tmpfs``: a directory for socket files that vanishes with the process, even when it is killed."""
    for tool in PACKAGES:
        located(tool)  # while RUN is still to be seen
    try:
        libc.private_tmpfs(RUN)
    except OSError as error:
        return f"{error.strerror} (some container profiles forbid it even in a private mount namespace)"
    return None


NEEDS: dict[str, Callable[[], str | None]] = {
    "ip": network,
    "nft": firewall,
    "tc": traffic_control,
    "ipv6": ipv6,
    "sysctl": impatience,
    "tmpfs": files,
    "router": router.build,
    **needs.PROBES,
    **families.PROBES,
}
