"""What a user asks to be narrowed to, in the forms that the sources need.

Rule of this file: pure. Options and filter become (a) what the kernel side checks, which may let more
through, and (b) an expression that decides exactly. A recorded source has only (b). A port is the one
exception: see ``merge``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.batch import Array, Batch

ROOM = {"pids": 16, "uids": 16, "ports": 32, "comms": 8}
TOP = {"pids": 1 << 22, "uids": (1 << 32) - 1, "ports": 65535, "comms": 0}
MOUNTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")  # of cgroup v2, beside v1 and alone
WORDS = {"pids": "process", "uids": "user", "ports": "port", "comms": "process name"}
T = TypeVar("T")


@dataclass(frozen=True)
class Narrowing:
    """Which attempts to report; None: all. ``families``: AF_ numbers; ``outcome``: success or failure.

    ``containers``: names, or beginnings of ids; ``pods``: NAME or NAMESPACE/NAME; ``units``: systemd's, `.service`
    may be left out. A live trace finds out which cgroups these are: ``below``: cgroup ids, each with all below it;
    ``newer``: also what runs in cgroups with greater ids, which are made later (0: not).
    """

    pids: frozenset[int] | None = None
    uids: frozenset[int] | None = None
    ports: frozenset[int] | None = None
    comms: frozenset[str] | None = None
    families: frozenset[int] | None = None
    outcome: str | None = None
    cgroup: str | None = None
    phases: bool = False
    containers: frozenset[str] | None = None
    pods: frozenset[str] | None = None
    units: frozenset[str] | None = None
    below: tuple[int, ...] = ()
    newer: int = 0

    @property
    def chosen(self) -> bool:
        """Whether containers, pods or units were asked for."""
        return bool(self.containers or self.pods or self.units)

    def check(self) -> None:
        """Raises UsageError where a value is out of range or there are more than the kernel side takes."""
        for name, room in ROOM.items():
            values = getattr(self, name) or ()
            if len(values) > room:
                raise UsageError(
                    f"at most {room} {WORDS[name]} values can be given as options, not {len(values)}",
                    "use a filter: it takes any number",
                )
            for value in values:
                if isinstance(value, int) and not 0 <= value <= TOP[name]:
                    raise UsageError(f"{WORDS[name]} number {value} is out of range (0 to {TOP[name]})")
                if isinstance(value, str) and len(os.fsencode(value)) > 15:
                    raise UsageError(
                        f"process name {value!r} is longer than the 15 bytes that the kernel keeps of a name"
                    )

    def text(self) -> str:
        """The same as a filter, empty if nothing is narrowed. Phases cannot be said that way."""
        from callout.expression.tree import quoted

        parts = []
        chosen: tuple[tuple[str, frozenset[int] | frozenset[str] | None], ...] = (
            ("process.pid", self.pids),
            ("user.id", self.uids),
            ("destination.port", self.ports),
            ("process.name", self.comms),
        )
        for field, values in chosen:
            if values is not None:
                words = [quoted(v) if isinstance(v, str) else str(v) for v in sorted(values)]
                parts.append(f"{field} in ({', '.join(words)})")
        if self.families is not None:
            kinds = [name for name, number in (("ipv4", 2), ("ipv6", 10)) if number in self.families]
            parts.append(f"network.type in ({', '.join(kinds)})")
        if self.outcome:
            parts.append(f"event.outcome = {self.outcome}")
        for asked, alternatives in (
            (self.containers, container_texts),
            (self.pods, pod_texts),
            (self.units, unit_texts),
        ):
            if asked:
                either = [text for word in sorted(asked) for text in alternatives(word)]
                parts.append(f"({' or '.join(either)})")
        if self.cgroup is not None and (below := hierarchy_path(self.cgroup)) != "/":
            inside = f"connect.cgroup startswith {quoted(below + '/')}"
            parts.append(f"(connect.cgroup = {quoted(below)} or {inside})")
        elif self.cgroup is not None:
            parts.append("connect.cgroup exists")
        return " and ".join(parts)


def hierarchy_path(path: str) -> str:
    """A cgroup as rows have it, from the root of the hierarchy; given so, or as a directory where that usually is."""
    for mount in MOUNTS:
        if path == mount or path.startswith(mount + "/"):
            path = path[len(mount) :]
            break
    return "/" + path.strip("/")


def container_texts(word: str) -> Iterator[str]:
    """A container, by name or beginning of its id, as filters."""
    from callout.expression.tree import quoted

    yield f"container.name = {quoted(word)}"
    yield f"container.id startswith {quoted(word)}"


def pod_texts(word: str) -> Iterator[str]:
    """A pod as a filter."""
    from callout.expression.tree import quoted

    namespace, _, name = word.rpartition("/")
    text = f"orchestrator.resource.name = {quoted(name)}"
    yield f"({text} and orchestrator.namespace = {quoted(namespace)})" if namespace else text


def unit_texts(word: str) -> Iterator[str]:
    """A unit as a filter."""
    from callout.expression.tree import quoted

    yield f"service.name in ({', '.join(quoted(unit) for unit in sorted(units_of(word)))})"


def units_of(word: str) -> frozenset[str]:
    """The names that a unit may have been meant by: as for systemctl(1), `.service` may be left out."""
    return frozenset({word, f"{word}.service"})


@dataclass(frozen=True)
class Wanted:
    """``kernel`` goes to a live source; ``mask`` decides over its batches (None: the kernel side decides)."""

    kernel: Narrowing
    mask: Callable[[Batch], Array] | None


def compile_wanted(options: Narrowing, filter_text: str, live: bool) -> Wanted:
    """What to load and what to evaluate for these options and this filter. Raises UsageError on either."""
    options.check()
    texts = [filter_text] if live else [options.text(), filter_text]
    text = " and ".join(f"({t})" for t in texts if t)
    if not text:
        return Wanted(options, None)
    from callout.expression import ExpressionError, parse, pushdown
    from callout.schema import FIELD_TYPES

    if filter_text:
        parse_or_usage(parse, ExpressionError, filter_text, FIELD_TYPES)
    expression = parse_or_usage(parse, ExpressionError, text, FIELD_TYPES)
    pushed = pushdown(expression)
    return Wanted(merge(options, pushed), expression.mask)


def parse_or_usage(parse: Any, problem: type[ValueError], text: str, fields: Any) -> Any:
    """Parses a filter; what is wrong with it becomes a UsageError."""
    try:
        return parse(text, fields)
    except problem as error:
        raise UsageError(f"filter: {error}") from error


def merge(options: Narrowing, pushed: Any) -> Narrowing:
    """Both narrowings at once; what the kernel side has no room for is left to the mask.

    So are the ports of a filter: they are those that were used, and the kernel side compares those that were
    asked for, before a cgroup program may rewrite them (BPF_CGROUP_INET4_CONNECT, which Cilium and others
    use).
    """

    def both(a: frozenset[T] | None, b: frozenset[T] | None) -> frozenset[T] | None:
        return b if a is None else a if b is None else a & b

    changes: dict[str, Any] = {}
    for name in ("pids", "uids", "comms", "families"):
        value = both(getattr(options, name), getattr(pushed, name))
        fits = value is None or (
            len(value) <= ROOM.get(name, 16)
            and all(not isinstance(v, int) or 0 <= v <= TOP.get(name, 1 << 32) for v in value)
        )
        changes[name] = value if fits else getattr(options, name)
    if pushed.outcome and not options.outcome:
        changes["outcome"] = pushed.outcome
    return replace(options, **changes)
