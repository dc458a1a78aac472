"""The laboratory's scenarios as the reference needs them.

Rule of this file: the one place where both meet: the reference stands below the laboratory and cannot ask it.
"""

from __future__ import annotations

from collections.abc import Iterator

from callout.lab import SCENARIOS
from callout.lab.scenario import Expected
from callout.reference.book import Scene, Seen


def scenes() -> list[Scene]:
    """Every scenario."""
    return [
        Scene(
            scenario.name,
            scenario.family,
            scenario.sentence.removesuffix("."),
            tuple(seen for expected in scenario.expected for seen in attempts(expected)),
            scenario.requirements,
            scenario.address_families,
            scenario.entries,
        )
        for scenario in SCENARIOS
    ]


def attempts(expected: Expected) -> Iterator[Seen]:
    """An attempt, and the error that comes to its socket afterwards."""
    yield Seen(expected.verdict, expected.errno or "", expected.cause or "", expected.return_)
    if expected.late is not None:
        late = expected.late
        yield Seen(late.verdict, late.errno or "", late.cause or "", late.return_, late=True)
