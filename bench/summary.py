"""From samples to figures: medians over rounds, differences and ratios within a round.

Rule: pure. A sample is compared only with the untraced sample of its own workload and round, because the
machine drifts between rounds; the median is taken last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Rest, Sample
from bench.tracers import UNTRACED


@dataclass(frozen=True)
class Cell:
    """One tracer under one workload, over all rounds."""

    p50_ns: float
    added_ns: float  # p50 minus the untraced p50 of the same round
    throughput: float  # attempts per second, as a share of the untraced ones
    cpu_per_million: float  # tracer CPU s per 1,000,000 attempts, start-up not included
    cpu_share: float  # of one CPU, while the load ran
    cpu_start: float  # s, once
    peak_kib: int  # the highest round
    attempts: int  # all rounds together, as the next three
    rows: int
    lost: int
    unaccounted: int


def summarise(samples: Sequence[Sample]) -> dict[tuple[str, str], Cell]:
    """Cells by (tracer, workload); a sample whose round has no untraced one is left out."""
    base = {(s.workload, s.round): s for s in samples if s.tracer == UNTRACED}
    pairs: dict[tuple[str, str], list[tuple[Sample, Sample]]] = {}
    for sample in samples:
        if untraced := base.get((sample.workload, sample.round)):
            pairs.setdefault((sample.tracer, sample.workload), []).append((sample, untraced))
    return {key: _cell(found) for key, found in pairs.items()}


def _cell(pairs: list[tuple[Sample, Sample]]) -> Cell:
    mine = [sample for sample, _ in pairs]
    return Cell(
        p50_ns=median(s.p50_ns for s in mine),
        added_ns=median(s.p50_ns - u.p50_ns for s, u in pairs),
        throughput=median((s.attempts / s.seconds) / (u.attempts / u.seconds) for s, u in pairs),
        cpu_per_million=median(s.cpu / s.attempts * 1e6 for s in mine),
        cpu_share=median(s.cpu / s.seconds for s in mine),
        cpu_start=median(s.cpu_start for s in mine),
        peak_kib=max(s.peak_kib for s in mine),
        attempts=sum(s.expected for s in mine),
        rows=sum(s.rows for s in mine),
        lost=sum(s.lost for s in mine),
        unaccounted=sum(abs(s.unaccounted) for s in mine),
    )


def summarise_rests(rests: Sequence[Rest]) -> dict[str, Rest]:
    """The medians of each tracer's rests, by tracer."""
    by_tracer: dict[str, list[Rest]] = {}
    for rest in rests:
        by_tracer.setdefault(rest.tracer, []).append(rest)
    return {
        name: Rest(
            name,
            median(r.ready for r in mine),
            median([r.first_row for r in mine if r.first_row is not None])
            if all(r.first_row is not None for r in mine)
            else None,
            median(r.idle_share for r in mine),
        )
        for name, mine in by_tracer.items()
    }
