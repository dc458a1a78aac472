"""Where the cgroup v2 hierarchy is mounted, and what directory a cgroup id is.

Rule of this file: reads /proc and /sys, changes nothing. Sources: cgroups(7),
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import re
from pathlib import Path


def hierarchy(mounts: str | None = None) -> str | None:
    """Mount point of the cgroup v2 hierarchy, or None. ``mounts``: text as in /proc/self/mounts."""
    for line in (mounts if mounts is not None else Path("/proc/self/mounts").read_text()).splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])  # proc_mounts(5)
    return None
