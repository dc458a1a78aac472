"""What of earlier records is needed to understand later ones: kernel copies of addresses, and connected UDP sockets.

Rule of this file: bounded; what is forgotten is a row less or an address unknown, never a wrong one.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from callout.batch import Array
from callout.capture.kinds import ORDERED, Kinds, alone, each, octets
from callout.footprint import Table, table

COPIES = 65536  # addresses whose attempt has not come yet
COPY = 350  # bytes of one with its key
ROWS = 512  # connected UDP sockets kept of one batch
BATCHES = 64
UDP = 17
TCP_CLOSE = 7
SAME = ("netns", "dport", "peer_family")
ICMP = ("icmp_type", "icmp_code", "icmp_err", "icmp_from")


class Copies:
    """The kernel's copies of swapped addresses, by attempt, until the attempt's own record has come."""

    def __init__(self) -> None:
        self._by_id: dict[int, bytes] = {}

    def add(self, records: Array) -> None:
        """Keeps ``copy`` records."""
        for attempt, data in zip(records["id"].tolist(), records["sockaddr"], strict=True):
            self._by_id[attempt] = data.tobytes()
        while len(self._by_id) > COPIES:
            del self._by_id[next(iter(self._by_id))]

    def memory(self) -> Table:
        """What is kept, about."""
        return table("swapped addresses", len(self._by_id), COPIES, COPY)

    def get(self, attempt: int) -> bytes | None:
        """The 128 bytes that the kernel copied for an attempt, if they were another address."""
        return self._by_id.get(attempt)


class Associations:
    """Recent UDP attempts that succeeded, to which an ICMP error may still come."""

    def __init__(self, flags: dict[str, int], phases: dict[str, int], size: int) -> None:
        """``size``: bytes of a record."""
        self._most = BATCHES * ROWS * size
        self._recent: deque[Kinds] = deque(maxlen=BATCHES)
        self._returned, self._settled = flags["FLAG_RETURNED"], flags["FLAG_SETTLED"]
        self._icmp = flags["FLAG_ICMP"] | flags["FLAG_ICMP6"] | flags["FLAG_ICMP_HERE"]
        self._late, self._verdict = phases["PHASE_LATE"], phases["PHASE_VERDICT"]
        self.rows = 0  # late rows made

    def memory(self) -> Table:
        """What is kept."""
        now = sum(kinds.memory() for kinds in self._recent)
        rows = sum(map(len, self._recent))
        return Table("connected UDP sockets", rows, BATCHES * ROWS, now, self._most)

    def resolve(self, kinds: Kinds) -> Kinds:
        """Attempts with each late error turned into a second record of its own, or left out if unknown."""
        if not (kinds.records["phase"] == self._late).any():
            self.remember(kinds)
            return kinds
        records = kinds.whole()
        late = records["phase"] == self._late
        kept = records[~late]
        self.remember(each(kept))
        found = [row for row in map(self._attempt_of, records[late]) if row is not None]
        self.rows += len(found)
        return each(np.concatenate([kept, *found]) if found else kept)

    def remember(self, kinds: Kinds) -> None:
        """Keeps the last attempts of a batch to which an error may come."""
        if kinds.codes is not None and not self._open(kinds.records).any():
            return
        last = slice(max(len(kinds) - ROWS, 0), None)
        if kinds.codes is not None and len(kinds.records) <= ORDERED:
            self._recent.append(Kinds(alone(kinds.own[last]), alone(kinds.records), alone(kinds.codes[last])))
        else:
            whole = kinds.whole(last)
            rows = octets(whole)[self._open(whole)]  # as bytes: NumPy moves records field by field
            if len(rows):
                self._recent.append(each(rows.view(whole.dtype)[:, 0]))

    def _open(self, records: Array) -> Array:
        """Connected UDP sockets."""
        found: Array = (records["protocol"] == UDP) & (records["ret"] == 0)
        found &= (records["flags"] & self._returned) != 0
        return found

    def _attempt_of(self, error: Array) -> Array | None:
        for kinds in reversed(self._recent):
            rows = np.flatnonzero(kinds.own["sport"] == error["sport"])
            if not len(rows):
                continue
            kept = kinds.whole(rows)
            same = self._open(kept)
            for name in SAME:
                same &= kept[name] == error[name]
            for name in ("daddr", "saddr"):
                same &= (kept[name] == error[name]).all(axis=1)
            if same.any():
                row = kept[np.flatnonzero(same)[-1:]].copy()
                row["err"], row["ended"], row["state"] = error["err"], error["ended"], TCP_CLOSE
                row["flags"] |= self._settled | (error["flags"] & self._icmp)
                for name in ICMP:
                    row[name] = error[name]
                row["phase"] = self._verdict
                return row
        return None
