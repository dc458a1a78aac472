"""A cgroup of our own with a BPF program on its calls, by bpf(2) alone.

Rule of this file: a program is attached by a link, to a cgroup that ``made`` has made, so it reaches nobody
else and ends with this process. Only an empty directory could be left, by a SIGKILL within a ``made`` block.
Sources: bpf(2), include/uapi/linux/bpf.h (struct bpf_sock_addr), cgroups(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from callout.lab import libc

PROG_LOAD, LINK_CREATE = 5, 28  # enum bpf_cmd
CGROUP_SKB, CGROUP_SOCK_ADDR = 8, 18  # enum bpf_prog_type
EGRESS, CONNECT4, CONNECT6 = 1, 10, 11  # enum bpf_attach_type
SET_RETVAL = 187  # helper, since Linux 5.18
USER_IP4, USER_PORT = 4, 24  # offsets in struct bpf_sock_addr


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One BPF instruction."""
    return struct.pack("=BBhi", code, source << 4 | target, offset, value)


def move(register: int, value: int) -> bytes:
    """A constant into a register."""
    return instruction(0xB7, register, value=value)


def store(offset: int, value: int) -> bytes:
    """A constant into a 32-bit member of the context, by way of register 2."""
    return instruction(0xB4, 2, value=value) + instruction(0x63, 1, 2, offset)


EXIT = instruction(0x95)
ALLOW = move(0, 1) + EXIT
DENY = move(0, 0) + EXIT


def deny_with(number: int) -> bytes:
    """Denies with an error of its own."""
    return move(1, -number) + instruction(0x85, value=SET_RETVAL) + DENY


def redirect(host: str, port: int) -> bytes:
    """Replaces the IPv4 address and the port that were asked for."""
    ip = struct.unpack("=i", bytes(map(int, host.split("."))))[0]
    return store(USER_IP4, ip) + store(USER_PORT, struct.unpack("=H", struct.pack("!H", port))[0]) + ALLOW


def bpf(what: str, command: int, attributes: bytes) -> int:
    """bpf(2). Raises OSError with ``what``."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return libc.syscall(what, libc.NUMBER["bpf"], command, buffer, len(attributes))


def own() -> str:
    """The directory of the cgroup v2 that this process is in. Raises FileNotFoundError."""
    with open("/proc/self/cgroup") as file:
        places = [line.rstrip("\n").removeprefix("0::") for line in file if line.startswith("0::")]
    if not places:
        raise FileNotFoundError(2, "there is no cgroup v2 hierarchy")
    return hierarchy() + places[0].rstrip("/")


def hierarchy() -> str:
    """Where cgroup v2 is mounted. Raises FileNotFoundError."""
    with open("/proc/self/mounts") as file:
        for line in file:
            _, place, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                return place
    raise FileNotFoundError(2, "no cgroup v2 hierarchy is mounted")


@contextmanager
def made() -> Iterator[str]:
    """A cgroup below our own, for the length of the block; nobody may be in it at the end."""
    path = f"{own()}/callout-lab-{os.getpid()}"
    os.mkdir(path)
    try:
        yield path
    finally:
        os.rmdir(path)


@contextmanager
def attached(group: str, hook: int, program: bytes, kind: int = CGROUP_SOCK_ADDR) -> Iterator[None]:
    """A program on a hook of a cgroup for the length of the block. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQIIQII16sII", kind, len(program) // 8, ctypes.addressof(code),
        ctypes.addressof(licence), 0, 0, 0, 0, 0, b"callout_lab", 0, hook,
    )  # fmt: skip
    loaded = bpf("bpf(BPF_PROG_LOAD)", PROG_LOAD, load)
    target = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    try:
        link = bpf("bpf(BPF_LINK_CREATE)", LINK_CREATE, struct.pack("=IIII", loaded, target, hook, 0))
    finally:
        os.close(loaded)
        os.close(target)
    try:
        yield
    finally:
        os.close(link)


def join(group: str) -> None:
    """Moves this process into a cgroup."""
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
