"""What `callout why` was asked about: a process, a destination, one attempt.

Rule of this file: pure. Text in; which rows match, and what a live source may narrow to, out.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from callout.errors import UsageError
from callout.narrowing import Narrowing
from callout.story.model import Row

PIDS = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h: larger numbers are ids of attempts
FORMS = "give a PID, a process name, HOST:PORT, HOST, unix:PATH, or the connect.id of an attempt"


@dataclass(frozen=True)
class Target:
    """What rows must be: any of the fields that are set must match. ``host`` may have several ``addresses``."""

    text: str
    pid: int | None = None
    name: str | None = None
    id: int | None = None
    path: str | None = None
    host: str | None = None
    port: int | None = None
    addresses: frozenset[str] = field(default_factory=frozenset)

    def matches(self, row: Row) -> bool:
        """Whether an attempt is meant."""
        if self.pid is not None:
            return bool(row.get("process.pid") == self.pid)
        if self.id is not None:
            return bool(row.get("connect.id") == self.id)
        if self.name is not None:
            return bool(row.get("process.name") == self.name[:15])
        if self.path is not None:
            return bool(row.get("destination.address") == self.path)
        if self.port is not None and row.get("destination.port") != self.port:
            return False
        names = {self.host, *self.addresses}
        asked = str(row.get("connect.rewritten_from", "")).rpartition(":")[0].strip("[]")
        return bool(names & {row.get("destination.ip"), row.get("destination.domain"), asked} - {None, ""})

    def narrowing(self) -> Narrowing:
        """What the kernel side can check: failures only, and the process, name or port."""
        return Narrowing(
            pids=None if self.pid is None else frozenset({self.pid}),
            comms=None if self.name is None else frozenset({self.name[:15]}),
            outcome="failure",
        )


def parse(text: str) -> Target:
    """A target from what a user wrote. Raises UsageError, naming what there is.

    A name of a host is left to be resolved; a word without a dot or colon is the name of a process.
    """
    kind, _, rest = text.partition(":")
    if kind in ("unix", "pid", "name", "id") and rest:
        return prefixed(text, kind, rest)
    if re.fullmatch(r"[0-9]+", text):
        number = int(text)
        if number <= 0:
            raise UsageError(f"{text!r} is not a process id", FORMS)
        return Target(text, pid=number) if number <= PIDS else Target(text, id=number)
    if text.startswith(("/", "@")):
        return Target(text, path=text)
    host, port = split(text)
    if port is None and address(host) is None and "." not in host and host != "localhost":
        if not host or ":" in host:
            raise UsageError(f"{text!r} is no target", FORMS)
        return Target(text, name=host)
    literal = address(host)
    return Target(text, host=literal or host, port=port, addresses=frozenset({literal} if literal else ()))


def prefixed(text: str, kind: str, rest: str) -> Target:
    """A target whose kind is written in front of it."""
    if kind == "unix":
        return Target(text, path=rest)
    if kind == "name":
        return Target(text, name=rest)
    if not re.fullmatch(r"[0-9]+", rest):
        raise UsageError(f"{rest!r} is not a number", FORMS)
    return Target(text, pid=int(rest)) if kind == "pid" else Target(text, id=int(rest))


def split(text: str) -> tuple[str, int | None]:
    """Host and port of ``host:port``, ``[v6]:port``, ``host``. Raises UsageError for a bad port."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif text.count(":") > 1:
        host, port = text, None  # a bare IPv6 address
    else:
        host, colon, port = text.partition(":")
        if not colon:
            return host, None
    if port is None:
        return host, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise UsageError(f"{port!r} is not a port (0 to 65535)", FORMS)
    if not host:
        raise UsageError(f"{text!r} names no host", FORMS)
    return host, int(port)


def address(text: str) -> str | None:
    """The address that a text is, in its usual form; None for a name."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None
