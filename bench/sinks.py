"""What the sinks cost per row, beside the usual ways to write NDJSON in the same run.

    PYTHONPATH=src python -m bench.sinks [--rows 10000] [--repeat 30]

Prints nanoseconds of CPU per row (best of the repeats: others may be using the machine) and the ratio to
json.dumps.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from callout.batch import Batch, Coded, Column, Plain
from callout.schema import nest
from callout.sinks import Target, open_sink


def sample(count: int, seed: int = 1) -> Batch:
    """Attempts like a busy host's: 40 processes, 200 destinations, few verdicts; ports, times, ids vary."""
    random = np.random.default_rng(seed)

    def pick(values: list[Any], codes: Any = None) -> Coded:
        return Coded(
            random.integers(0, len(values), count).astype(np.int32) if codes is None else codes, values
        )

    process = random.integers(0, 40, count).astype(np.int32)
    peer = random.integers(0, 200, count).astype(np.int32)
    outcome = random.choice(4, count, p=[0.9, 0.05, 0.03, 0.02]).astype(np.int32)
    failed = np.where(outcome == 0, -1, outcome - 1).astype(np.int32)
    same = np.zeros(count, np.int32)
    now = 1_790_000_000_000_000_000
    columns: dict[str, Column] = {
        "@timestamp": Plain((now + np.cumsum(random.integers(1_000, 90_000, count))).view("datetime64[ns]")),
        "event.kind": Coded(same, ["event"]),
        "event.category": Coded(same, [["network"]]),
        "event.type": pick(
            [["connection", "start"], ["connection", "denied"]], (outcome > 0).astype(np.int32)
        ),
        "event.action": Coded(same, ["connect"]),
        "event.outcome": pick(["success", "failure"], (outcome > 0).astype(np.int32)),
        "event.duration": Plain(random.integers(10_000, 90_000_000, count)),
        "host.name": Coded(same, ["host-1"]),
        "process.pid": Plain(4000 + process.astype(np.uint32)),
        "process.thread.id": Plain(4000 + process.astype(np.uint32)),
        "process.parent.pid": Plain(1 + process.astype(np.uint32)),
        "process.name": pick([f"worker-{i}" for i in range(40)], process),
        "process.executable": pick([f"/usr/lib/service/worker-{i}" for i in range(40)], process),
        "process.start": Plain((now - process.astype(np.int64) * 10**9).view("datetime64[ns]")),
        "process.entity_id": pick([f"{i:x}-5f3a" for i in range(40)], process),
        "user.id": Plain(process.astype(np.uint32) % 5),
        "user.name": pick(["root", "www-data", "app", "cron", "nobody"], process % np.int32(5)),
        "group.id": Plain(process.astype(np.uint32) % 5),
        "source.ip": Coded(same, ["10.0.0.17"]),
        "source.port": Plain(random.integers(32768, 60999, count).astype(np.uint16)),
        "destination.ip": pick([f"93.184.{i}.34" for i in range(200)], peer),
        "destination.port": Plain(np.where(peer % 3, 443, 80).astype(np.uint16)),
        "network.transport": Coded(same, ["tcp"]),
        "network.type": Coded(same, ["ipv4"]),
        "connect.id": Plain((77 << 41) + np.arange(count).astype(np.uint64)),
        "connect.entry": Coded(same, ["connect"]),
        "connect.fd": Plain(random.integers(3, 40, count).astype(np.int32)),
        "connect.addrlen": Plain(np.full(count, 16, np.int32)),
        "connect.family": Coded(same, ["AF_INET"]),
        "connect.type": Coded(same, ["SOCK_STREAM"]),
        "connect.protocol": Plain(np.full(count, 6, np.uint16)),
        "connect.sockaddr": pick(
            [
                f'{{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("93.184.{i}.34")}}'
                for i in range(200)
            ],
            peer,
        ),
        "connect.nonblocking": Plain(process % 2 == 0),
        "connect.return": Plain(np.where(process % 2 == 0, -115, 0).astype(np.int32)),
        "connect.verdict": pick(["established", "refused", "timed_out", "unreachable"], outcome),
        "connect.errno": Coded(failed, ["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH"]),
        "connect.cause": Coded(failed, ["rst_from_peer", "syn_unanswered", "no_route"]),
        "connect.evidence": Coded(failed, [{"rst": True}, {"syns": 7}, {"state": 7}]),
        "connect.cookie": Plain(np.arange(count).astype(np.uint64) + 90_000),
        "connect.netns": Plain(np.full(count, 4026531840, np.uint32)),
    }
    return Batch(count, columns)


def best(work: Callable[[], object], repeat: int) -> int:
    """Least CPU nanoseconds of one call."""

    def once() -> int:
        start = time.process_time_ns()
        work()
        return time.process_time_ns() - start

    return min(once() for _ in range(repeat))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=30)
    args = parser.parse_args()
    batch = sample(args.rows)
    results: dict[str, int] = {}
    with open("/dev/null", "wb") as null:
        for name in ("ndjson", "arrow", "table", "strace"):
            sink = open_sink(name, Target(null))
            repeat = args.repeat if name in ("ndjson", "arrow") else 3

            def write(sink: Any = sink) -> None:
                sink.write(batch)

            results[name] = best(write, repeat)
    rows = [nest(row) for row in batch.rows()]
    results["json.dumps of ready dicts"] = best(lambda: [json.dumps(row) for row in rows], 3)
    results["rows + json.dumps"] = best(lambda: [json.dumps(nest(row)) for row in batch.rows()], 2)
    for module in ("msgspec.json", "orjson"):
        if importlib.util.find_spec(module.partition(".")[0]):
            encode = getattr(importlib.import_module(module), {"orjson": "dumps"}.get(module, "encode"))
            results[f"{module} of ready dicts"] = best(lambda e=encode: [e(row) for row in rows], 3)  # type: ignore[misc]
    base = results["rows + json.dumps"]
    buffer = io.BytesIO()
    open_sink("ndjson", Target(buffer)).write(batch)
    print(f"{args.rows} rows, {len(batch.names)} columns, {buffer.tell() // args.rows} bytes of JSON a row")
    for name, ns in results.items():
        print(f"{name:30} {ns / args.rows:8,.0f} ns/row   {base / ns:6.1f} x")


if __name__ == "__main__":
    main()
