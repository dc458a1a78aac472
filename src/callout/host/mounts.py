"""Where the cgroup v2 hierarchy is mounted.

Rule of this file: reads /proc/self/mountinfo (proc_pid_mountinfo(5)).
"""

from __future__ import annotations

from pathlib import Path


def cgroup2() -> str | None:
    """Mount point of the hierarchy; None where there is none."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and before.split()[3] == "/":
            return before.split()[4]
    return None
