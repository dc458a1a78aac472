"""What a story is made of.

Rule of this file: values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# How sure a cause is. `certain`: what was seen leaves nothing else. `likely`: it fits, and so would something else that
# is named. `unknown`: it is not told.
Confidence = Literal["certain", "likely", "unknown"]
CONFIDENCES: tuple[Confidence, ...] = ("certain", "likely", "unknown")
Says = Literal["supports", "against", "adds"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Look:
    """What a look at the host gave, after the attempt: nothing is sent for it.

    ``about``: route, listener, firewall, neighbour, policy, ports, socket, timeout, path, queue, conntrack.
    ``says``: whether it supports the cause of the row, speaks against it, or adds to it. ``source``: where it is from.
    ``rather``: the cause that it speaks for instead, where it does.
    """

    about: str
    says: Says
    text: str
    source: str
    rather: str | None = None


@dataclass(frozen=True)
class Packet:
    """Something that happened on the socket, seen by the kernel side: ``at`` nanoseconds after the attempt began."""

    at: int
    text: str


@dataclass(frozen=True)
class Step:
    """One step of a story. ``at``: nanoseconds after the beginning (None: somewhere in between).

    ``seen``: it was observed; False: worked out from this host's settings.
    """

    at: int | None
    text: str
    seen: bool = True


@dataclass(frozen=True)
class Advice:
    """A command that can be pasted, and what it is for."""

    command: str
    purpose: str


@dataclass(frozen=True)
class Story:
    """All about one failed attempt.

    ``cause`` is that of the row, or ``unknown`` where a look at the host spoke against it. ``possible``: what it can be
    where it is not certain. ``headline``: who tried what, and what came of it.
    """

    row: Row
    headline: str
    cause: str
    confidence: Confidence
    sentence: str
    evidence: tuple[str, ...]
    possible: tuple[str, ...]
    steps: tuple[Step, ...]
    looks: tuple[Look, ...]
    advice: tuple[Advice, ...]
