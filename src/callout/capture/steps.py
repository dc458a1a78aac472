"""What happened to attempts between their SYN and their end, kept until somebody asks.

Rule of this file: a handler for ``struct step`` records (``channels``); it keeps those of the newest attempts, and
gives them with times that fit `@timestamp`.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from typing import NamedTuple

from callout.batch import Array
from callout.capture.columns import clocks
from callout.capture.identity import drop_reason
from callout.story import Packet, packet_text
from callout.story.model import Row

ATTEMPTS = 8192  # whose steps are kept
EACH = 64  # steps of one attempt: tcp_syn_retries is far below


class Happened(NamedTuple):
    """One step. ``when``: UTC in nanoseconds; ``what``: syn, rst, drop, icmp.

    ``reason``: why the packet was dropped, as the kernel names it. ``icmp``: version, type, code and sender.
    """

    when: int
    what: str
    reason: str = ""
    icmp: tuple[int, int, int, str] | None = None


class Steps:
    """Takes records (``add``) and gives those of one attempt (``of``)."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, list[Happened]] = OrderedDict()
        self._names: dict[int, str] = {1: "syn", 2: "rst", 3: "drop", 4: "icmp"}  # enum step_kind

    def add(self, records: Array) -> None:
        """Takes records; the array may be used again afterwards."""
        _, offset = min(clocks() for _ in range(3))
        for record in records:
            kept = self._kept.setdefault(int(record["id"]), [])
            if len(kept) < EACH:
                kept.append(self._step(record, offset))
        while len(self._kept) > ATTEMPTS:
            self._kept.popitem(last=False)

    def _step(self, record: Array, offset: int) -> Happened:
        what = self._names.get(int(record["what"]), "?")
        when = int(record["when"]) + offset
        if what == "drop":
            return Happened(when, what, drop_reason(int(record["reason"])))
        if what != "icmp":
            return Happened(when, what)
        version = int(record["version"])
        raw = record["from"].tobytes()
        sender = (
            socket.inet_ntop(socket.AF_INET6, raw)
            if version == 6
            else socket.inet_ntop(socket.AF_INET, raw[:4])
        )
        return Happened(
            when, what, icmp=(version, int(record["icmp_type"]), int(record["icmp_code"]), sender)
        )

    def of(self, attempt: int) -> list[Happened]:
        """The steps of an attempt so far, oldest first."""
        return list(self._kept.get(attempt, ()))

    def packets(self, row: Row) -> tuple[Packet, ...]:
        """The same for a row, in words and with times from its beginning."""
        return tuple(
            Packet(max(0, step.when - row["@timestamp"]), packet_text(step.what, row, step.reason, step.icmp))
            for step in self.of(row["connect.id"])
        )
