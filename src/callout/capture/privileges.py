"""What tracing needs of this user and this kernel, checked before anything is loaded.

Rule of this file: says what is missing and how to get it; changes nothing. Source: capabilities(7), bpf(2).
"""

from __future__ import annotations

import os
from pathlib import Path

from callout.errors import NotPermittedError

# capabilities(7): bit numbers; CAP_SYS_ADMIN stands in for the newer ones
NEEDED = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_NET_ADMIN": 12}
SYS_ADMIN = 21
BTF = Path("/sys/kernel/btf/vmlinux")

# BTF_KIND_ENUM64 came with 6.0 (6089fb325cf7); a libbpf before 1.0 reads no BTF that has it
OLD_LIBBPF = (
    "libbpf before 1.0 cannot read the types of a kernel from 6.0 on: install callout's wheel, which has its own, "
    "or build with a newer one"
)


def effective() -> int:
    """The effective capability set of this process, as a bit mask."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise OSError("/proc/self/status has no CapEff line")


def missing(mask: int) -> list[str]:
    """The needed capabilities that ``mask`` lacks."""
    admin = mask >> SYS_ADMIN & 1
    return [
        name
        for name, bit in NEEDED.items()
        if not mask >> bit & 1 and not (admin and name != "CAP_NET_ADMIN")
    ]


def check() -> None:
    """Raises NotPermittedError naming what is missing."""
    lacking = missing(effective())
    if lacking:
        raise NotPermittedError(
            f"tracing this host needs {' and '.join(lacking)}",
            "run it as root: sudo callout ...; in a service, grant them with AmbientCapabilities=",
        )
    if not BTF.exists():
        raise NotPermittedError(
            f"this kernel ({os.uname().release}) has no BTF: {BTF} is missing",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF (Debian 12, Ubuntu 22.04 and later have it)",
        )
