"""What the laboratory's child process tells: one JSON object a line, on a pipe.

Rule of this file: the only declaration of those lines. A line goes out in one write below PIPE_BUF bytes, so
lines of several threads and processes never mix (pipe(7)).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

PIPE_BUF = 4096


@dataclass(frozen=True)
class Ready:
    """Everything is set up; the attempts begin when the gate opens. ``scenarios``: those possible here."""

    pid: int
    scenarios: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """The truth about one attempt, from the process that made it.

    ``return_``: 0 or -errno of the call; None where it never came back, or was another call than connect(2).
    ``error``: name of the error that the application got in the end, by the call or later by SO_ERROR; None
    for none, or where it did not wait. ``sockaddr``: the bytes in hexadecimal, empty where a bare pointer was
    passed. ``time``: CLOCK_REALTIME just before the call, in nanoseconds.

    ``call`` is the way in, in the words of `connect.entry`, and ``pointer`` the bare pointer. ``socket`` is what
    ``fd`` was just before (``sockets.described``); empty where it was no socket. ``command`` is the program that
    made the attempt, where that was not the laboratory: its process, thread and descriptor are not known then
    (0, 0, -1).
    """

    scenario: str
    pid: int
    tid: int
    fd: int
    sockaddr: str
    addrlen: int
    return_: int | None
    error: str | None
    time: int
    call: str = "connect"
    pointer: int = 0
    socket: Mapping[str, object] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class Announced:
    """The attempt that is made next, once a byte has come through the gate: of a child that goes step by step."""

    attempt: Attempt


@dataclass(frozen=True)
class Arranged:
    """Something that a scenario has put in place for its attempts: a listener, a setting, a policy."""

    scenario: str
    what: str


@dataclass(frozen=True)
class Impossible:
    """A scenario that cannot be had here, and why, with the remedy."""

    scenario: str
    reason: str


@dataclass(frozen=True)
class Failed:
    """A scenario that broke off: a fault of the laboratory, told with its traceback."""

    scenario: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """Nothing at all can be had here: what a NotPermittedError in the child said."""

    message: str
    remedy: str


Report = Ready | Announced | Arranged | Attempt | Impossible | Failed | Refused
KINDS: dict[str, type[Report]] = {
    kind.__name__.lower(): kind for kind in (Ready, Announced, Arranged, Attempt, Impossible, Failed, Refused)
}


def to_line(report: Report) -> bytes:
    """The report as one line, its kind under ``report``. Text too long for one write loses its beginning."""
    fields = flat(report)
    line = json.dumps({"report": type(report).__name__.lower(), **fields}).encode() + b"\n"
    if len(line) > PIPE_BUF and isinstance(report, Failed | Impossible):
        kept = report.reason[len(report.reason) - len(report.reason) * PIPE_BUF // (2 * len(line)) :]
        return to_line(type(report)(report.scenario, kept))
    return line


def flat(report: Report) -> dict[str, object]:
    """The fields of a report as a line has them."""
    if isinstance(report, Announced):
        return flat(report.attempt)
    return {name.rstrip("_"): value for name, value in asdict(report).items()}


def from_line(line: str | bytes) -> Report:
    """The report in one line. Raises KeyError or TypeError for a line that ``to_line`` does not make."""
    fields = json.loads(line)
    kind = KINDS[fields.pop("report")]
    if kind in (Attempt, Announced):
        fields["return_"] = fields.pop("return")
    if kind is Announced:
        return Announced(Attempt(**fields))
    if kind is Ready:
        fields["scenarios"] = tuple(fields["scenarios"])
    return kind(**fields)


def send(fd: int, report: Report) -> None:
    """Writes one report to ``fd``. Raises OSError, BrokenPipeError when nobody reads."""
    os.write(fd, to_line(report))
