"""The address that is swapped while the call is under way: who reads user memory reads another than the kernel used.

Rule of this file: no race. The pages that the kernel reads before and after the address are held back (``userfault``):
so the hostile thread swaps exactly then, every time. Order of reading: net/socket.c (copy_msghdr_from_user: the struct,
the address, then the vector of data), which is why sendmsg(2) is attacked; for connect(2), which reads nothing else, it
takes a race, as tests/kernel/test_swaps.py runs it.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading

from callout.lab.address import inet
from callout.lab.scenario import Expected, Scenario
from callout.lab.userfault import PAGE, Pages
from callout.lab.world import World
from callout.sockaddr import decode_sockaddr

SHOWN, USED = "127.0.0.1", "127.0.0.2"
HEAD = 16  # of struct msghdr: pointer and length of the address. All else of it stands on the next page
MSG_FASTOPEN = 0x2000_0000  # include/linux/socket.h
DATA = 512

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sendmsg.restype = ctypes.c_ssize_t


def swapped(world: World, caller: socket.socket, port: int, flags: int, call: str) -> None:
    """sendmsg(2) of one byte, to an address that is another one just while the kernel copies it."""
    shown, used = inet(SHOWN, port), inet(USED, port)
    pages = Pages(3, {1: lambda: pages.write(0, used), 2: lambda: pages.write(0, shown)})
    try:
        pages.write(0, shown)
        pages.write(DATA, b"x")
        vector = pages.at + 2 * PAGE
        pages.write(PAGE - HEAD, struct.pack("=QI4xQQQQI4x", pages.at, len(shown), vector, 1, 0, 0, 0))
        pages.write(2 * PAGE, struct.pack("=QQ", pages.at + DATA, 1))
        world.arranged(f"a second thread has {USED} in the address's place just while the kernel copies it")
        attempt = world.about(caller, shown, call=call)
        hostile = threading.Thread(target=pages.serve)
        hostile.start()
        sent = _libc.sendmsg(attempt.fd, ctypes.c_void_p(pages.at + PAGE - HEAD), flags)
        error = 0 if sent >= 0 else ctypes.get_errno()
        pages.end()
        hostile.join()
        if ctypes.string_at(pages.at, len(shown)) != shown:
            raise RuntimeError("the address in memory was to be the harmless one again")
    finally:
        pages.close()
    world.tell(attempt, error)


def by_fastopen(world: World) -> None:
    """TCP Fast Open calls one host, while whoever reads the caller's memory sees another, before and after."""
    with world.listener(USED, 8955), world.tcp() as caller:
        swapped(world, caller, 8955, MSG_FASTOPEN, "sendmsg_fastopen")
        if (peer := caller.getpeername()[0]) != USED:
            raise RuntimeError(f"{peer} was called: the address was not swapped")


def by_datagram(world: World) -> None:
    """A datagram goes to one host, while whoever reads the caller's memory sees another, before and after."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
    ):
        server.bind((USED, 8956))
        swapped(world, caller, 8956, 0, "sendmsg")
        server.recv(1, socket.MSG_DONTWAIT)  # loopback delivers within the call


def claim(verdict: str, entry: str, port: int) -> tuple[Expected, ...]:
    """What callout says: where it went, and both addresses."""
    both = {"entry": decode_sockaddr(inet(SHOWN, port)), "used": f"{USED}:{port}"}
    fields = {
        "connect.entry": entry,
        "destination.ip": USED,
        "destination.port": port,
        "connect.swapped": both | {"when": "around the kernel's copy"},
    }
    return (Expected(verdict, None, None, None, fields=fields),)


SCENARIOS = (
    Scenario(
        "swap_fastopen", "attacks", "the address is swapped under the reader's eyes", by_fastopen,
        claim("established", "sendmsg_fastopen", 8955), needs=("userfault", "fastopen"), forks=True,
        entries=("sendmsg_fastopen",),
    ),
    Scenario(
        "swap_datagram", "attacks", "the same for a datagram", by_datagram, claim("associated", "sendmsg", 8956),
        needs=("userfault",), forks=True, entries=("sendmsg",),
    ),
)  # fmt: skip
