"""No memory left for the kernel itself: a caller whose cgroup has reached its limit.

Rule of this file: only a process of our own is short of memory, in a memory cgroup (v1) of its own, and nobody is
killed for it: with ``memory.oom_control`` 1 the call fails instead. In cgroup v2 that cannot be had, there the OOM
killer comes first. Sources: Documentation/admin-guide/cgroup-v1/memory.rst, net/core/sock.c (sk_alloc: objects of
protocols are charged to the caller), net/unix/af_unix.c (unix_stream_connect makes the other end of the connection).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import select
import socket
from dataclasses import replace

from callout.lab import libc, process
from callout.lab.address import unix
from callout.lab.memcg import controller, limit, limited
from callout.lab.outcomes import failed
from callout.lab.scenario import Scenario
from callout.lab.ways.base import NotHere
from callout.lab.world import World

NAME = "\0callout-lab-memory"
MOST = 900  # sockets that use up what is left; a page has room for three
QUIET = 40  # rounds without anything to be had
MEMBARRIER, MEMBARRIER_CMD_GLOBAL = (
    {"x86_64": 324}.get(platform.machine(), 283),
    1,
)  # membarrier(2): a grace period of RCU
PATIENCE = 10_000  # ms after which a process that came to sleep for want of memory is given up
_libc = ctypes.CDLL(None, use_errno=True)


def exhaust(made: ctypes.Array[ctypes.c_int], count: int = 0) -> int:
    """Makes Unix sockets, then opens files, which are smaller, until there is memory for none.

    ``made`` has the ``count`` descriptors so far; returns how many there are then.
    """
    while count < len(made) and (fd := _libc.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)) >= 0:
        made[count] = fd
        count += 1
    while count < len(made) and (fd := _libc.open(b"/", os.O_PATH)) >= 0:
        made[count] = fd
        count += 1
    return count


def exhaust_for_good(made: ctypes.Array[ctypes.c_int]) -> int:
    """The same again and again, until what was freed late (by RCU) has come and is used up, too."""
    count, quiet = 0, 0
    while quiet < QUIET and count < len(made):
        before, count = count, exhaust(made, count)
        quiet = 0 if count > before else quiet + 1
        _libc.syscall(ctypes.c_long(MEMBARRIER), MEMBARRIER_CMD_GLOBAL, 0, 0)
    return count


def no_memory(world: World) -> None:
    """The memory cgroup of the caller is full: the kernel has none for the other end of the connection."""
    parent = controller()
    assert parent is not None
    told, tell = os.pipe()
    wait, go = os.pipe()

    def act() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # what is charged ahead is kept by processor
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        made = (ctypes.c_int * MOST)()
        with socket.socket(socket.AF_UNIX) as caller:
            address = unix(NAME)
            for i in range(exhaust_for_good((ctypes.c_int * 4).from_buffer(made))):
                _libc.close(made[i])  # so that all this has been done before there is no memory for it
            attempt = world.about(caller, address)
            _libc.mlockall(1)
            os.write(tell, b"r")
            os.read(wait, 1)
            count = exhaust_for_good(made)
            result = libc.connect(attempt.fd, address, len(address))
            os.write(tell, b"d" if result else b"m")
            os.read(wait, 1)
            for i in range(count):
                _libc.close(made[i])
            world.tell(replace(attempt, return_=result), -result)

    with world.unix_listener(NAME), limited(parent) as group:
        child = process.start(act)
        try:
            os.read(told, 1)
            limit(group)
            world.arranged("the caller's memory cgroup is at its limit, with memory.oom_control 1")
            os.write(go, b"g")
            done = select.poll()
            done.register(told, select.POLLIN)
            if not done.poll(PATIENCE):
                raise NotHere("the process sleeps for want of memory before it has made its call")
            if os.read(told, 1) == b"m":
                raise NotHere("the kernel found memory for the call: other processes had freed some")
        finally:
            (group / "memory.limit_in_bytes").write_text("-1")
            os.write(go, b"gg")
            process.finish(child)
            for fd in (told, tell, wait, go):
                os.close(fd)


SCENARIOS = (
    Scenario(
        "unix_no_memory", "limits", "no memory for the other end", no_memory,
        (failed("exhausted", "ENOMEM", "unknown"),), needs=("memory",), forks=True, alone=True,
        address_families=("AF_UNIX",),
    ),
)  # fmt: skip
