"""Which cgroups are the containers, pods and units that were asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from callout.batch import Batch, Coded
from callout.capture.cgroups import hierarchy
from callout.enrich import Options
from callout.enrich.cgroup_paths import containers_of, home
from callout.enrich.cgroups import Cgroups
from callout.enrich.chosen import Chosen, mask, narrowed
from callout.enrich.container import Container, Pod
from callout.enrich.registry import Registry
from callout.enrich.workload import Workloads
from callout.errors import UsageError
from callout.narrowing import Narrowing, compile_wanted
from callout.rows import from_rows

WEB, SHOP, NODE = "a1" * 32, "b2" * 32, "c3" * 32
UID = "5b3d8a1e-7c0f-4d2b-9a6e-1f2e3d4c5b6a"
SAID = {
    WEB: Container(WEB, "web", "box:1", "docker"),
    SHOP: Container(SHOP, "app", "box:2", "containerd", pod=Pod("shop", "prod", UID)),
    NODE: Container(NODE, "kind-node", "node:1", "docker"),
}
PATHS = {
    "web": f"/docker/{WEB}",
    "shop": f"/docker/{NODE}/kubepods/burstable/pod{UID}/{SHOP}",
    "node": f"/docker/{NODE}/system.slice/containerd.service",
    "cron": "/system.slice/cron.service",
    "root": "/",
}


def chosen(**words: str) -> Chosen:
    return Chosen(Narrowing(**{name: frozenset(value.split()) for name, value in words.items()}), SAID.get)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"containers": "web"}, {"web"}),
        ({"containers": WEB}, {"web"}),
        ({"containers": WEB[:12]}, {"web"}),
        ({"containers": "web app"}, {"web", "shop"}),
        ({"containers": "kind-node"}, {"shop", "node"}),
        ({"containers": "no"}, set()),
        ({"pods": "shop"}, {"shop"}),
        ({"pods": "prod/shop"}, {"shop"}),
        ({"pods": "test/shop"}, set()),
        ({"pods": UID}, {"shop"}),
        ({"units": "cron"}, {"cron"}),
        ({"units": "cron.service containerd"}, {"cron", "node"}),
        ({"units": "containerd", "containers": "kind-node"}, {"node"}),
        ({"units": "cron", "containers": "web"}, set()),
    ],
    ids=str,
)
def test_what_is_meant(words: dict[str, str], expected: set[str]) -> None:
    asked = chosen(**words)
    assert {
        name for name, path in PATHS.items() if asked.matches(home(path), containers_of(path))
    } == expected


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (Narrowing(containers=frozenset({"web"})), [0]),
        (Narrowing(containers=frozenset({"a1a1"})), [0]),
        (Narrowing(pods=frozenset({"prod/shop"})), [1]),
        (Narrowing(pods=frozenset({"test/shop"})), []),
        (Narrowing(units=frozenset({"cron"})), [2]),
        (Narrowing(units=frozenset({"cron"}), containers=frozenset({"web"})), []),
    ],
    ids=str,
)
def test_the_same_over_a_recording(narrowing: Narrowing, expected: list[int]) -> None:
    rows = [
        {"container.id": WEB, "container.name": "web"},
        {"container.id": SHOP, "orchestrator.resource.name": "shop", "orchestrator.namespace": "prod"},
        {"service.name": "cron.service"},
    ]
    compiled = compile_wanted(narrowing, "", live=False)
    assert compiled.mask is not None
    found = compiled.mask(Batch(len(rows), from_rows(rows)))
    assert np.flatnonzero(found).tolist() == expected


def workloads() -> Workloads:
    """One that knows PATHS by the numbers 1, 2, ..., and SAID."""
    registry, cgroups = Registry([]), Cgroups(None)
    for container in SAID.values():
        registry.learn(container)
    for number, path in enumerate(PATHS.values(), 1):
        cgroups.made(number, path)
    return Workloads(Options(), registry, cgroups)


def batch() -> Batch:
    key = Coded(np.array([0, 1, 2, 3, 4, 0, 5], np.int32), [1, 2, 3, 4, 5, 77])
    return Batch(7, {}, keys={"cgroup": key})


def test_rows_are_picked_by_their_cgroup() -> None:
    found = mask(chosen(containers="web kind-node"), workloads())(batch())
    assert found.tolist() == [True, True, True, False, False, True, False]


def test_columns_say_what_is_known() -> None:
    rows, about = batch(), workloads()
    about.add(rows)
    told = list(rows.rows())
    assert told[0] == told[5] == {
        "container.id": WEB, "container.name": "web", "container.image.name": "box:1",
        "container.runtime": "docker", "connect.cgroup": PATHS["web"],
    }  # fmt: skip
    assert told[1] == {
        "container.id": SHOP, "container.name": "app", "container.image.name": "box:2",
        "container.runtime": "containerd", "orchestrator.type": "kubernetes", "orchestrator.namespace": "prod",
        "orchestrator.resource.id": UID, "orchestrator.resource.name": "shop", "orchestrator.resource.type": "pod",
        "connect.cgroup": PATHS["shop"],
    }  # fmt: skip
    assert told[3] == {
        "service.name": "cron.service", "connect.slice": "system.slice", "connect.cgroup": PATHS["cron"],
    }  # fmt: skip
    assert told[4] == {"connect.cgroup": "/"}
    assert told[6] == {}, "a cgroup that was gone before it was seen"
    about.registry.learn(Container(WEB, "renamed"))
    again = batch()
    about.add(again)
    assert next(again.rows())["container.name"] == "renamed"
    assert {table.name for table in about.memory()} >= {"cgroups", "containers"}


def test_new_cgroups_come_with_what_an_older_record_left_behind() -> None:
    about = workloads()
    records = np.zeros(1, [("id", "u8"), ("path", "S64")])
    records["id"], records["path"] = 9, b"/system.slice/new.service\0old"
    about.feed("RECORD_CGROUP", records)
    work = about.work(9)
    assert work is not None
    assert work.home.unit == "new.service"


@pytest.fixture
def made() -> Iterator[Path]:
    """A cgroup as Docker would make it, with another inside."""
    root = hierarchy()
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no cgroup v2 hierarchy that we may write to")
    place = Path(root) / f"callout-test-{os.getpid()}"
    (place / f"docker-{WEB}.scope/inner").mkdir(parents=True)
    try:
        yield place / f"docker-{WEB}.scope"
    finally:
        for directory in (place / f"docker-{WEB}.scope/inner", place / f"docker-{WEB}.scope", place):
            directory.rmdir()


def test_the_kernel_side_gets_the_topmost_cgroups_and_what_is_newer(made: Path) -> None:
    wanted = Narrowing(containers=frozenset({"web"}))
    found = narrowed(wanted, Chosen(wanted, SAID.get), (hierarchy(), None))
    assert found.below == (made.stat().st_ino,)
    assert found.newer >= (made / "inner").stat().st_ino


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Narrowing(containers=frozenset({"web", "none"})), "there is no container 'none' running here"),
        (Narrowing(pods=frozenset({"none"})), "there is no pod 'none' running here"),
        (Narrowing(units=frozenset({"none-such-unit"})), "there is no unit 'none-such-unit' running here"),
    ],
)
def test_what_does_not_exist_is_refused(made: Path, wanted: Narrowing, told: str) -> None:
    with pytest.raises(UsageError) as error:
        narrowed(wanted, Chosen(wanted, SAID.get), (hierarchy(), None))
    assert error.value.message == told
    assert "use a filter: " in error.value.remedy
