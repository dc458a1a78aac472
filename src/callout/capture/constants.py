"""What the BPF programs are told before they are loaded: whom and what to report.

Rule of this file: a narrowing in, the bytes of ``struct narrowing`` (``bpf/record.h``) out, by member name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from callout._native import ffi, lib
from callout.btf import Layout
from callout.capture.cgroups import old, path_of
from callout.narrowing import Narrowing

FAMILY_BITS = {2: 1, 10: 2, 0: 4}  # as narrow.h tests them
SUBSYSTEMS = 32  # enum cgroup_subsys_id has fewer


def constants_for(narrowing: Narrowing, layout: Layout, hidden: Iterable[int] = ()) -> np.ndarray[Any, Any]:
    """The read-only configuration of the BPF programs, filled by member name. ``hidden``: threads to leave out."""
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
    below = [*narrowing.below]
    if narrowing.cgroup:
        # the id of a cgroup is the inode number of its directory (kernfs)
        below.append(os.stat(path_of(narrowing.cgroup)).st_ino)
    row["cgroups"][: len(below)], row["ncgroups"] = below, len(below)
    row["newer"] = narrowing.newer
    threads = sorted(hidden)
    row["hidden"][: len(threads)], row["nhidden"] = threads, len(threads)
    if (hierarchy := old()) and (number := number_of(hierarchy.controller)) is not None:
        row["v1"], row["v1_hierarchy"] = number + 1, hierarchy.number
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
    row["id_base"] = int.from_bytes(os.urandom(2)) % 4096 << 41
    return value


def number_of(controller: str) -> int | None:
    """The number of a cgroup controller in the running kernel."""
    for number in range(SUBSYSTEMS):
        if ffi.string(lib.co_enum_name(b"cgroup_subsys_id", number)) == f"{controller}_cgrp_id".encode():
            return number
    return None
