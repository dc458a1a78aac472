"""Who listens, with what queue, and how many local ports a destination takes; by sock_diag.

Rule of this file: the sockets of the network namespace of this thread. Source: sock_diag(7), linux/inet_diag.h,
linux/unix_diag.h.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LISTEN = 1 << 10  # states, include/net/tcp_states.h
ALL_BUT_LISTEN = 0xFFF & ~LISTEN & ~(1 << 7)  # and without CLOSE
SHOW_ALL = 0xFF  # UDIAG_SHOW_*
UNIX_TYPES = {1: "stream", 2: "datagram", 5: "seqpacket"}


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket. ``queued`` connections wait for accept(2), ``backlog`` is the most that may."""

    ip: str
    port: int
    queued: int
    backlog: int
    inode: int
    v6only: bool

    def hears(self, ip: str) -> bool:
        """Whether it is called by an address."""
        if self.ip == ip:
            return True
        if self.ip == "::":
            return ":" in ip or not self.v6only
        return self.ip == "0.0.0.0" and ":" not in ip

    @property
    def where(self) -> str:
        """Address and port."""
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True)
class UnixListener:
    """A listening Unix socket. ``file``: device and the lower half of the inode number of what it is bound to."""

    name: str
    kind: str
    queued: int
    backlog: int
    inode: int
    file: tuple[int, int] | None = None

    def is_at(self, name: str, file: tuple[int, int] | None) -> bool:
        """Whether it is what is called there. ``file``: what stands there, where that is known.

        A name alone is not enough, as others may have other files; nor is the device, which overlays tell otherwise.
        """
        if file is None or self.file is None:
            return self.name == name
        return self.file[1] == file[1] & 0xFFFFFFFF and (self.name == name or self.file[0] == file[0])


def listeners(port: int) -> list[Listener]:
    """TCP listeners on a port, on any address."""
    found = []
    for message in inet(LISTEN):
        if message["idiag_sport"] == port:
            only = message.get_attr("INET_DIAG_SKV6ONLY")
            found.append(
                Listener(
                    message["idiag_src"], port, message["idiag_rqueue"], message["idiag_wqueue"],
                    message["idiag_inode"], bool(only),
                )
            )  # fmt: skip
    return found


def ports_towards(ip: str, port: int) -> int:
    """Local ports that TCP connections to a destination have taken, those in TIME_WAIT included."""
    mapped = f"::ffff:{ip}"
    return len(
        {
            (message["idiag_src"], message["idiag_sport"])
            for message in inet(ALL_BUT_LISTEN)
            if message["idiag_dport"] == port and message["idiag_dst"] in (ip, mapped)
        }
    )


def unix_listeners() -> list[UnixListener]:
    """Listening Unix sockets; an abstract name begins with @."""
    found = []
    with diagnosis() as handle:
        for message in handle.get_sock_stats(family=socket.AF_UNIX, states=LISTEN, show=SHOW_ALL):
            name = message.get_attr("UNIX_DIAG_NAME")
            queue = message.get_attr("UNIX_DIAG_RQLEN") or {}
            if name:
                place = message.get_attr("UNIX_DIAG_VFS")
                shown = name if place else f"@{name}"
                file = (place["udiag_vfs_dev"], place["udiag_vfs_ino"]) if place else None
                kind = UNIX_TYPES.get(message["udiag_type"], "?")
                waiting, most = queue.get("udiag_rqueue", 0), queue.get("udiag_wqueue", 0)
                found.append(UnixListener(shown, kind, waiting, most, message["udiag_ino"], file))
    return found


def inet(states: int) -> Iterator[Any]:
    """TCP sockets of both families in some states."""
    with diagnosis() as handle:
        for family in (socket.AF_INET, socket.AF_INET6):
            yield from handle.get_sock_stats(family=family, states=states)


def diagnosis() -> Any:
    """A bound sock_diag socket."""
    from pyroute2 import DiagSocket

    handle = DiagSocket()
    handle.bind()
    return handle


def owner(inode: int) -> str | None:
    """The process that has a socket: ``nginx[12]``; None where none is to be seen (not ours to look at)."""
    wanted = f"socket:[{inode}]"
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == wanted:
                    return f"{Path(f'/proc/{pid}/comm').read_text().strip()}[{pid}]"
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return None
