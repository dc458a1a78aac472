"""What seeing the other ways out costs the plain ones: the same load with those programs attached and without them.

    PYTHONPATH=src python -m bench.paths [--rounds 9] [--count 100000] [--only udp,send]

Rule: in every round each load runs once under each variant, in turning order, so that whatever the machine does
meanwhile meets them all; a figure is the median over the rounds of that round's ratio. Nobody else is traced: the
trace is narrowed to the load. Exit status 1 when a plain way is more than LIMIT dearer. As root.

`bare` has the entry and exit of connect(2) and what follows a TCP socket; `paths` is what a trace attaches, with
io_uring, sends without connect, Fast Open, MPTCP, SCTP; the others add what their option does.
"""

from __future__ import annotations

import argparse
import select
import sys
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench.build import BenchError, Programs, build
from bench.session import Load, attached
from bench.tracers import UNTRACED, chosen
from callout.capture.kernel import KernelSource
from callout.capture.tiers import SENT_BY_FUNCTION
from callout.narrowing import Narrowing

LIMIT = 1.03
PATHS = frozenset(
    {"uring_submit_req", "uring_submit_sqe", "uring_complete", "datagram_sendmsg4", "datagram_sendmsg6"}
    | {program.name for program in SENT_BY_FUNCTION}
)
LOADS = {  # share of --count; those for which LIMIT holds
    "udp": (1.0, True),
    "tcp": (0.2, True),
    "refused": (0.2, True),
    "unix": (0.5, True),
    "send": (4.0, True),
    "send-udp": (4.0, False),
    "sendto-udp": (4.0, False),
    "sendto-unix": (2.0, False),
    "getpid": (20.0, False),
}


class Variant(NamedTuple):
    """What a trace attaches."""

    name: str
    without: frozenset[str]
    also: tuple[str, ...]


VARIANTS = (
    Variant("bare", PATHS, ()),
    Variant("paths", frozenset(), ()),
    Variant("--sends", frozenset(), ("sends",)),
    Variant("--ia32", frozenset(), ("ia32",)),
)


def take(variant: Variant, mode: str, count: int, tier: str | None, programs: Programs) -> int:
    """One load under one variant: its median in nanoseconds. Raises BenchError."""
    ((untraced,), _) = chosen([UNTRACED])
    with attached(untraced, Load(mode, count), programs) as session:
        narrowing = Narrowing(pids=frozenset({session.load.pid}))
        source = KernelSource(narrowing, tier, urgent=True, also=variant.also, without=variant.without)
        with source:
            session.go()
            assert session.load.stdout is not None
            while not select.select([session.load.stdout], [], [], 0)[0]:
                if not len(source.read()):
                    source.wait()
            report = session.report(30.0)
            lost = source.counters().lost
        session.stop()
    if lost:
        raise BenchError(f"{mode}, {variant.name}: {lost} records were lost; lower --count")
    return int(report["p50_ns"])


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Measures and prints; 1 where a plain way is dearer than LIMIT allows."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.paths",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(LOADS), help="loads, of: %(default)s")
    kinds = ",".join(variant.name for variant in VARIANTS)
    parser.add_argument("--variants", default=kinds, help="of: %(default)s; bare is always there")
    parser.add_argument("--tier", help="instead of the best that loads")
    options = parser.parse_args(argv)
    names = options.only.split(",")
    if unknown := set(names) - set(LOADS):
        parser.error(f"--only: no load is called {', '.join(sorted(unknown))}; of: {', '.join(LOADS)}")
    wanted = {"bare", *options.variants.split(",")}
    variants = [variant for variant in VARIANTS if variant.name in wanted]
    if unknown := wanted - {variant.name for variant in VARIANTS}:
        parser.error(f"--variants: none is called {', '.join(sorted(unknown))}; of: {kinds}")
    programs = build()
    figures: dict[tuple[str, str], list[int]] = {}
    for number in range(options.rounds):
        for mode in names:
            turn = number % len(variants)
            for variant in (*variants[turn:], *variants[:turn]):
                taken = take(
                    variant, mode, max(1, int(options.count * LOADS[mode][0])), options.tier, programs
                )
                figures.setdefault((mode, variant.name), []).append(taken)
    too_dear = False
    print(f"{'load':12} {'bare':>9}" + "".join(f"{v.name:>18}" for v in variants[1:]))
    for mode in names:
        bare = figures[mode, "bare"]
        cells = []
        for variant in variants[1:]:
            pairs = list(zip(figures[mode, variant.name], bare, strict=True))
            ratio = median(one / other for one, other in pairs)
            more = median(one - other for one, other in pairs)
            mark = variant.name == "paths" and LOADS[mode][1] and ratio > LIMIT
            too_dear |= mark
            cells.append(f"{ratio:9.3f}{'!' if mark else ' '}{more:+6.0f} ns"[:18].rjust(18))
        print(f"{mode:12} {median(bare):6.0f} ns" + "".join(cells))
    return int(too_dear)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
