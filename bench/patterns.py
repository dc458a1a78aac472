"""What recognising client habits costs per row, for floods of plain attempts and for the habits themselves.

    PYTHONPATH=src python -m bench.patterns [--rows 8192] [--repeat 200]

Prints nanoseconds of CPU per row (best of the repeats). The columns that it reads are made before: whoever
writes the rows needs them anyway.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.sinks import best
from callout.batch import Batch, Coded, Column, Plain
from callout.pattern import Patterns

LIMIT = 50  # ns a row: what a plain attempt may cost


def flood(
    count: int,
    transport: list[str],
    verdict: str,
    *,
    nonblocking: bool = False,
    result: int = 0,
    families: tuple[str, ...] = ("ipv4",),
    peers: int = 200,
    apart: bool = False,
    ports: tuple[int, int] = (443, 80),
    seed: int = 1,
) -> Batch:
    """Attempts of 40 threads of 8 processes, all with one verdict.

    ``transport`` alternates; with ``apart`` the port does too.
    """
    random = np.random.default_rng(seed)
    thread = random.integers(0, 40, count)
    peer = random.integers(0, peers, count).astype(np.int32)
    family = (peer % len(families)).astype(np.int32)
    ips = [f"10.0.{i >> 8}.{i & 255}" if families[i % len(families)] == "ipv4" else f"2001:db8::{i:x}"
           for i in range(peers)]  # fmt: skip
    same = np.zeros(count, np.int32)
    began = 1_790_000_000_000_000_000 + np.cumsum(random.integers(500, 1500, count))
    columns: dict[str, Column] = {
        "@timestamp": Plain(began.view("datetime64[ns]")),
        "event.duration": Plain(random.integers(1000, 90_000, count)),
        "process.pid": Plain((4000 + thread // 5).astype(np.uint32)),
        "process.thread.id": Plain((4000 + thread).astype(np.uint32)),
        "destination.ip": Coded(peer, ips),
        "destination.port": Plain(
            (np.where(peer % 3, *ports) + (apart and np.arange(count) % 2)).astype(np.uint16)
        ),
        "destination.address": Coded(np.full(count, -1, np.int32), []),
        "network.transport": Coded((np.arange(count) % len(transport)).astype(np.int32), transport),
        "network.type": Coded(family, list(families)),
        # a descriptor for each peer: one that went from address to address would be a resolver's loop
        "connect.fd": Plain(peer + np.int32(3)),
        "connect.nonblocking": Plain(np.full(count, nonblocking)),
        "connect.return": Plain(np.full(count, result, np.int32)),
        "connect.verdict": Coded(same, [verdict]),
        "connect.errno": Coded(same - 1, []),
        "connect.cause": Coded(same - 1, []),
        "connect.cookie": Plain(np.arange(count).astype(np.uint64) + 90_000),
    }
    return Batch(count, columns)


def floods(count: int) -> dict[str, Batch]:
    """Plain attempts of every kind that could be taken for a habit."""
    both = ("ipv4", "ipv6")
    return {
        "UDP": flood(count, ["udp"], "associated"),
        "UDP, every peer its own": flood(count, ["udp"], "associated", peers=count),
        "UDP, non-blocking": flood(count, ["udp"], "associated", nonblocking=True),
        "UDP, non-blocking, DNS": flood(count, ["udp"], "associated", nonblocking=True, ports=(53, 53)),
        "UDP, both families": flood(count, ["udp"], "associated", families=both),
        "TCP": flood(count, ["tcp"], "established"),
        "TCP, non-blocking": flood(count, ["tcp"], "established", nonblocking=True, result=-115),
        "TCP, refused": flood(count, ["tcp"], "refused", result=-111),
        "UDP and TCP": flood(count, ["udp", "tcp"], "unreachable", apart=True),
        "UDP and TCP to the same: probes": flood(count, ["udp", "tcp"], "unreachable"),
        "Unix, no such path": flood(count, ["unix"], "unreachable", result=-2),
    }


def cost(batch: Batch, repeat: int) -> float:
    """CPU nanoseconds per row."""
    patterns = Patterns()

    def mark() -> None:
        patterns.mark(Batch(len(batch), {name: batch.column(name) for name in batch.names}))

    return best(mark, repeat) / len(batch)


def main() -> None:
    """Measures and prints; a plain attempt that costs more than LIMIT is marked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--repeat", type=int, default=200)
    args = parser.parse_args()
    for name, batch in floods(args.rows).items():
        ns = cost(batch, args.repeat)
        print(f"{name:32} {ns:6.1f} ns/row{'   more than ' + str(LIMIT) if ns > LIMIT else ''}")


if __name__ == "__main__":
    main()
