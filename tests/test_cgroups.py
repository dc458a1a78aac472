"""Where the cgroup v2 hierarchy is, by the words of /proc/self/mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from callout.capture.cgroups import hierarchy

PROC = "proc /proc proc rw,nosuid 0 0\n"
V1 = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        (PROC + "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "/sys/fs/cgroup"),
        (V1 + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "/sys/fs/cgroup/unified"),
        ("none /mnt/my\\040cgroups\\134x cgroup2 rw 0 0\n", "/mnt/my cgroups\\x"),  # proc_mounts(5): \ooo
        ("cgroup2 /a tmpfs rw 0 0\n", None),  # the device's name says nothing
        (V1 + PROC, None),
        ("", None),
    ],
)
def test_hierarchy(mounts: str, place: str | None) -> None:
    assert hierarchy(mounts) == place


def test_hierarchy_of_this_host_has_the_root_cgroups_file() -> None:
    place = hierarchy()
    if place is None:
        pytest.skip("no cgroup v2 hierarchy is mounted here")
    assert (Path(place) / "cgroup.procs").exists()
