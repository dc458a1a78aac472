"""The loop: a source's batches, narrowed, counted, and given to a sink, until there is a reason to stop.

Rule of this file: it knows sources and sinks only by what they do, so a live trace, a replay and a test are
the same loop. It is the one place where rows and losses are added up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from callout.batch import Batch

if TYPE_CHECKING:
    from callout.batch import Array
    from callout.sinks import Sink
    from callout.summary import Summary


class Source(Protocol):
    """Where batches come from. A live one yields an empty one now and then, so that the loop can look up."""

    def batches(self) -> Iterator[Batch]:
        """Batches in order of time; ends when there are no more."""
        ...

    def finish(self, summary: Summary) -> Iterator[Batch]:
        """Stops observing, yields what is left, and adds what only the source can count to the summary."""
        ...


class Stop:
    """Reasons to stop: a signal, a deadline, a number of rows, a condition that is asked after each batch."""

    def __init__(self, seconds: float | None = None, count: int | None = None) -> None:
        self.requested = False
        self.count = count
        self._deadline: float | None = None
        self._until: Callable[[], bool] | None = None
        if seconds is not None:
            self.after(seconds)

    def after(self, seconds: float) -> None:
        """Sets the deadline, counted from now."""
        self._deadline = time.monotonic() + seconds

    def when(self, condition: Callable[[], bool]) -> None:
        """Sets the condition that is asked after each batch."""
        self._until = condition

    def on_signals(self) -> None:
        """SIGINT and SIGTERM end the loop in good order."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def now(self) -> bool:
        """Whether it is time to stop."""
        if self.requested or (self._deadline is not None and time.monotonic() >= self._deadline):
            return True
        return self._until is not None and self._until()


def run(
    source: Source, sink: Sink, summary: Summary, stop: Stop, mask: Callable[[Batch], Array] | None = None
) -> None:
    """Moves everything from source to sink. What is left when it stops is written too."""
    began = time.monotonic()
    room = stop.count

    def pass_on(batch: Batch) -> bool:
        """Writes one batch; False when the asked number of rows is reached."""
        nonlocal room
        if len(batch) and mask is not None:
            made = len(batch)
            batch = batch.select(mask(batch))
            summary.hidden += made - len(batch)
            summary.attempts += made - len(batch)  # those written are added with their verdicts below
        if room is not None:
            if len(batch) > room:
                batch = batch.select(np.arange(room))
            room -= len(batch)
        if len(batch):
            summary.add(batch)
        sink.write(batch)
        return room is None or room > 0

    full = False
    for batch in source.batches():
        if not pass_on(batch):
            full = True
            break
        if stop.now():
            break
    for batch in source.finish(summary):
        if not full:
            full = not pass_on(batch)
    summary.seconds = time.monotonic() - began
