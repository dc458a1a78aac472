"""The live source: drains the rings of the loaded BPF programs and hands out batches.

Rule of this file: it moves records and counts losses. What the values mean is decided in ``columns``; which
programs run, in ``loading``; which records come how, in ``channels``.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from callout._native import lib
from callout.batch import Array, Batch
from callout.btf import Btf, Layout
from callout.capture import columns, conversation, privileges
from callout.capture.channels import ATTEMPT, CHANNELS, DIRECTORY, RING, RINGS, STEP, Drain, Handler
from callout.capture.constants import constants_for
from callout.capture.kinds import Kinds, each
from callout.capture.loading import Loaded, Loader, Map, ProgramState, check, read_object
from callout.capture.tiers import (
    CONVERSATION,
    EVIDENCE,
    FIRST,
    LEFTOVER,
    LOOK,
    OVERLOOKED,
    SECOND,
    SOCKET_PROGRAMS,
    TIERS,
    Tier,
)
from callout.errors import UsageError
from callout.narrowing import Narrowing

if TYPE_CHECKING:
    from callout.footprint import Table
    from callout.summary import Summary

# What one of them misses, the other one sees, or a search finds.
DOUBLED = frozenset({FIRST.name, SECOND.name})
LOOKED = "RECORD_TASK"
ROUNDS = 32  # of a ring that fills as fast as it is emptied; nobody waits for its end
# Seconds between two searches for verdicts that were overlooked, while attempts are under way: each takes half a
# millisecond, so as long as there is nothing to find they become rarer.
SEARCH, SELDOM = 1.0, 8.0
URGENT = -10  # niceness of a reader that must keep up
IDLE_MS = 5000  # longest sleep: bounds the reaction to a signal that comes just before it
WATCHFUL_MS = 1000  # the same while attempts are under way, whose end may be overlooked
GATHER_MS = 170  # how long records may gather: rows appear within 200 ms of their verdict


@dataclass
class Counters:
    """Totals over all CPUs. ``entered - joined = submitted + found + withheld + lost + orphaned + under way``."""

    entered: int = 0
    submitted: int = 0
    found: int = 0  # handed over by what looks for verdicts that were overlooked
    withheld: int = 0
    orphaned: int = 0
    joined: int = 0
    unfollowed: int = 0
    lost: int = 0
    lost_phases: int = 0
    lost_others: dict[str, int] = field(default_factory=dict)  # by what a summary calls them
    missed: dict[str, int] = field(default_factory=dict)
    overlooked: int = 0  # ends that no program was run for

    @property
    def under_way(self) -> int:
        """Attempts whose final record has not been handed over yet."""
        ended = self.submitted + self.found + self.withheld + self.lost + self.orphaned
        return self.entered - self.joined - ended


class KernelSource:
    """Attempts of this host, live. A context manager: programs are attached on entry and gone on exit.

    ``related``: also rows for the calls around the attempts (``capture.conversation``). ``listeners``: who takes
    records of other kinds (``channels``), by kind; their programs are loaded only then. What a record says is true
    for the attempts that come after it: each batch is handed out after the records that were ready by then. ``also``:
    names of ``tiers.OPTIONS``, for ways that a tier sees only with programs that others pay for; one that a tier lacks
    or does not need changes nothing. ``without`` leaves out programs by name, to measure what they cost.
    ``hidden``: gives the threads that are not reported, when programs are loaded.
    """

    def __init__(
        self,
        narrowing: Narrowing | None = None,
        tier: str | None = None,
        ring: int = RINGS[RING],
        urgent: bool = False,
        related: bool = False,
        listeners: Mapping[str, Handler] | None = None,
        hidden: Callable[[], Iterable[int]] = tuple,
        also: Collection[str] = (),
        without: Collection[str] = (),
    ) -> None:
        self.narrowing = narrowing or Narrowing()
        self.narrowing.check()
        self._asked_tier = tier
        self._ring = ring
        self._urgent = urgent
        self._related = related
        self._listeners = dict(listeners or {})
        self._hidden = hidden
        self._also, self._without = frozenset(also), frozenset(without)
        self._nice: int | None = None
        self.due: Callable[[], float] = lambda: math.inf  # seconds after which the caller wants to look up
        self.tier: Tier | None = None
        self.states: list[ProgramState] = []
        self._loaded: Loaded | None = None
        self._search_at = 0.0  # time.monotonic() of the next search for what was overlooked
        self._pause = SEARCH  # seconds from one to the next
        self._found: list[Array] = []  # what it gave, for the next batch
        self._counted = 0  # how many that were in all
        self._under_way = 0  # attempts, at the last search
        self._skipped = 0  # changes of state for which the first program did not run
        self._doubled = False  # the second one is attached

    def __enter__(self) -> KernelSource:
        privileges.check()
        self.btf = btf = Btf.of_object(read_object())
        self.layout: Layout = btf.layout("attempt")
        self._kinds = btf.enum("record_kind")
        self._counts = np.zeros(lib.co_cpus(), btf.layout("cpu_counters").dtype)
        self._decoder = columns.Decoder(btf)
        self._call_decoder = conversation.Calls(btf, self._decoder)
        handlers: dict[str, Handler] = {
            ATTEMPT: self._take_attempts,
            "RECORD_COPY": self._decoder.copies.add,
            **({"RECORD_CALL": self._take_calls} if self._related else {}),
            **self._listeners,
        }
        self._channels = tuple(channel for channel in CHANNELS if channel.kind in handlers)
        rings = dict.fromkeys(channel.ring for channel in self._channels)
        self._drains = [
            Drain(btf, [channel for channel in self._channels if channel.ring == name], handlers)
            for name in rings
        ]
        self._nothing = each(np.zeros(0, self.layout.dtype))
        self._attempts = self._nothing
        self._calls: list[Array] = []
        self._decoder.warm(self.layout.dtype)
        constants = constants_for(self.narrowing, btf.layout("narrowing"), self._hidden())
        constants["conversation"] = self._related
        constants["steps"] = STEP in self._listeners
        constants["directories"] = DIRECTORY in self._listeners
        declared = {name: None for channel in self._channels for name in channel.maps}
        sizes = {**declared, **{name: RINGS[name] for name in rings}, RING: self._ring}
        self._load(constants, sizes)
        if self._urgent:
            self._hurry()
        return self

    def _hurry(self) -> None:
        """Goes before other work: a reader that waits behind fifty busy processes loses what does not fit the ring."""
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        with suppress(PermissionError):  # without CAP_SYS_NICE it reads at its usual priority
            os.setpriority(os.PRIO_PROCESS, 0, min(usual, URGENT))
            self._nice = usual

    def _load(self, constants: Array, sizes: Mapping[str, int | None]) -> None:
        tiers = [t for t in TIERS if self._asked_tier in (None, t.name)]
        if not tiers:
            raise UsageError(
                f"there is no tier {self._asked_tier!r}", f"choose from: {', '.join(t.name for t in TIERS)}"
            )
        others = tuple(program for channel in self._channels for program in channel.programs)
        beside = (*SOCKET_PROGRAMS, LEFTOVER, OVERLOOKED, *others)
        cgroup = self.narrowing.cgroup
        loader = Loader(
            constants, sizes, beside, CONVERSATION, cgroup, self._also, self._without, held=(SECOND,)
        )
        self._loaded, self.tier = loader.best(tiers)
        self.states = loader.states
        self._decoder.watched = frozenset(
            state.program.watches for state in self.states if state.error is None and state.program.watches
        )
        handle = self._loaded.handle
        try:
            self._numbers = [
                check("reading the ring", lib.co_ring(handle, drain.channels[0].ring.encode()))
                for drain in self._drains
            ]
            check("hanging the bell", lib.co_bell(handle, self._numbers[0], b"bell"))
        except OSError:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detaches everything. Called twice it does nothing."""
        if self._nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, self._nice)
            self._nice = None
        if self._loaded:
            self._loaded.close()
            self._loaded = None

    def batches(self) -> Iterator[Batch]:
        """Batches as they come, for ever; an empty one when it is ``due``, or IDLE_MS have gone by."""
        while self._loaded:
            self.wait()  # also when there is something: a batch costs the same however small it is
            yield self.read()

    def finish(self, summary: Summary) -> Iterator[Batch]:
        """Detaches, yields what is in the ring and what is under way, and fills in the summary's counters."""
        assert self._loaded
        self._search_at = 0.0  # once more, before programs and sockets are gone
        self._search()
        counters = self.counters()  # before detaching: libbpf forgets a program's misses with its link
        self._loaded.detach()
        if ProgramState(LEFTOVER, None) in self.states:
            self._loaded.iterate(LEFTOVER)
        while len(batch := self.read()):
            yield batch
        for name, key, parts in (("flights", 8, 8), ("requests", 8, 8), ("sends", 16, 0)):
            yield self.pending(name, key, parts)
        after = self.counters()
        summary.attempts = after.entered - after.joined
        summary.lost = after.lost
        summary.withheld = after.withheld
        summary.late = self._decoder.associations.rows
        summary.extra = {
            name: number
            for name, number in (
                ("orphaned", after.orphaned),
                ("unfollowed", after.unfollowed),
                ("overlooked", after.overlooked),
                ("missed", sum(n for name, n in counters.missed.items() if name not in EVIDENCE)),
                ("evidence missed", sum(n for name, n in counters.missed.items() if name in EVIDENCE)),
                ("phases lost", after.lost_phases),
                *after.lost_others.items(),
            )
            if number
        }

    def memory(self) -> list[Table]:
        """What is kept on this side of the kernel, table by table."""
        tables = [self._decoder.copies.memory(), self._decoder.associations.memory()]
        return [*tables, *(table for drain in self._drains for table in drain.memory())]

    def maps(self) -> list[Map]:
        """What is kept in the kernel."""
        assert self._loaded
        return self._loaded.maps()

    def wait(self) -> None:
        """Sleeps until there are records, letting some gather. A signal ends the sleep early."""
        assert self._loaded
        most = 0 if self._found else WATCHFUL_MS if self._under_way else IDLE_MS
        longest = math.ceil(min(most, max(0.0, self.due() * 1000)))
        result = lib.co_wait(self._loaded.handle, longest, GATHER_MS, self._ring // 4)
        if result < 0 and result != -errno.EINTR:
            raise OSError(-result, os.strerror(-result))

    def read(self) -> Batch:
        """What is ready now, up to ROOM attempts; does not wait."""
        assert self._loaded
        if self._found:  # whatever came before it has been handed out
            return self._decoder.batch(each(self._found.pop()))
        self._attempts, self._calls = self._nothing, []
        self._drains[0].run(self._loaded.handle, self._numbers[0])
        self._listen()  # afterwards: what was before an attempt is in its ring by now
        batch = self._decoder.batch(self._attempts)
        for calls in self._calls:
            batch = self._call_decoder.merged(batch, calls)
        self._double()
        self._search()
        return batch

    def _double(self) -> None:
        """Where the first program for changes of state was skipped: attaches the second, searches for what passed."""
        assert self._loaded
        if self._doubled or (skipped := self._loaded.missed(FIRST)) <= self._skipped:
            return
        self._skipped, self._search_at = skipped, 0.0
        with suppress(OSError):  # without it there is a search whenever one is skipped
            self._loaded.attach(SECOND)
            self._doubled = True

    def _search(self) -> None:
        """Finds attempts that are over, as their sockets tell, but of whose end no program was told."""
        assert self._loaded
        now = time.monotonic()
        if now < self._search_at or ProgramState(OVERLOOKED, None) not in self.states:
            return
        records = np.zeros(0, self.layout.dtype)
        self._under_way = self._totals().under_way
        if self._under_way:
            records = np.frombuffer(self._loaded.iterate(OVERLOOKED, "flights"), self.layout.dtype).copy()
        if len(records):
            self._found.append(records)
            self._counted += len(records)
        self._pause = min(self._pause * 2, SELDOM) if self._under_way and not len(records) else SEARCH
        self._search_at = now + self._pause

    def look(self) -> None:
        """Lets the kernel report all processes, to who listens for records of the kind RECORD_TASK."""
        if self._loaded and ProgramState(LOOK, None) in self.states:
            self._loaded.iterate(LOOK)
            self._listen(LOOKED)

    def _listen(self, kind: str | None = None) -> None:
        """Hands out what is ready in the rings beside that of the attempts; ``kind``: in the one that has it."""
        assert self._loaded
        for drain, number in zip(self._drains[1:], self._numbers[1:], strict=True):
            if kind and all(channel.kind != kind for channel in drain.channels):
                continue
            for _ in range(ROUNDS):
                if not drain.run(self._loaded.handle, number):
                    break

    def _take_attempts(self, attempts: Kinds) -> None:
        assert self._loaded
        self._attempts = attempts
        self._loaded.lookup("counters", 0, self._counts)
        self._decoder.lost_now = self._counts["lost"][:, self._kinds[ATTEMPT]].tolist()

    def _take_calls(self, records: Array) -> None:
        self._calls.append(records.copy())

    def pending(self, name: str, key: int = 8, parts: int = 8) -> Batch:
        """What a map still holds of attempts under way, as rows with the verdict `pending`; for the end of a trace.

        ``key`` is the size of its keys; its values are a record and ``parts`` bytes more.
        """
        assert self._loaded
        record = self.layout.dtype.itemsize
        values = self._loaded.values(name, key, record + parts, 32768)
        records = np.frombuffer(values[:, :record].tobytes(), self.layout.dtype).copy()
        records["phase"] = self._decoder.phases["PHASE_PENDING"]
        return self._decoder.batch(records)

    def counters(self) -> Counters:
        """Totals since attach."""
        assert self._loaded
        counted = ((p.name, self._loaded.missed(p)) for p in self._loaded.programs if p.name not in DOUBLED)
        return replace(self._totals(), missed={name: n for name, n in counted if n > 0})

    def _totals(self) -> Counters:
        """The same without what programs missed, for which each of them is asked."""
        assert self._loaded
        value = self._counts
        self._loaded.lookup("counters", 0, value)
        totals: dict[str, int] = {
            name: int(value[name].sum())
            for name in ("entered", "submitted", "withheld", "orphaned", "joined", "unfollowed", "overlooked")
        }
        lost = value["lost"].sum(axis=0)
        others: dict[str, int] = {}
        for channel in self._channels:
            if channel.loss:
                number = int(lost[self._kinds[channel.kind]])
                others[channel.loss] = others.get(channel.loss, 0) + number
        return Counters(
            **totals,
            found=self._counted,
            lost=int(lost[self._kinds[ATTEMPT]]),
            lost_phases=int(lost[0]),
            lost_others=others,
            missed={},
        )
