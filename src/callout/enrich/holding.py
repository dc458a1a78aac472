"""Rows that wait a moment, because a runtime is being asked about their container.

Rule of this file: only rows of a container that nobody has asked about before wait, no longer than HOLD; all others
pass at once, so a slow runtime delays nothing but the first rows of its new containers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from callout.batch import Batch, Coded

HOLD = 0.02  # seconds: with what records take to gather, a row comes within 200 ms of its verdict


class Holding:
    """``asked(cgroup)``: whether an answer about a cgroup's container is still to come. ``ordered``: rows keep their
    order, so those behind one that waits do, too.
    """

    def __init__(
        self,
        asked: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
        ordered: bool = False,
    ) -> None:
        self._asked, self._clock, self._ordered = asked, clock, ordered
        self._held: list[Batch] = []
        self._until = 0.0

    def take(self, batch: Batch) -> Iterator[Batch]:
        """What need not wait (any more); the last batch may be empty."""
        if self._held and (
            self._clock() >= self._until or not any(self._open(part).any() for part in self._held)
        ):
            yield from self.rest()
        if self._held and self._ordered and len(batch):
            self._held.append(batch)
            batch = batch.select(np.zeros(len(batch), bool))
        waits = self._open(batch) if len(batch) else np.zeros(0, bool)
        if waits.any():
            yield from self.rest()
            if self._ordered:
                waits[np.argmax(waits) :] = True
            self._held, self._until = [batch.select(waits)], self._clock() + HOLD
            batch = batch.select(~waits)
        yield batch

    def due(self) -> float:
        """Seconds until what is held must go."""
        return self._until - self._clock() if self._held else math.inf

    def rest(self) -> Iterator[Batch]:
        """What is held."""
        held, self._held = self._held, []
        yield from held

    def _open(self, batch: Batch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if not len(batch):
            return np.zeros(0, bool)
        column = (batch if batch.few is None else batch.few).key("cgroup")
        assert isinstance(column, Coded)
        found = np.array([*[self._asked(int(identifier)) for identifier in column.values], False])
        if not found.any():
            return np.zeros(len(batch), bool)
        return found[column.codes] if batch.codes is None else found[column.codes][batch.codes]
