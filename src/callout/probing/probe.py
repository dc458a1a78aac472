"""The probe: name, then for each address route, rules, the attempt itself under a trace of our own, and looks.

Rule of this file: it goes on to the next address only where one failed, as programs do. What could not be seen
for want of a right is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from callout.errors import CalloutError, NotPermittedError
from callout.host import diagnose, netns, patience_of, root
from callout.host.firewall import Firewall, read_firewall
from callout.narrowing import Narrowing
from callout.probing import attempt, conclude, names
from callout.story import Look, Story, tell
from callout.story.words import destination
from callout.terminal import duration

if TYPE_CHECKING:
    from callout.capture.kernel import KernelSource
    from callout.capture.steps import Steps

Traced: TypeAlias = "tuple[KernelSource, Steps]"
SETTLE = 1.0  # seconds in which the row of an attempt that is over must come
T = TypeVar("T")


@dataclass(frozen=True)
class Reach:
    """One attempt: its story, and whether it reached the peer."""

    story: Story
    established: bool


@dataclass
class Probe:
    """What the probe found. ``names`` is None for a socket file; ``unseen``: what it could not see, and why."""

    target: str
    names: names.Names | None = None
    reaches: list[Reach] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def established(self) -> bool:
        """Whether an address was reached."""
        return any(reach.established for reach in self.reaches)


def probe(
    host: str | None,
    port: int | None,
    path: str | None,
    patience: float,
    space: str = netns.OWN,
    pid: int | None = None,
) -> Probe:
    """Probes ``host`` and ``port``, or the socket file ``path``, from a network namespace.

    ``patience``: seconds for each address. ``pid``: a process whose policies are looked at, too. Raises
    NotPermittedError where the namespace cannot be entered.
    """
    found = Probe(path or f"{host}:{port}")

    def within(work: Callable[[], T]) -> T:
        return netns.inside(space, work)

    def one(ip: str) -> Callable[[], attempt.Result]:
        assert port is not None
        return lambda: attempt.attempt_tcp(ip, port, patience)

    with tracing(found) as source:
        if path is not None:
            made = reach(as_seen(path, pid), source, within, space, pid)
            found.reaches.append(made)
            return found
        assert host is not None
        assert port is not None
        found.names = within(lambda: names.resolve(host, port, pid))
        for ip in found.names.addresses:
            made = reach(one(ip), source, within, space, pid)
            found.reaches.append(made)
            if made.established:
                break
    return found


def as_seen(path: str, pid: int | None) -> Callable[[], attempt.Result]:
    """An attempt on a socket file, where a process has its files."""

    def make() -> attempt.Result:
        return attempt.attempt_unix(path)

    return make if pid is None else lambda: root.inside(pid, path, make)


@contextmanager
def tracing(found: Probe) -> Iterator[Traced | None]:
    """A trace of this very process; None with a line in ``unseen`` where it may not trace."""
    from callout.capture import privileges

    try:
        privileges.check()
    except NotPermittedError as error:
        found.unseen.append(f"the kernel's own view of the attempt: {error.message}")
        yield None
        return
    from callout.capture.channels import STEP
    from callout.capture.kernel import KernelSource
    from callout.capture.steps import Steps

    try:
        steps = Steps()
        listeners = {STEP: steps.add}
        source = KernelSource(Narrowing(pids=frozenset({os.getpid()})), listeners=listeners).__enter__()
    except CalloutError as error:
        found.unseen.append(f"the kernel's own view of the attempt: {error.message}")
        yield None
        return
    try:
        yield source, steps
    finally:
        source.close()


def reach(
    make: Callable[[], attempt.Result],
    source: Traced | None,
    within: Callable[[Callable[[], Any]], Any],
    space: str,
    pid: int | None,
) -> Reach:
    """One attempt with everything around it."""
    before: Firewall = within(read_firewall)
    result: attempt.Result = within(make)
    traced = None if source is None else seen(source[0], result)
    row = conclude.row_of(result, traced, who(), within(lambda: is_local(result)))
    established = row.get("connect.verdict") == "established"
    if established:
        row["event.outcome"] = "success"
    looks = within(lambda: diagnose(row, pid))
    looks += tuple(Look("attempt", "adds", note, "connect(2)") for note in result.notes)
    looks += tuple(counted(before, within(read_firewall)))
    packets = source[1].packets(traced) if source and traced else ()
    story = tell(row, looks, packets, schedule=patience_of(row, space))
    return Reach(reached(story) if established else story, established)


def reached(story: Story) -> Story:
    """The story of an attempt that succeeded: there is no cause to be told."""
    took = duration(story.row["event.duration"])
    text = (
        f"{destination(story.row)} accepted the connection after {took}. Nothing was sent, and it was closed."
    )
    return replace(story, sentence=text, cause="", confidence="certain", possible=(), advice=())


def who() -> dict[str, Any]:
    """The fields of a row about this process."""
    with open("/proc/self/comm") as file:
        name = file.read().strip()
    return {"process.pid": os.getpid(), "process.name": name, "user.id": os.getuid(), "group.id": os.getgid()}


def is_local(result: attempt.Result) -> bool:
    """Whether the destination is this host."""
    from callout.host.look import is_local as local

    try:
        return result.path is None and local(result.ip)
    except OSError:
        return False


def seen(source: KernelSource, result: attempt.Result) -> Mapping[str, Any] | None:
    """The row of the attempt, by the cookie of its socket; None where none came."""
    end = time.monotonic() + SETTLE
    while time.monotonic() < end:
        batch = source.read()
        for row in batch.rows():
            if row.get("connect.cookie") == result.cookie:
                return row
        if not len(batch):
            source.wait()
    return None


def counted(before: Firewall, after: Firewall) -> Iterator[Look]:
    """The rules that counted packets meanwhile: those of the attempt among them."""
    old = {(rule.place, rule.text_alone): rule.packets for chain in before.chains for rule in chain.rules}
    for chain in after.chains:
        for rule in chain.rules:
            earlier = old.get((rule.place, rule.text_alone))
            if rule.packets and earlier is not None and rule.packets > earlier:
                many = rule.packets - earlier
                text = f"counted {many} packet{'s' * (many != 1)} meanwhile: {rule.place}: {rule.text_alone}"
                yield Look("counter", "adds", text, "counters of the rules")
