"""Ways into the kernel apart from plain connect(2): the ways of ``ways``, each as a scenario.

Rule of this file: one attempt, in a process and a network of its own. Which tier of programs sees a way, and how much
of it, is told by `callout doctor --selftest`; a row that comes must be right in all that it says.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from callout.lab.report import Attempt
from callout.lab.scenario import Expected, Scenario
from callout.lab.ways import WAYS, Made, NotHere, Way, failing
from callout.lab.world import World
from callout.verdict import SUCCESS, errno_name

CHOSEN = (
    "i386_tcp", "i386_udp", "i386_unix", "socketcall_tcp", "socketcall_udp", "connect_x32", "uring_tcp", "uring_mptcp",
    "uring_udp", "uring_cancelled", "udp4_sendto", "udp6_sendto", "mapped_sendto", "udp4_sendmsg", "udp6_sendmsg",
    "udp4_sendmmsg", "udp6_sendmmsg", "raw_sendto", "ping_sendto", "packet_sendto", "unix_sendto", "unix_sendmsg",
    "unix_sendmmsg", "unix_sendto_missing", "fastopen_sendto", "fastopen_sendmsg", "fastopen_unrouted",
    "mptcp_fastopen", "sctp", "sctp_connectx", "sctp_sendto", "dccp", "smc", "kernel",
)  # fmt: skip
FAILURES = {  # errno and cause of those that do not succeed
    "unix_sendto_missing": ("ECONNREFUSED", "unix_no_listener"),
    "fastopen_unrouted": ("ENETUNREACH", "no_route"),
    "kernel": ("ECONNREFUSED", "no_listener"),
    "uring_refused": ("ECONNREFUSED", "no_listener"),
    "uring_unrouted": ("ENETUNREACH", "no_route"),
    "uring_unix_missing": ("ECONNREFUSED", "unix_no_listener"),
    "i386_refused": ("ECONNREFUSED", "no_listener"),
    "socketcall_refused": ("ECONNREFUSED", "no_listener"),
    "fastopen_refused": ("ECONNREFUSED", "no_listener"),
    "fastopen_silent": ("ETIMEDOUT", "syn_unanswered"),
    "uring_cancelled": ("ECANCELED", "closed_by_application"),
}
# Sockets: family, type, protocol
TCP, UDP, MPTCP = (socket.AF_INET, 1, 6), (socket.AF_INET, 2, 17), (socket.AF_INET, 1, 262)
UDP6, UNIX = (socket.AF_INET6, 2, 17), (socket.AF_UNIX, 2, 0)
KINDS: dict[str, tuple[int, int, int]] = {
    **dict.fromkeys(
        ("i386_udp", "socketcall_udp", "uring_udp", "udp4_sendto", "udp4_sendmsg", "udp4_sendmmsg"), UDP
    ),
    **dict.fromkeys(("udp6_sendto", "udp6_sendmsg", "udp6_sendmmsg", "mapped_sendto"), UDP6),
    **dict.fromkeys(
        ("i386_unix", "unix_sendto", "unix_sendmsg", "unix_sendmmsg", "unix_sendto_missing"), UNIX
    ),
    **dict.fromkeys(("uring_mptcp", "mptcp_fastopen"), MPTCP),
    "raw_sendto": (socket.AF_INET, 3, 1),
    "ping_sendto": (socket.AF_INET, 2, 1),
    "packet_sendto": (socket.AF_PACKET, 2, 0),
    "sctp": (socket.AF_INET, 1, 132),
    "sctp_connectx": (socket.AF_INET, 1, 132),
    "sctp_sendto": (socket.AF_INET, 5, 132),
    "dccp": (socket.AF_INET, 6, 33),
    "smc": (43, 1, 0),
    "uring_unix_missing": (socket.AF_UNIX, 1, 0),
}
CALLS = {"connect_x32": "connect_x32"}  # where the word of connect.entry does not tell how it is called


def kind(way: Way) -> tuple[int, int, int]:
    """Family, type and protocol of a way's socket."""
    return KINDS.get(way.name, TCP)


def call(way: Way) -> str:
    """The call, in the words of snippets."""
    return CALLS.get(way.name, way.entry or way.path)


def taking(way: Way) -> Callable[[World], None]:
    """Takes a way and reports it."""

    def act(world: World) -> None:
        domain, kind_, protocol = kind(way)
        facts = {"inode": 1, "domain": domain, "type": kind_, "protocol": protocol}
        begun = Attempt(
            world.name, os.getpid(), threading.get_native_id(), -1, "", 0, None, None, time.time_ns(), call(way), 0,
            {} if way.entry == "kernel" else facts,
        )  # fmt: skip

        def report(made: Made) -> None:
            error = errno_name(-made.result) if made.result else None
            if way.entry == "kernel":
                error = FAILURES["kernel"][0]  # mount(2) passes it on, and the way has checked it
            address, fd = made.address.hex(), -1 if made.fd is None else made.fd
            world.report(replace(begun, fd=fd, sockaddr=address, addrlen=len(made.address), error=error))

        try:
            report(way.act())
        except NotHere as found:
            if found.made is not None:
                report(found.made)
            raise

    act.__doc__ = f"{way.what[:1].upper()}{way.what[1:]}."
    return act


def family(way: Way) -> str:
    """The name of the address family."""
    domain = kind(way)[0]
    return "AF_SMC" if domain == 43 else socket.AddressFamily(domain).name


def scenario(way: Way) -> Scenario:
    """A way as a scenario."""
    errno, cause = FAILURES.get(way.name, (None, None))
    assert (errno is None) == (way.verdict in SUCCESS)
    fields = {"connect.entry": way.entry} if way.entry else {}
    return Scenario(
        f"way_{way.name}", "entries", way.what, taking(way),
        (Expected(way.verdict, errno, cause, None, fields=fields, lenient=True),),
        alone=True, slow=way.verdict == "timed_out", address_families=(family(way),), entries=(call(way),),
    )  # fmt: skip


SCENARIOS = (
    *(scenario(way) for name in CHOSEN for way in WAYS if way.name == name),
    *(scenario(way) for way in failing.WAYS),
)
