"""Cgroup ids to paths, with real cgroups where this host lets us make one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from callout.capture.cgroups import hierarchy, old
from callout.enrich import cgroups
from callout.enrich.cgroups import V1, Cgroups, below, by_handle, by_walk


@pytest.fixture
def made() -> Iterator[Path]:
    """A cgroup of our own with another inside."""
    root = hierarchy()
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no cgroup v2 hierarchy that we may write to")
    place = Path(root) / f"callout-test-{os.getpid()}"
    (place / "inner").mkdir(parents=True)
    try:
        yield place
    finally:
        for directory in (place / "inner", place):
            if directory.exists():
                directory.rmdir()


def test_a_real_cgroup_is_found_both_ways(made: Path) -> None:
    root = hierarchy()
    assert root
    wanted = f"/{made.name}/inner"
    identifier = (made / "inner").stat().st_ino
    assert by_walk(root, identifier) == wanted
    assert by_handle(root, identifier) == wanted
    assert by_handle(root, os.stat(root).st_ino) == by_walk(root, os.stat(root).st_ino) == "/"
    assert Cgroups(root).path(identifier) == wanted


def test_one_that_is_gone_is_known_if_it_was_seen(made: Path) -> None:
    root = hierarchy()
    table, late = Cgroups(root), Cgroups(root)
    identifier = (made / "inner").stat().st_ino
    table.path(identifier)
    (made / "inner").rmdir()
    assert table.path(identifier) == f"/{made.name}/inner"
    assert late.path(identifier) is None


def test_what_the_kernel_told_needs_no_directory() -> None:
    table = Cgroups(None)
    table.made(77, "/docker/x")
    assert table.path(77) == "/docker/x"
    assert table.path(78) is None
    assert table.path(0) is None


def test_a_hierarchy_of_v1_is_apart() -> None:
    place = old()
    if place is None or not os.access(place.mount, os.W_OK):
        pytest.skip("no cgroup v1 hierarchy that we may write to")
    made = Path(place.mount) / f"callout-test-{os.getpid()}"
    made.mkdir()
    try:
        table = Cgroups(None, place.mount)
        identifier = made.stat().st_ino
        assert table.path(identifier | V1) == f"/{made.name}"
        assert table.path(identifier) is None
    finally:
        made.rmdir()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "KEPT", 3)
    table = Cgroups(None)
    for identifier in range(1, 6):
        table.made(identifier, f"/{identifier}")
        table.path(1)
    assert len(table) == 3
    assert table.path(1) == "/1", "the one that is asked for stays"
    assert table.path(2) is None


@pytest.mark.parametrize(
    ("mount", "directory", "path"),
    [("/c", "/c", "/"), ("/c", "/c/a/b", "/a/b"), ("/c", "/cat", "/cat"), ("/c", "/../x", "/../x")],
)
def test_below(mount: str, directory: str, path: str) -> None:
    assert below(mount, directory) == path
