"""From a row and what was looked up to the whole story.

Rule of this file: it puts together; what is sure is decided in ``weigh``, what is said in ``words``.
"""

from __future__ import annotations

from collections.abc import Sequence

from callout.computed import SynSchedule
from callout.story.model import Look, Packet, Row, Story
from callout.story.steps import steps_of
from callout.story.weigh import evidence_of, weigh
from callout.story.words import advice, destination, possible, sentence, values, words_of
from callout.terminal import escape


def headline(row: Row) -> str:
    """Who tried what, and what came of it."""
    v = values(row)
    transport = row.get("network.transport")
    kind = f" ({transport})" if transport else ""
    error = f" ({row['connect.errno']})" if "connect.errno" in row else ""
    verdict = str(row.get("connect.verdict", "?")).replace("_", " ")
    return f"{v['who']} → {escape(destination(row))}{kind}: {verdict}{error}"


def tell(
    row: Row,
    looks: Sequence[Look] = (),
    packets: Sequence[Packet] = (),
    schedule: SynSchedule | None = None,
    prefix: str = "",
) -> Story:
    """The story of one failed attempt.

    ``row``: flat, with the fields of ``callout.schema``. ``looks``: what the host told afterwards. ``packets``: what
    the kernel side saw of its packets. ``schedule``: when SYNs go out under the settings that held. ``prefix``: put
    before each command, to enter the network namespace of the process.
    """
    cause, confidence = weigh(row, looks)
    otherwise = words_of(cause).otherwise if confidence == "likely" else ""
    return Story(
        row=row,
        headline=headline(row),
        cause=cause,
        confidence=confidence,
        sentence=sentence(cause, row),
        evidence=tuple(evidence_of(row)),
        possible=(otherwise,) if otherwise else possible(row) if confidence == "unknown" else (),
        steps=steps_of(row, packets, schedule),
        looks=tuple(looks),
        advice=advice(cause, row, prefix),
    )
