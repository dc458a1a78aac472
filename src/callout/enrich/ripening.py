"""Rows that wait a moment, because their connection is about to say its name.

Rule of this file: a TLS client says the name of its server after the attempt has its verdict. So a row of a port that
speaks TLS waits until the hello was seen, or for one more batch; all others pass at once, and no row waits longer than
rows may take (200 ms from their verdict).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from callout.batch import Array, Batch, Coded, Plain

# Ports whose protocol begins with TLS (IANA's service names and port numbers; Kubernetes, Docker, Elasticsearch)
PORTS = np.array(
    [443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 2376, 2379, 5061, 5223, 5671, 5986, 6443, 6514, 6697, 8443,
     8883, 9093, 9200, 9443, 10250]
)  # fmt: skip
YOUNG = 60_000_000  # ns after its verdict in which a hello may still come; programs load certificates then
HELD = 0.1  # seconds that such a row waits for it at most


class Ripening:
    """``known(cookie)``: whether the hello of a connection was seen; ``again``: looks for the names once more.
    ``ordered``: rows keep their order, so those behind one that waits do, too.
    """

    def __init__(
        self, known: Callable[[int], bool], again: Callable[[Batch], None], ordered: bool = False
    ) -> None:
        self._known, self._again, self._ordered = known, again, ordered
        self._held: Batch | None = None
        self._until = 0.0

    def take(self, batch: Batch) -> Iterator[Batch]:
        """What was held before, then what of this batch need not wait; this may be empty."""
        yield from self.rest()
        young = self._young(batch) if len(batch) else None
        if young is not None and young.any():
            if self._ordered:
                young[np.argmax(young) :] = True
            self._held, self._until = batch.select(young), time.monotonic() + HELD
            batch = batch.select(~young)
        yield batch

    def due(self) -> float:
        """Seconds until what is held must go."""
        return math.inf if self._held is None else self._until - time.monotonic()

    def rest(self) -> Iterator[Batch]:
        """What is held."""
        held, self._held = self._held, None
        if held is not None:
            self._again(held)
            yield held

    def _young(self, batch: Batch) -> Array | None:
        ports, verdicts = batch.column("destination.port"), batch.column("connect.verdict")
        assert isinstance(ports, Plain)
        assert isinstance(verdicts, Coded)
        if "established" not in verdicts.values:
            return None
        found = (verdicts.codes == verdicts.values.index("established")) & np.isin(ports.data, PORTS)
        rows = np.flatnonzero(found)
        if not len(rows):
            return None
        began, took = batch.key("began"), batch.column("event.duration")
        cookies = batch.column("connect.cookie")
        assert isinstance(began, Plain)
        assert isinstance(took, Plain)
        assert isinstance(cookies, Plain)
        age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - (began.data[rows] + took.data[rows])
        young: Array = np.zeros(len(batch), bool)
        known = np.array([self._known(cookie) for cookie in cookies.data[rows].tolist()], bool)
        young[rows] = (age < YOUNG) & ~known
        return young
