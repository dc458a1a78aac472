"""The flood: 2,000,000 UDP attempts as fast as every CPU can make them; each must be a row or a counted loss.

Rule: loss is allowed here, silence is not. Exit status 1 when rows + losses differ from the attempts.
Run as ``python -m bench.flood``, as root.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from bench.build import BenchError, build
from bench.measure import Sample, sample
from bench.session import Load
from bench.tracers import UNTRACED, chosen

LOSSY = ("floor", "callout")  # those that keep a count of what they lose at this speed


def line(taken: Sample) -> str:
    """One tracer's result, for people."""
    verdict = "every attempt accounted for" if not taken.unaccounted else f"{taken.unaccounted:,} UNACCOUNTED"
    rate = taken.attempts / taken.seconds / 1e6
    share = taken.rows / taken.attempts
    return (
        f"{taken.tracer:20} {taken.attempts:,} attempts at {rate:.2f} M/s: {taken.rows:,} rows ({share:.2%})"
        f" + {taken.lost:,} lost, tracer CPU {taken.cpu:.2f} s: {verdict}"
    )


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Flood each tracer in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    parser.add_argument("--count", type=int, default=2_000_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tracers", default=",".join(LOSSY), help="beginnings of tracer names (%(default)s)")
    options = parser.parse_args(argv)
    try:
        tracers, remarks = chosen([name for name in options.tracers.split(",") if name])
    except ValueError as error:
        parser.error(f"--tracers: {error}")
    print(*remarks, sep="\n", end="\n" if remarks else "", file=sys.stderr)
    programs, load = build(), Load("udp", options.count, threads=options.threads)
    taken = [sample(t, "udp", load, programs) for t in tracers if t.name != UNTRACED]
    print(*map(line, taken), sep="\n")
    return 1 if any(one.unaccounted for one in taken) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
