"""Tables stay within their bounds whoever fills them, and say what they take."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable

import pytest

from callout.capture.loading import Map
from callout.doctor import memory
from callout.enrich import Options
from callout.enrich.cgroups import Cgroups
from callout.enrich.container import Container
from callout.enrich.images import Image, Root, Spaces, weight
from callout.enrich.kept import Weighed
from callout.enrich.registry import Registry
from callout.enrichment import Enrichment
from callout.footprint import Table, table


def test_the_oldest_go_where_entries_or_bytes_are_too_many() -> None:
    kept: Weighed[int, str] = Weighed(room=3, most=100)
    for number in range(5):
        assert kept.put(number, str(number), 10) == str(number)
    assert list(kept) == [2, 3, 4]
    kept.refresh(2)
    kept.put(5, "5", 85)
    assert (list(kept), kept.values()) == ([2, 5], ["2", "5"])
    kept.put(5, "again", 20)
    assert kept.table("x") == Table("x", 2, 3, 30, 100)
    kept.put(6, "alone", 1000)
    assert (list(kept), 5 in kept, kept.get(5), len(kept)) == ([6], False, None, 1)
    kept.pop(6)
    kept.pop(6)
    assert kept.table("x").bytes == 0


def image(args: list[str]) -> Image:
    space, root = Spaces(1, 1, 1, 1), Root(1, 1, 1)
    return Image("x", "/" + "x" * 50, False, False, None, args, False, None, 1, None, space, root)


@pytest.mark.parametrize("count", [1, 20, 1300])
def test_what_a_process_runs_weighs_what_it_takes(count: int) -> None:
    """Arguments are many small objects, which a hostile process has thousands of."""

    def make(number: int) -> tuple[Image, int]:
        made = image([f"{number % 10}{i % 10}" + "x" * (number % 5) for i in range(count)])
        return made, weight(made)

    used, weights = measured(make, 200)
    assert used / 2 < weights < used * 2


def test_containers_weigh_what_they_take() -> None:
    """Labels are up to whoever starts a container."""
    registry = Registry([])

    def make(number: int) -> tuple[None, int]:
        labels = {f"label.{number}.{i}": f"{i}".ljust(300) for i in range(50)}
        registry.learn(Container(f"{number:064}", f"name-{number}", "image", "docker", labels))
        return None, 0

    used, _ = measured(make, 200)
    assert used / 2 < registry.memory()[0].bytes < used * 2
    for number in range(3000):
        make(number)
    assert registry.memory()[0].bytes <= registry.memory()[0].most_bytes
    assert len(registry) < 3000


def test_cgroups_weigh_what_they_take() -> None:
    cgroups = Cgroups(None)

    def make(number: int) -> tuple[None, int]:
        cgroups.made(number + (1 << 40), f"/{number:08}" + "x" * 300)
        return None, 0

    used, _ = measured(make, 2000)
    assert used / 2 < cgroups.memory().bytes < used * 2
    for number in range(30000):
        cgroups.made(number, f"/{number}" + "x" * 4000)
    assert cgroups.memory().bytes <= cgroups.memory().most_bytes


def measured(make: Callable[[int], tuple[object, int]], count: int) -> tuple[int, int]:
    """Bytes that ``make`` took for numbers below ``count``, and the sum of the weights that it told."""
    make(-1)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = [make(number) for number in range(count)]
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return used, sum(weight for _, weight in made)


def test_every_table_of_an_enrichment_has_a_bound() -> None:
    tables = Enrichment(Options(hash=True)).parts[1].memory()
    assert {one.name for one in tables} >= {"cgroups", "containers"}
    assert all(0 <= one.entries <= one.most and 0 <= one.bytes <= one.most_bytes for one in tables)
    assert table("t", 2, 10, 100, longest=50) == Table("t", 2, 10, 200, 1500)


LINES = [
    memory.Line("table", "names", 7, 1000, 700, 2_000_000),
    memory.Line("table", "more", 1, 1, 1 << 20, 1 << 20),
    memory.Line("ring", "ring", None, None, 16 << 20, 16 << 20),
    memory.Line("map", "flights (hash)", None, 32768, 2048, None),
    memory.Line("process", "resident memory", None, None, 100 << 20, None),
]


def test_for_people() -> None:
    assert memory.screen(LINES).splitlines() == [
        "tables of this process (Python's are estimates)",
        "                     entries         of         now     at most",
        "  names                    7      1,000       700 B     1.9 MiB",
        "  more                     1          1     1.0 MiB     1.0 MiB",
        "  all                                       1.0 MiB     2.9 MiB",
        "",
        "rings in the kernel",
        "  ring                                     16.0 MiB",
        "  all                                      16.0 MiB",
        "",
        "maps in the kernel, with the entries that they may have",
        "  flights (hash)                 32,768     2.0 KiB",
        "  all                                       2.0 KiB",
        "",
        "this process",
        "  resident memory                         100.0 MiB",
        "",
        "`kill -USR1 PID` makes a running `callout trace` tell the same of itself, on its standard error.",
    ]


def test_for_programs() -> None:
    first, *_ = memory.ndjson(LINES).splitlines()
    assert json.loads(first) == {
        "kind": "table", "name": "names", "entries": 7, "most": 1000, "bytes": 700, "most_bytes": 2_000_000,
    }  # fmt: skip


def test_what_the_kernel_says() -> None:
    status = "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n"
    assert memory.resident(status) == (1_024_000, 2_048_000)
    found = memory.lines(
        [], [Map("a1.rodata", 2, 1, 4, 8, 4096), Map("r", 27, 4096, 0, 0, 9000)], memory.Resident(1, 2)
    )
    assert [(line.kind, line.name) for line in found[:2]] == [("ring", "r"), ("map", ".rodata (array)")]
