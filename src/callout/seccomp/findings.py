"""What follows from a profile for connections: the ways that stay open, and what a filter cannot do.

Rule of this file: each finding follows from decisions alone, and says by what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from callout.seccomp.decide import Decision
from callout.seccomp.profile import Action

PASSING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
POINTERS = {"connect": (1,), "sendto": (1, 4), "sendmsg": (1,), "sendmmsg": (1,), "socketcall": (1,)}


@dataclass(frozen=True)
class Finding:
    """One thing to know. ``hole``: a way stays open that other rules close. ``abis``: where; empty for everywhere."""

    text: str
    hole: bool = False
    abis: tuple[str, ...] = ()


def passes(given: Decision | None) -> bool:
    """Whether some call gets through."""
    return given is not None and any(what.name in PASSING for what in outcomes(given))


def outcomes(given: Decision) -> list[Action]:
    """All that a call can come to."""
    return [given.otherwise, *(what for _, what in given.cases)]


def always(given: Decision | None) -> bool:
    """Whether every call gets through."""
    return given is not None and all(what.name in PASSING for what in outcomes(given))


def findings(decisions: Sequence[Decision]) -> list[Finding]:
    """What follows, each thing once."""
    found: dict[tuple[str, bool], list[str]] = {}
    keys = list(dict.fromkeys((one.host, one.abi) for one in decisions))
    for key in keys:
        own = {(one.call, one.through): one for one in decisions if (one.host, one.abi) == key}
        for finding in of_table(own):
            found.setdefault((finding.text, finding.hole), []).append(key[1])
    tables = {abi for _, abi in keys}
    return [
        Finding(text, hole, () if tables <= set(abis) else tuple(dict.fromkeys(abis)))
        for (text, hole), abis in found.items()
    ]


def of_table(own: dict[tuple[str, str], Decision]) -> Iterator[Finding]:
    """What follows on one table of numbers."""
    connect = own.get(("connect", ""))
    if passes(connect):
        yield Finding(
            "connect is allowed to anywhere: a filter sees numbers and registers, never the address behind the pointer"
        )
    if connect and not passes(connect) and connect.otherwise.name != "SCMP_ACT_NOTIFY":
        if passes(own.get(("connect", "socketcall"))):
            yield Finding("connect is refused, but socketcall(SYS_CONNECT) makes it", True)
        if passes(own.get(("io_uring_setup", ""))) and passes(own.get(("io_uring_enter", ""))):
            yield Finding(
                "connect is refused, but io_uring is allowed: IORING_OP_CONNECT passes no filter", True
            )
        for call in ("sendto", "sendmsg", "sendmmsg"):
            if passes(own.get((call, ""))) and passes(own.get(("socket", ""))):
                yield Finding(
                    f"connect is refused, but {call} is allowed: it sends datagrams anywhere, and with MSG_FASTOPEN it"
                    " connects TCP",
                    True,
                )
    socket = own.get(("socket", ""))
    if socket and socket.cases and not always(socket) and always(own.get(("socket", "socketcall"))):
        yield Finding(
            "the argument filter of socket does not hold for socketcall(SYS_SOCKET): its arguments are in memory",
            True,
        )
    for one in own.values():
        yield from of_decision(one)


def of_decision(one: Decision) -> Iterator[Finding]:
    """What follows from a single decision."""
    if one.refused:
        yield Finding(
            f"lines {' and '.join(map(str, one.by))} say different things of the same {one.through or one.call}:"
            " libseccomp refuses the profile (EEXIST), and no container starts with it"
        )
    pointed = {condition.index for conditions, _ in one.cases for condition in conditions}
    if pointed & set(POINTERS.get(one.through or one.call, ())):
        yield Finding(f"{one.call}: a filter of a pointer compares the pointer, not what it points at")
    if any(what.name == "SCMP_ACT_NOTIFY" for what in outcomes(one)):
        yield Finding(
            f"{one.call}: the supervisor must make the call itself; letting it continue means that the kernel reads the"
            " address a second time, when it may have changed"
        )
    if one.conflict:
        lines = ", ".join(map(str, one.by))
        yield Finding(f"{one.call}: argument filters with different actions can hold together (lines {lines}):"
                      " libseccomp decides which one counts, or refuses the profile")  # fmt: skip
    for line in one.ignored:
        yield Finding(
            f"line {line} says something else of {one.call}, without effect: line {one.by[0]} decides"
        )
