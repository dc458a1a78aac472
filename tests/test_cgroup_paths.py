"""Cgroup paths of every runtime, as they are found on hosts: tests/test_cgroup_paths.csv."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.enrich.cgroup_paths import (
    BELOW,
    SHAPES,
    Home,
    container,
    containers_of,
    home,
    memberships,
    telling,
    unescape,
)

ID = "0123456789abcdef" * 4
OTHER = "f" * 64
UID = "5b3d8a1e-7c0f-4d2b-9a6e-1f2e3d4c5b6a"
SHORT = {"ID": ID, "OTHER": OTHER, "_UID_": UID.replace("-", "_"), "UID": UID, "HASH": "d" * 32}


def examples() -> list[dict[str, str]]:
    with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(text: str) -> str:
    """A cell with ID, OTHER, UID and HASH filled in."""
    for name, value in SHORT.items():
        text = text.replace("{" + name + "}", value)
    return text


@pytest.mark.parametrize("example", examples(), ids=lambda example: example["path"])
def test_examples(example: dict[str, str]) -> None:
    expected = Home(*(written(example[name]) or None for name in Home._fields))
    assert home(written(example["path"])) == expected, example["where"]


def test_every_shape_has_an_example() -> None:
    used = set()
    for example in examples():
        parts = written(example["path"]).removesuffix(" (deleted)").split("/")
        for above, part in itertools.pairwise(parts):
            if container(above, part):
                used |= {above} & set(BELOW)
                used |= {pattern.pattern for pattern, _ in SHAPES if pattern.fullmatch(part)}
    assert {pattern.pattern for pattern, _ in SHAPES} | set(BELOW) == used


def test_containers_inside_containers() -> None:
    node = f"/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/cri-containerd-{ID}.scope/x"
    assert containers_of(node) == (OTHER, ID)
    assert containers_of("/system.slice/cron.service") == ()


def test_the_escapes_of_systemd() -> None:
    assert unescape(r"a\x2db\x20c") == "a-b c"
    assert unescape(r"\x2") == r"\x2"


HYBRID = f"""\
9:name=systemd:/system.slice/containerd.service
4:memory:/docker/{ID}
3:cpu,cpuacct:/docker/{ID}
0::/
"""


def test_lines_of_proc() -> None:
    lines = list(memberships(HYBRID + "no line\n1:x\n"))
    assert [line.hierarchy for line in lines] == [9, 4, 3, 0]
    assert lines[2].controllers == ("cpu", "cpuacct")
    assert lines[3].controllers == ()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (HYBRID, f"/docker/{ID}"),
        ("0::/system.slice/cron.service\n", "/system.slice/cron.service"),
        ("2:cpu:/\n1:name=systemd:/system.slice/cron.service\n0::/\n", "/system.slice/cron.service"),
        ("2:cpu:/a:b\n0::/a:b\n", "/a:b"),
        ("2:cpu:/\n", "/"),
        ("", None),
    ],
)
def test_the_most_telling_line(text: str, path: str | None) -> None:
    assert telling(text) == path


@given(st.text(alphabet="/.-_\\xabcdef0123456789:@ podlibcr", max_size=200))
def test_any_path_is_read(path: str) -> None:
    found = home(path)
    assert found.container is None or found.container
    assert (found.runtime is None) or found.container
