"""Policies of this host: a seccomp filter, Landlock, programs on a cgroup.

Rule of this file: each is laid on a process of its own, which ends with it.
Behaviour: seccomp(2), landlock(7), bpf(2) (BPF_CGROUP_INET4_CONNECT), kernel/bpf/cgroup.c.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Callable

from callout.lab import cgroup, landlock, libc, process
from callout.lab.address import UNSPEC, inet, inet6, unix
from callout.lab.outcomes import ASSOCIATED, BLIND, DISSOLVED, failed
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF_0000, 0x0005_0000  # linux/seccomp.h
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K


def filter_connect(number: int) -> None:
    """Makes every connect(2) of this process fail with an errno, before the kernel looks at its arguments."""
    rules = (
        (LOAD, 0, 0, 0),  # the system call's number
        (EQUAL, 0, 1, libc.NUMBER["connect"]),
        (RETURN, 0, 0, RET_ERRNO | number),
        (RETURN, 0, 0, RET_ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(rules), ctypes.addressof(code)))
    libc.prctl("prctl(PR_SET_NO_NEW_PRIVS)", landlock.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl("prctl(PR_SET_SECCOMP)", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def filtered(number: int) -> Callable[[World], None]:
    """Calls of a process whose filter answers connect(2) with an errno."""

    def attempts(world: World) -> None:
        filter_connect(number)
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8380))
        world.connect(-1, inet(HOST, 8380))

    return lambda world: process.run(lambda: attempts(world))


def landlocked(world: World) -> None:
    """Landlock forbids TCP connections: UDP and disconnecting are not among them."""

    def act() -> None:
        caller = world.tcp()
        landlock.restrict(network=landlock.ACCESS_NET_CONNECT_TCP)
        world.connect(caller, inet(HOST, 8381))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            world.connect(datagrams, inet(HOST, 8381))
        world.connect(caller, UNSPEC)

    with world.listener(HOST, 8381):
        process.run(act)


def scoped(world: World) -> None:
    """Landlock cuts off the abstract sockets of processes outside."""

    def act() -> None:
        landlock.restrict(scope=landlock.SCOPE_ABSTRACT_UNIX_SOCKET)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            world.connect(caller, unix("\0callout-lab-scope"))

    with world.unix_listener("\0callout-lab-scope"):
        process.run(act)


def under(hook: int, program: bytes, act: Callable[[], None]) -> None:
    """Does ``act`` in a process whose cgroup has a program on a hook."""

    def inside() -> None:
        cgroup.join(group)
        act()

    with cgroup.made() as group, cgroup.attached(group, hook, program):
        process.run(inside)


def cgroup_denies(world: World) -> None:
    """A program returns 0 for TCP and UDP; IPv6 and AF_UNSPEC do not come to it."""

    def act() -> None:
        with world.tcp() as caller, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            world.connect(caller, inet(HOST, 8382))
            world.connect(datagrams, inet(HOST, 8382))
            world.connect(datagrams, UNSPEC)

    with world.listener(HOST, 8382):
        under(cgroup.CONNECT4, cgroup.DENY, act)


def cgroup_denies6(world: World) -> None:
    """A program for IPv6 decides over mapped addresses, too."""

    def act() -> None:
        for host in ("::1", f"::ffff:{HOST}"):
            with world.tcp(socket.AF_INET6) as caller:
                world.connect(caller, inet6(host, 8383))

    under(cgroup.CONNECT6, cgroup.DENY, act)


def cgroup_errno(number: int) -> Callable[[World], None]:
    """A program that chooses the errno of its refusal."""

    def attempt(world: World) -> None:
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8384))

    return lambda world: under(cgroup.CONNECT4, cgroup.deny_with(number), lambda: attempt(world))


def cgroup_redirects(world: World) -> None:
    """A program sends TCP and UDP elsewhere, as load balancers do."""

    def act() -> None:
        with world.tcp() as caller, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            world.connect(caller, inet("192.0.2.200", 4040))
            world.connect(datagrams, inet("192.0.2.200", 4040))

    with world.listener("127.0.0.4", 8385):
        under(cgroup.CONNECT4, cgroup.redirect("127.0.0.4", 8385), act)


def cgroup_redirects_away(world: World) -> None:
    """A program sends a caller to a port on which nobody listens."""

    def act() -> None:
        with world.tcp() as caller:
            world.connect(caller, inet("192.0.2.200", 4041))

    under(cgroup.CONNECT4, cgroup.redirect(HOST, 8386), act)


def cgroup_allows(world: World) -> None:
    """A program that only looks."""

    def act() -> None:
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8387))

    with world.listener(HOST, 8387):
        under(cgroup.CONNECT4, cgroup.ALLOW, act)


def denied(error: str, cause: str) -> Expected:
    """Refused by a policy that the tracepoint tier does not see at work."""
    return failed("denied", error, cause, BLIND)


def rewritten(verdict: str, error: str | None, asked: str, ip: str, port: int) -> Expected:
    """The outcome at the address that a program put in the place of the one that was asked for."""
    fields = {
        "connect.rewritten_from": asked, "destination.ip": ip, "destination.port": port,
        "connect.swapped": None,
    }  # fmt: skip
    cause = "no_listener" if error else None
    return Expected(verdict, error, cause, -getattr(errno, error) if error else 0, fields=fields)


# A filtered call never reaches connect(2), and so none of the hooks there
TRACEPOINT = ("tracepoint",)
ASKED = "192.0.2.200:4040"
SCENARIOS = (
    *(
        Scenario(
            f"seccomp_{error.lower()}", "denials", f"a filter answers {error}", filtered(getattr(errno, error)),
            (failed("denied", error, "seccomp", seen_by=TRACEPOINT),) * 2, needs=("numbers",), forks=True,
        )
        for error in ("EPERM", "EACCES")
    ),
    Scenario(
        "landlock", "denials", "Landlock forbids TCP", landlocked,
        (denied("EACCES", "lsm"), ASSOCIATED, DISSOLVED), needs=("landlock",), forks=True,
    ),
    Scenario(
        "landlock_scope", "denials", "Landlock cuts off an abstract socket", scoped, (denied("EPERM", "lsm"),),
        needs=("landlock_scope",), forks=True,
        address_families=("AF_UNIX",),
    ),
    Scenario(
        "cgroup_deny", "denials", "a cgroup program denies", cgroup_denies,
        (denied("EPERM", "cgroup_bpf"), denied("EPERM", "cgroup_bpf"), DISSOLVED), needs=("cgroup",), forks=True,
    ),
    Scenario(
        "cgroup_deny6", "denials", "a cgroup program denies IPv6", cgroup_denies6,
        (denied("EPERM", "cgroup_bpf"),) * 2, needs=("cgroup", "ipv6"), forks=True,
        address_families=("AF_INET6",),
    ),
    Scenario(
        "cgroup_errno", "denials", "a cgroup program denies with ECONNREFUSED",
        cgroup_errno(errno.ECONNREFUSED), (failed("refused", "ECONNREFUSED", "cgroup_bpf", BLIND),),
        needs=("cgroup",), forks=True,
    ),
    Scenario(
        "cgroup_errno_unreach", "denials", "a cgroup program denies with ENETUNREACH",
        cgroup_errno(errno.ENETUNREACH), (failed("unreachable", "ENETUNREACH", "cgroup_bpf", BLIND),),
        needs=("cgroup",), forks=True,
    ),
    Scenario(
        "cgroup_rewrite", "denials", "a cgroup program sends elsewhere", cgroup_redirects,
        (
            rewritten("established", None, ASKED, "127.0.0.4", 8385),
            rewritten("associated", None, ASKED, "127.0.0.4", 8385),
        ),
        needs=("cgroup",), forks=True,
    ),
    Scenario(
        "cgroup_rewrite_refused", "denials", "a cgroup program sends to nobody", cgroup_redirects_away,
        (rewritten("refused", "ECONNREFUSED", "192.0.2.200:4041", HOST, 8386),), needs=("cgroup",), forks=True,
    ),
    Scenario(
        "cgroup_allow", "denials", "a cgroup program lets pass", cgroup_allows,
        (
            Expected(
                "established", None, None, 0,
                fields={"connect.rewritten_from": None, "connect.swapped": None},
            ),
        ),
        needs=("cgroup",), forks=True,
    ),
)  # fmt: skip
