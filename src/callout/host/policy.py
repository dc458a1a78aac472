"""Who on this host may refuse the calls of a process: programs on its cgroup, security modules, a seccomp filter.

Rule of this file: lists who could; whether they did only a trace can tell. Sources: bpf(2) (BPF_PROG_QUERY),
lsm_list_modules(2), proc_pid_status(5), cgroups(7).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

from callout.host.mounts import cgroup2

BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}.get(platform.machine())
LSM_LIST_MODULES = 461  # all architectures, Linux 6.8
PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 13, 15, 16  # enum bpf_cmd
EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE: also those of the cgroups above
ATTACH = {  # enum bpf_attach_type
    "connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15, "connect_unix": 49, "egress": 1, "ingress": 0,
}  # fmt: skip
LSMS = {  # linux/lsm.h
    100: "capability", 101: "selinux", 102: "smack", 103: "tomoyo", 104: "apparmor", 105: "yama", 106: "loadpin",
    107: "safesetid", 108: "lockdown", 109: "bpf", 110: "landlock", 111: "ima", 112: "evm", 113: "ipe",
}  # fmt: skip
NAME_AT = 64  # offset of name in struct bpf_prog_info, linux/bpf.h
MEDIATING = ("selinux", "smack", "tomoyo", "apparmor", "bpf", "landlock")  # those that can refuse connect(2)


@dataclass(frozen=True)
class Program:
    """A BPF program in force for a cgroup."""

    hook: str
    id: int
    name: str


def seccomp_mode(pid: int) -> int | None:
    """0 none, 1 strict, 2 a filter; None where the process is gone."""
    return status_number(pid, "Seccomp")


def status_number(pid: int, key: str) -> int | None:
    """A number of /proc/PID/status."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    except OSError:
        return None
    return None


def modules() -> list[str]:
    """The security modules of this kernel that could refuse a call; empty where they cannot be listed."""
    try:
        names = Path("/sys/kernel/security/lsm").read_text().strip().split(",")
    except OSError:
        names = listed()
    return [name for name in names if name in MEDIATING]


def listed() -> list[str]:
    """The same by lsm_list_modules(2)."""
    ids = (ctypes.c_uint64 * 64)()
    size = ctypes.c_uint32(ctypes.sizeof(ids))
    libc = ctypes.CDLL(None, use_errno=True)
    count = libc.syscall(LSM_LIST_MODULES, ids, ctypes.byref(size), 0)
    return [LSMS.get(ids[i], str(ids[i])) for i in range(max(0, count))]


def cgroup_of(pid: int) -> str | None:
    """Directory of the cgroup (v2) of a process; None where it cannot be found."""
    root = cgroup2()
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("0::") and root is not None:
            path = Path(root, line[3:].lstrip("/"))
            return str(path) if path.is_dir() else None
    return None


def programs(cgroup: str, hooks: tuple[str, ...]) -> list[Program]:
    """Programs in force for a cgroup, those of the cgroups above included. Raises OSError where that is refused."""
    descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [Program(hook, number, name_of(number)) for hook in hooks for number in ids(descriptor, hook)]
    finally:
        os.close(descriptor)


def ids(cgroup: int, hook: str) -> list[int]:
    """Ids of the programs in force at one hook."""
    room = (ctypes.c_uint32 * 64)()
    query = ctypes.create_string_buffer(
        struct.pack("=IIIIQII", cgroup, ATTACH[hook], EFFECTIVE, 0, ctypes.addressof(room), len(room), 0)
        + bytes(32)
    )
    try:
        bpf(PROG_QUERY, query)
    except OSError as error:
        if error.errno == 22:  # EINVAL: this kernel has no such hook
            return []
        raise
    (count,) = struct.unpack_from("=I", query, 24)
    return list(room[:count])


def name_of(program: int) -> str:
    """Name of a program as its author gave it; empty where it cannot be read."""
    try:
        descriptor = bpf(
            PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=III", program, 0, 0) + bytes(64))
        )
    except OSError:
        return ""
    try:
        info = ctypes.create_string_buffer(256)
        ask = struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)) + bytes(64)
        bpf(OBJ_GET_INFO_BY_FD, ctypes.create_string_buffer(ask))
        return info.raw[NAME_AT : NAME_AT + 16].split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2). Raises OSError."""
    if BPF is None:
        raise OSError(38, f"the number of bpf(2) on {platform.machine()} is not known here")
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(BPF, command, attributes, len(attributes))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
