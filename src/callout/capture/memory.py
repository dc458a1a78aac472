"""What of earlier records is needed to understand later ones: kernel copies of addresses, and connected UDP sockets.

Rule of this file: bounded; what is forgotten is a row less or an address unknown, never a wrong one.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from callout.batch import Array

COPIES = 65536  # addresses whose attempt has not come yet
ROWS = 4096  # connected UDP sockets kept of one batch
BATCHES = 16
UDP = 17
TCP_CLOSE = 7
SAME = ("netns", "sport", "dport", "peer_family")


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

    def get(self, attempt: int) -> bytes | None:
        """The 128 bytes that the kernel copied for an attempt, if they were another address."""
        return self._by_id.get(attempt)


class Associations:
    """Recent UDP attempts that succeeded, to which an ICMP error may still come."""

    def __init__(self, flags: dict[str, int], phases: dict[str, int]) -> None:
        self._kept: deque[Array] = deque(maxlen=BATCHES)
        self._returned, self._settled = flags["FLAG_RETURNED"], flags["FLAG_SETTLED"]
        self._late, self._verdict = phases["PHASE_LATE"], phases["PHASE_VERDICT"]
        self.rows = 0  # late rows made

    def resolve(self, records: Array) -> Array:
        """Records with each late error turned into a second record of its attempt, or left out if that is unknown."""
        late = records["phase"] == self._late
        out = records
        if late.any():
            self.remember(records[~late])
            found = [row for row in map(self._attempt_of, records[late]) if row is not None]
            self.rows += len(found)
            out = np.concatenate([records[~late], *found]) if found else records[~late]
        else:
            self.remember(records)
        return out

    def remember(self, records: Array) -> None:
        """Keeps the attempts to which an error may come."""
        rows = np.flatnonzero(
            (records["protocol"] == UDP) & (records["ret"] == 0) & ((records["flags"] & self._returned) != 0)
        )
        if len(rows):
            self._kept.append(records[rows[-ROWS:]])

    def _attempt_of(self, error: Array) -> Array | None:
        for kept in reversed(self._kept):
            same = np.ones(len(kept), bool)
            for name in SAME:
                same &= kept[name] == error[name]
            same &= (kept["daddr"] == error["daddr"]).all(axis=1) & (kept["saddr"] == error["saddr"]).all(
                axis=1
            )
            if same.any():
                row = kept[np.flatnonzero(same)[-1:]].copy()
                row["err"], row["ended"], row["state"] = error["err"], error["ended"], TCP_CLOSE
                row["flags"] |= self._settled
                row["phase"] = self._verdict
                return row
        return None
