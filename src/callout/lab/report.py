"""What the laboratory's child process tells: one JSON object a line, on a pipe.

Rule of this file: the only declaration of those lines. A line goes out in one write below PIPE_BUF bytes, so
lines of several threads and processes never mix (pipe(7)).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

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


Report = Ready | Attempt | Impossible | Failed | Refused
KINDS: dict[str, type[Report]] = {
    kind.__name__.lower(): kind for kind in (Ready, Attempt, Impossible, Failed, Refused)
}


def to_line(report: Report) -> bytes:
    """The report as one line, its kind under ``report``. Text too long for one write loses its beginning."""
    fields = {name.rstrip("_"): value for name, value in asdict(report).items()}
    line = json.dumps({"report": type(report).__name__.lower(), **fields}).encode() + b"\n"
    if len(line) > PIPE_BUF and isinstance(report, Failed | Impossible):
        kept = report.reason[len(report.reason) - len(report.reason) * PIPE_BUF // (2 * len(line)) :]
        return to_line(type(report)(report.scenario, kept))
    return line


def from_line(line: str | bytes) -> Report:
    """The report in one line. Raises KeyError or TypeError for a line that ``to_line`` does not make."""
    fields = json.loads(line)
    kind = KINDS[fields.pop("report")]
    if kind is Attempt:
        fields["return_"] = fields.pop("return")
    if kind is Ready:
        fields["scenarios"] = tuple(fields["scenarios"])
    return kind(**fields)


def send(fd: int, report: Report) -> None:
    """Writes one report to ``fd``. Raises OSError, BrokenPipeError when nobody reads."""
    os.write(fd, to_line(report))
