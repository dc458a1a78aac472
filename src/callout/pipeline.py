"""The loop: a source's batches, narrowed, counted, and given to a sink, until there is a reason to stop.

Rule of this file: it knows sources and sinks only by what they do, so a live trace, a replay, a program that
uses the library and a test are the same loop (``flow``). It is the one place where rows and losses are added
up.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from itertools import chain
from types import FrameType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from callout.batch import Batch
from callout.pattern import Patterns, habits
from callout.summary import Summary

if TYPE_CHECKING:
    from callout.batch import Array
    from callout.enrichment import Enrichment
    from callout.sinks import Sink

LOOK = 0.1  # seconds between two looks at a condition
AGAIN = 0.25  # seconds: timeout(1) sends its signal twice at once, to the command and then to its group


class Source(Protocol):
    """Where batches come from. A live one yields an empty one now and then, so that the loop can look up."""

    def batches(self) -> Iterator[Batch]:
        """Batches in order of time; ends when there are no more."""
        ...

    def finish(self, summary: Summary) -> Iterator[Batch]:
        """Stops observing, yields what is left, and adds what only the source can count to the summary."""
        ...


@runtime_checkable
class Live(Protocol):
    """A source that sleeps while nothing happens, but no longer than ``due()`` seconds."""

    due: Callable[[], float]


class Stop:
    """Reasons to stop: a signal, a deadline, a number of rows, a condition that is asked after each batch.

    ``requested`` may be set from outside; it stays True.
    """

    def __init__(self, seconds: float | None = None, count: int | None = None) -> None:
        self.requested = False
        self.count = count
        self._deadline: float | None = None
        self._until: Callable[[], bool] | None = None
        self._interrupted: float | None = None
        self._asked = False
        self._tell: Callable[[], None] | None = None
        if seconds is not None:
            self.after(seconds)

    def after(self, seconds: float) -> None:
        """Sets the deadline, counted from now."""
        self._deadline = time.monotonic() + seconds

    def when(self, condition: Callable[[], bool]) -> None:
        """Sets the condition that is asked after each batch."""
        self._until = condition

    def due(self) -> float:
        """Seconds until it may be time to stop; a signal ends the source's sleep by itself."""
        left = math.inf if self._deadline is None else self._deadline - time.monotonic()
        return min(left, math.inf if self._until is None else LOOK)

    def on_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP end the loop in good order; a second SIGINT raises KeyboardInterrupt
        wherever the program is, for output that nobody takes. SIGHUP stays ignored where it is: nohup(1).
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number != signal.SIGINT:
            return
        now = time.monotonic()
        if self._interrupted is None:
            self._interrupted = now
        elif now - self._interrupted >= AGAIN:
            signal.signal(number, signal.SIG_IGN)  # what is left to do is to let go, and that is quick
            raise KeyboardInterrupt

    def when_asked(self, number: int, tell: Callable[[], None]) -> None:
        """From now on a signal makes the loop call ``tell``, at its next batch; it goes on then."""
        self._tell = tell
        signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def now(self) -> bool:
        """Whether it is time to stop."""
        if self._asked and self._tell:
            self._asked = False
            self._tell()
        if self.requested or (self._deadline is not None and time.monotonic() >= self._deadline):
            return True
        return self._until is not None and self._until()


def flow(
    source: Source,
    summary: Summary,
    stop: Stop,
    mask: Callable[[Batch], Array] | None = None,
    all_rows: bool = True,
    enrichment: Enrichment | None = None,
) -> Iterator[Batch]:
    """The rows asked for, batch by batch, until there is a reason to stop, and those that are left then.

    ``enrichment`` adds its columns (live sources only), and client habits get their name, before the mask sees
    them; without ``all_rows`` habits are set aside after it.
    Everything that the source yields is counted: as rows, as habits set aside, or as hidden where the mask or
    ``stop.count`` keeps it back. An empty batch says that time has passed. The summary is complete once the
    iterator has ended.
    """
    began = time.monotonic()
    room = stop.count
    patterns = Patterns()
    ending = False

    def known(batch: Batch) -> Iterator[Batch]:
        if len(batch):
            if enrichment is not None:
                enrichment.add(batch)
                if ending:
                    enrichment.settle()
            patterns.mark(batch)
        yield from (batch,) if enrichment is None else enrichment.ripe(batch)

    def passing(batch: Batch) -> Batch:
        nonlocal room
        if len(batch) and mask is not None:
            wanted = mask(batch)
            summary.hide(batch.select(~wanted))
            batch = batch.select(wanted)
        if not all_rows and (aside := habits(batch)) is not None:
            summary.set_aside(batch.select(aside))
            batch = batch.select(~aside)
        if room is not None:
            if len(batch) > room:
                summary.hide(batch.select(np.arange(room, len(batch))))
                batch = batch.select(np.arange(room))
            room -= len(batch)
        if len(batch):
            summary.add(batch)
        return batch

    if isinstance(source, Live):
        source.due = lambda: min(stop.due(), math.inf if enrichment is None else enrichment.due())
    try:
        for whole in source.batches():
            for batch in known(whole):
                yield passing(batch)
            if room == 0 or stop.now():
                break
        ending = True
        last = (batch for whole in source.finish(summary) for batch in known(whole))
        for batch in chain(last, () if enrichment is None else enrichment.rest()):
            if len(batch := passing(batch)):
                yield batch
    finally:
        summary.seconds = time.monotonic() - began


def run(
    source: Source,
    sink: Sink,
    summary: Summary,
    stop: Stop,
    mask: Callable[[Batch], Array] | None = None,
    all_rows: bool = True,
    enrichment: Enrichment | None = None,
) -> None:
    """Moves everything from source to sink, as ``flow`` says. What is left when it stops is written too.

    An error of the sink stops the source in good order first: what could not be written is counted as lost.
    """
    failure: Exception | None = None
    unwritten = Summary()
    for batch in flow(source, summary, stop, mask, all_rows, enrichment):
        if failure is None:
            try:
                sink.write(batch)
                continue
            except Exception as error:
                failure = error
                stop.requested = True
        if len(batch):
            unwritten.add(batch)
    if failure is not None:
        summary.lose(unwritten)
        raise failure
