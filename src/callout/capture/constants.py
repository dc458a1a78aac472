"""What the BPF programs are told before they are loaded: whom and what to report.

Rule of this file: a narrowing in, the bytes of ``struct narrowing`` (``bpf/record.h``) out, by member name.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

import numpy as np

from callout._native import lib
from callout.btf import Layout
from callout.capture.cgroups import path_of
from callout.narrowing import Narrowing

FAMILY_BITS = {2: 1, 10: 2, 0: 4}  # as narrow.h tests them


def constants_for(narrowing: Narrowing, layout: Layout) -> np.ndarray[Any, Any]:
    """The read-only configuration of the BPF programs, filled by member name."""
    value = np.zeros(1, layout.dtype)
    row = value[0]
    for name, numbers in (
        ("pids", sorted(narrowing.pids or ())),
        ("uids", sorted(narrowing.uids or ())),
        (
            "ports",
            [int.from_bytes(port.to_bytes(2, "big"), "little") for port in sorted(narrowing.ports or ())],
        ),
    ):
        row[name][: len(numbers)] = numbers
        row["n" + name] = len(numbers)
    for i, comm in enumerate(sorted(narrowing.comms or ())):
        row["comms"][i] = np.frombuffer(os.fsencode(comm)[:15].ljust(16, b"\0"), "<u8")
    row["ncomms"] = len(narrowing.comms or ())
    row["families"] = sum(bit for family, bit in FAMILY_BITS.items() if family in (narrowing.families or ()))
    row["nothing"] = any(
        v is not None and not v
        for v in (narrowing.pids, narrowing.uids, narrowing.ports, narrowing.comms, narrowing.families)
    )
    row["outcome"] = {None: 0, "success": 1, "failure": 2}[narrowing.outcome]
    row["phases"] = narrowing.phases
    row["uring"] = lib.co_has_tracepoint(b"io_uring_complete") and any(
        lib.co_has_tracepoint(name) for name in (b"io_uring_submit_req", b"io_uring_submit_sqe")
    )
    row["id_base"] = secrets.randbits(12) << 41
    if narrowing.cgroup:
        # the id of a cgroup is the inode number of its directory (kernfs)
        row["cgroup"] = os.stat(path_of(narrowing.cgroup)).st_ino
    return value
