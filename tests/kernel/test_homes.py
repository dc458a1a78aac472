"""Where processes live: units, slices and cgroups of both versions, made by hand as systemd and runtimes make them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callout.capture.cgroups import hierarchy, old

from .watch import finish, go, python, run, traced

pytestmark = pytest.mark.kernel

CALL = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
"""
OWN = f"callout{os.getpid()}"  # in the names of all that is made here
UNIT = f"{OWN}-web.service"
ID = "c0" * 32
OTHER = "0c" * 32


def mounted() -> Path:
    """The mount point of cgroup v2."""
    root = hierarchy()
    if root is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    return Path(root)


def first() -> Path:
    """The mount point of the v1 hierarchy that is looked at."""
    found = old()
    if found is None:
        pytest.skip("no cgroup v1 hierarchy with the controllers pids, memory or devices is mounted")
    return Path(found.mount)


@contextmanager
def groups(root: Path, *paths: str) -> Iterator[list[Path]]:
    """Cgroups with all above them, removed at the end."""
    made: list[Path] = []
    found = [root / path for path in paths]
    try:
        for place in found:
            for directory in [*reversed(place.relative_to(root).parents), place.relative_to(root)]:
                if not (root / directory).exists():
                    (root / directory).mkdir()
                    made.append(root / directory)
        yield found
    finally:
        for directory_made in reversed(made):
            if directory_made.exists():
                directory_made.rmdir()


def call_from(group: Path) -> int:
    """Lets a process in a cgroup make one attempt; its pid."""
    actor = python(CALL)
    (group / "cgroup.procs").write_text(str(actor.pid))
    assert go(actor) == 0
    return actor.pid


def pids(rows: list[dict[str, Any]]) -> list[int]:
    rows.sort(key=lambda row: row["@timestamp"])
    return [row["process"]["pid"] for row in rows]


def test_narrowed_to_a_unit_also_when_it_is_started_anew(tmp_path: Path) -> None:
    unit, other = f"{OWN}.slice/{UNIT}", f"{OWN}.slice/{OWN}-db.service"
    word = UNIT.removesuffix(".service")
    with (
        groups(mounted(), unit, other) as (web, db),
        traced(tmp_path, "-o", "ndjson", "--unit", word) as tracer,
    ):
        before = call_from(web)
        call_from(db)
        web.rmdir()  # systemd removes and makes it when a unit is restarted
        web.mkdir()
        after = call_from(web)
        (web / "inner").mkdir()  # as with Delegate=yes
        inner = call_from(web / "inner")
        (web / "inner").rmdir()
        rows, _ = finish(tracer)
    assert pids(rows) == [before, after, inner]
    assert {row["service"]["name"] for row in rows} == {UNIT}
    assert {row["connect"]["slice"] for row in rows} == {f"{OWN}.slice"}
    assert [row["connect"]["cgroup"] for row in rows] == [f"/{unit}"] * 2 + [f"/{unit}/inner"]


