"""What names cost: each packet of the host, with and without the programs that look at it, and the reader.

Rule: in each round every load runs once without and once with each set of programs, so that what else the machine does
falls on all alike; what is shown is the quickest of all, the difference, and the ratio.
Run as ``python -m bench.names``, as root.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import timeit
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.build import BENCH, WARNINGS, BenchError, Step
from callout import dns
from callout.btf import Btf
from callout.capture.cgroups import directory
from callout.capture.channels import PACKETS, RINGS
from callout.capture.constants import constants_for
from callout.capture.loading import Loaded, read_object
from callout.capture.tiers import NAMES, Program
from callout.narrowing import Narrowing

LOADS = {"udp": 20_000, "tcp": 10_000, "bulk": 2_000}
WHAT = {
    "udp": "64 bytes by UDP, sent and received",
    "tcp": "64 bytes by TCP, with what TCP answers",
    "bulk": "64 KiB by TCP",
}
SETS: dict[str, tuple[Program, ...]] = {
    "without": (),
    "received": NAMES[:1],
    "sent": NAMES[1:],
    "both": NAMES,
}
ASKED, SECOND, LAST = b"\3www\7example\3org\0", b"\1a\7example\3net\0", b"\4edge\3cdn\4test\0"


def answer() -> bytes:
    """An alias of two more names, with two addresses."""

    def record(owner: bytes, kind: int, data: bytes) -> bytes:
        return owner + struct.pack(">HHIH", kind, 1, 300, len(data)) + data

    return (
        struct.pack(">6H", 1, 0x8180, 1, 4, 0, 0)
        + ASKED
        + b"\0\1\0\1"
        + record(b"\xc0\x0c", dns.CNAME, SECOND)
        + record(SECOND, dns.CNAME, LAST)
        + record(LAST, dns.A, bytes([192, 0, 2, 1]))
        + record(LAST, dns.A, bytes([192, 0, 2, 2]))
    )


def generator() -> Path:
    """The load, compiled if it is out of date."""
    into = BENCH / "build"
    into.mkdir(parents=True, exist_ok=True)
    source, output = BENCH / "packets.c", into / "packets"
    flags = (*WARNINGS, "-std=gnu11", "-o", str(output), str(source))
    step = Step(output, (source,), (os.environ.get("CC", "cc"), *flags))
    if step.due():
        step.run()
    return output


def attached(programs: Sequence[Program], stack: ExitStack) -> None:
    """Loads and attaches programs at the root cgroup until the stack is left."""
    if not programs:
        return
    constants = constants_for(Narrowing(), Btf.of_object(read_object()).layout("narrowing"))
    loaded = Loaded(programs, constants, {PACKETS: RINGS[PACKETS]})
    stack.callback(loaded.close)
    with directory(None) as cgroup:
        for program in programs:
            loaded.attach(program, cgroup)


def rounds(count: int, load: Path) -> dict[tuple[str, str], list[float]]:
    """Mean ns of an exchange, by load and set of programs, once per round."""
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(count):
        for name, programs in SETS.items():
            with ExitStack() as stack:
                attached(programs, stack)
                for kind, number in LOADS.items():
                    done = subprocess.run(
                        [str(load), kind, str(number)],
                        capture_output=True,
                        text=True,
                        timeout=120,
                        check=True,
                    )
                    taken.setdefault((kind, name), []).append(float(done.stdout))
    return taken


def table(taken: dict[tuple[str, str], list[float]]) -> list[str]:
    """The quickest of all rounds, as lines."""
    lines = [f"{'':40} {'without':>9} {'received':>9} {'sent':>9} {'both':>9}  ratio"]
    for kind, what in WHAT.items():
        best = {name: min(taken[kind, name]) for name in SETS}
        base = best["without"]
        added = [best[name] - base for name in ("received", "sent", "both")]
        figures = " ".join(f"{f'{number:+.0f}':>9}" for number in added)
        lines.append(f"{what:40} {base:9.0f} {figures}  {1 + added[-1] / base:.3f}")
    return lines


def each(work: Callable[[], object], number: int = 5_000) -> float:
    """Microseconds of one call, the best of five."""
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.names", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args(argv)
    print(*table(rounds(options.rounds, generator())), sep="\n")
    message = answer()
    read = dns.read(message)
    assert read is not None
    assert len(read.addresses) == 2
    print(f"an answer read: {each(lambda: dns.read(message)):.1f} µs", end="")
    try:
        import dns.message as library
    except ImportError:
        print()
    else:
        print(f"; by dnspython: {each(lambda: library.from_wire(message), 500):.1f} µs")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError) as error:
        sys.exit(f"bench: {error}")