def test_a_unit_that_is_not_there() -> None:
    done = run(["trace", "--unit", "none-such"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("callout: there is no unit 'none-such' running here\n")


def test_narrowed_to_a_cgroup_live_and_recorded(tmp_path: Path) -> None:
    """The same rows, whether the kernel narrows or what it recorded is narrowed."""
    recorded = tmp_path / "all.ndjson"
    with groups(mounted(), f"{OWN}/in/deep", f"{OWN}/inside") as (deep, inside):
        place = str(deep.parent)
        with traced(tmp_path, "-o", "ndjson", "--cgroup", place) as narrowed:
            (tmp_path / "ready").unlink()
            wanted = f"connect.cgroup startswith /{OWN}"
            with traced(tmp_path, "-o", "ndjson", "-w", str(recorded), wanted) as tracer:
                expected = [call_from(deep), call_from(deep.parent)]
                others = [call_from(inside)]
                finish(tracer)
            rows, _ = finish(narrowed)
    assert pids(rows) == expected
    assert pids([json.loads(line) for line in recorded.read_bytes().splitlines()]) == expected + others
    for path in (place, f"{OWN}/in", f"/{OWN}/in/"):
        done = run(["trace", "--from", str(recorded), "-o", "ndjson", "--cgroup", path])
        assert done.returncode == 0, done.stderr
        assert pids([json.loads(line) for line in done.stdout.splitlines()]) == expected


def test_a_container_in_cgroup_v1_alone(tmp_path: Path) -> None:
    """As on hosts whose runtimes use v1, or beside v2 (hybrid): there the process is in the root of v2."""
    with groups(first(), f"docker/{ID}", f"{OWN}") as (container, other):
        words = ["-o", "ndjson", "--container", ID[:12]]
        with traced(tmp_path, *words) as narrowed:
            (tmp_path / "ready").unlink()
            with traced(tmp_path, "-o", "ndjson", "destination.port = 9") as tracer:
                inside, outside = call_from(container), call_from(other)
                everything, _ = finish(tracer)
            rows, _ = finish(narrowed)
    assert pids(rows) == [inside]
    (row,) = [row for row in everything if row["process"]["pid"] == inside]
    assert row["container"] == {"id": ID, "runtime": "docker"}
    assert row["connect"]["cgroup"] == f"/docker/{ID}"
    (row,) = [row for row in everything if row["process"]["pid"] == outside]
    assert "container" not in row


def test_a_container_of_cgroup_v1_that_is_gone_at_once(tmp_path: Path) -> None:
    """Made and removed while traced: its id was told when it was made."""
    root = first()
    with traced(tmp_path, "-o", "ndjson", f"container.id = {ID}") as tracer:
        with groups(root, f"docker/{ID}") as (container,):
            pid = call_from(container)
        rows, _ = finish(tracer)
    assert pids(rows) == [pid]


def test_a_unit_of_cgroup_v2_beside_a_container_of_v1(tmp_path: Path) -> None:
    """The container is the more telling one."""
    with (
        groups(first(), f"docker/{ID}") as (container,),
        groups(mounted(), f"{OWN}.slice/{UNIT}") as (unit,),
        traced(tmp_path, "-o", "ndjson", "destination.port = 9") as tracer,
    ):
        actor = python(CALL)
        for group in (container, unit):
            (group / "cgroup.procs").write_text(str(actor.pid))
        assert go(actor) == 0
        plain = call_from(unit)
        rows, _ = finish(tracer)
    told = {row["process"]["pid"]: row for row in rows}
    assert told[actor.pid]["container"]["id"] == ID
    assert told[plain]["service"]["name"] == UNIT


def test_a_cgroup_that_a_container_of_v1_made_for_itself(tmp_path: Path) -> None:
    """As a systemd in it does: the container is above, and no less telling than the unit of its runtime's daemon."""
    with (
        groups(first(), f"docker/{ID}/init.scope/a") as (inner,),
        groups(mounted(), f"{OWN}.slice/{UNIT}", f"{OWN}.slice/docker-{OTHER}.scope/b/c") as (unit, nested),
        traced(tmp_path, "-o", "ndjson", "--container", ID[:12]) as narrowed,
    ):
        (tmp_path / "ready").unlink()
        with traced(tmp_path, "-o", "ndjson", "destination.port = 9") as tracer:
            beside, below = python(CALL), python(CALL)
            for actor, place in ((beside, unit), (below, nested)):
                for group in (inner, place):
                    (group / "cgroup.procs").write_text(str(actor.pid))
                assert go(actor) == 0
            everything, _ = finish(tracer)
        rows, _ = finish(narrowed)
    assert pids(rows) == [beside.pid]
    told = {row["process"]["pid"]: row for row in everything}
    assert told[beside.pid]["container"]["id"] == ID
    assert told[beside.pid]["connect"]["cgroup"] == f"/docker/{ID}/init.scope/a"
    assert told[below.pid]["container"]["id"] == OTHER, "where both tell one, it is that of v2"
