"""The doctor on this host: it answers as a trace does, leaves nothing behind, and its ways out are true."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from callout.capture.kernel import KernelSource
from callout.cli import doctor
from callout.doctor import host, programs, report
from callout.doctor.detached import detached, read_detached
from callout.doctor.facts import Facts, Host, Trial

from .watch import CALLOUT, PATIENCE, run, watch

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up rights")
SETPRIV = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
ALL_NEEDED = "CAP_BPF CAP_PERFMON CAP_NET_ADMIN"
UNTRIED = "not tried: needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN; "


def checks_of(text: str) -> dict[str, dict[str, str | None]]:
    """The report by name of check."""
    return {check["check"]: check for check in map(json.loads, text.splitlines())}


def descriptors() -> list[str]:
    """What this process holds of BPF, perf and mounts: programs, maps and links live as long as these."""
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.append(os.readlink(entry))
        except FileNotFoundError:
            continue  # the descriptor that read the directory
    return sorted(name for name in held if name.startswith("anon_inode:"))


@pytest.mark.kernel
def test_the_answer_is_that_of_a_trace() -> None:
    with KernelSource() as source:
        assert source.tier is not None
        tier = source.tier
        attached = {state.program.name for state in source.states if state.error is None}
    done = run(["doctor"])
    found = checks_of(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert found["tracing"] == {
        "check": "tracing",
        "state": "ok",
        "detail": f"works here, with the {tier.name} tier",
        "remedy": None,
    }
    chosen = [name for name, check in found.items() if str(check["detail"]).startswith("chosen; ")]
    assert chosen == [f"tier.{tier.name}"]
    loaded = {n.split(".")[-1] for n, check in found.items() if " loaded; gives: " in str(check["detail"])}
    assert attached <= loaded


@pytest.mark.kernel
def test_nothing_stays_attached() -> None:
    before = descriptors()
    found = programs.gather(host.gather())
    assert "loaded" in {trial.fate for trial in found.trials.values()}
    assert descriptors() == before


@pytest.mark.kernel
def test_detached_file_systems_leave_no_mount() -> None:
    before = Path("/proc/self/mounts").read_text()
    with detached("securityfs") as root:
        assert Path("/proc/self/mounts").read_text() == before
        lsm = os.open("lsm", os.O_RDONLY, dir_fd=root)
        text = os.read(lsm, 4096).decode()
        os.close(lsm)
    assert read_detached("securityfs", "lsm") == text
    assert read_detached("securityfs", "no such file") is None
    assert read_detached("no such file system", "lsm") is None


@ROOT
@SETPRIV
def test_without_privileges() -> None:
    done = subprocess.run(
        # reading is kept, so that an interpreter below /root can be started at all
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search",
         "--ambient-caps=+dac_read_search", *CALLOUT, "doctor"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    found = checks_of(done.stdout)
    remedy = f"run it as root (sudo), or from a unit with AmbientCapabilities={ALL_NEEDED}"
    assert found["tracing"] == {
        "check": "tracing",
        "state": "no",
        "detail": "does not work here: needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
        "remedy": remedy,
    }
    untried = {name.split(".")[-1] for name, check in found.items() if UNTRIED in str(check["detail"])}
    assert untried == {program.name for program in programs.ALL}


@ROOT
@SETPRIV
@pytest.mark.kernel
def test_where_the_bounding_set_lacks_a_capability() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-perfmon,-sys_admin", *CALLOUT, "doctor"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert checks_of(done.stdout)["process.capabilities"] == {
        "check": "process.capabilities",
        "state": "no",
        "detail": "missing: CAP_PERFMON; held: CAP_BPF CAP_NET_ADMIN",
        "remedy": "run it on the host, or give the container or unit CAP_PERFMON",
    }


# --- the ways out, each taken for real; where the table says that one is not observed, no row may come ---

LOOPBACK = "127.0.0.1"
MSG_FASTOPEN = 0x20000000  # include/linux/socket.h


def sockaddr(port: int) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(LOOPBACK))


def connect(family: int, kind: int, protocol: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, kind, protocol) as s:
        s.connect_ex(address)


def datagram(send: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        send(s)


def fastopen(send: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s, pytest.raises(ConnectionRefusedError):
        send(s)


def i386(number: int, *arguments: int, data: bytes = b"") -> int:
    """A system call of the i386 table; an argument of -1 stands for the address of ``data``, below 4 GiB."""
    map_32bit = 0x40  # arch/x86/include/uapi/asm/mman.h
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_32bit, 7)
    anchor = ctypes.c_char.from_buffer(page)
    address = ctypes.addressof(anchor)
    place = address + 2048
    words = [place if argument == -1 else argument for argument in arguments]
    # socketcall(2) takes its arguments from memory, where one of them is the address of the sockaddr
    page[2048 : 2048 + len(data)] = data.replace(b"ADDR", struct.pack("=I", place + 12))
    # push rbx; mov eax, number; mov ebx, edi; mov ecx, esi; int 0x80; pop rbx; ret; edx is in place already
    code = b"\x53\xb8" + struct.pack("=I", number) + b"\x89\xfb\x89\xf1\xcd\x80\x5b\xc3"
    page[: len(code)] = code
    call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 3)(address)
    result: int = call(*[*words, 0, 0, 0][:3])
    del anchor  # or the page cannot be unmapped
    page.close()
    return result


def connect_ia32() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        assert i386(362, s.fileno(), -1, 16, data=sockaddr(9)) == 0


def socketcall() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        sys_connect = 3  # include/uapi/linux/net.h
        arguments = struct.pack("=I4sI", s.fileno(), b"ADDR", 16)
        assert i386(102, sys_connect, -1, data=arguments + sockaddr(9)) == 0


def io_uring() -> None:
    """One IORING_OP_CONNECT, submitted and awaited; io_uring_setup(2), io_uring_enter(2)."""
    setup, enter, op_connect, getevents, sqes_at = 425, 426, 16, 1, 0x10000000
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = (ctypes.c_uint32 * 30)()
    ring = libc.syscall(setup, 1, parameters)
    assert ring >= 0, os.strerror(ctypes.get_errno())
    # struct io_sqring_offsets begins at byte 40: head, tail, ring_mask, ring_entries, flags, dropped, array
    tail, array = parameters[11], parameters[16]
    # struct io_cqring_offsets begins at byte 80: head, tail, ring_mask, ring_entries, overflow, cqes
    completions = parameters[25]
    where = ctypes.create_string_buffer(sockaddr(9))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
        # both rings in one mapping: IORING_FEAT_SINGLE_MMAP, Linux 5.4
        mmap.mmap(ring, max(completions + 32, array + 4)) as rings,
        mmap.mmap(ring, 64, offset=sqes_at) as entries,
    ):
        # struct io_uring_sqe: opcode, flags, ioprio, fd, off (the address length), addr, len and flags
        sqe = struct.pack("=BBHiQQQ", op_connect, 0, 0, s.fileno(), 16, ctypes.addressof(where), 0)
        entries[: len(sqe)] = sqe
        rings[array : array + 4] = struct.pack("=I", 0)
        rings[tail : tail + 4] = struct.pack("=I", 1)
        assert libc.syscall(enter, ring, 1, 1, getevents, None, 0) == 1
        assert struct.unpack("=QiI", rings[completions : completions + 16])[1] == 0
    os.close(ring)


TCP, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
TAKEN: dict[str, Callable[[], object]] = {
    "connect": lambda: connect(socket.AF_INET, DGRAM, 0, (LOOPBACK, 9)),
    "connect_ia32": connect_ia32,
    "socketcall": socketcall,
    "io_uring": io_uring,
    "sendto_fastopen": lambda: fastopen(lambda s: s.sendto(b"x", MSG_FASTOPEN, (LOOPBACK, 9))),
    "sendmsg_fastopen": lambda: fastopen(lambda s: s.sendmsg([b"x"], [], MSG_FASTOPEN, (LOOPBACK, 9))),
    "sendto": lambda: datagram(lambda s: s.sendto(b"x", (LOOPBACK, 9))),
    "sendmsg": lambda: datagram(lambda s: s.sendmsg([b"x"], [], 0, (LOOPBACK, 9))),
    "unix": lambda: connect(socket.AF_UNIX, TCP, 0, "/no/such/path"),
    "mptcp": lambda: connect(socket.AF_INET, TCP, 262, (LOOPBACK, 9)),  # IPPROTO_MPTCP
}
MARK = (LOOPBACK, 8)


@pytest.mark.kernel
@pytest.mark.parametrize("way", TAKEN)
def test_the_table_of_ways_out_is_true_here(way: str) -> None:
    if way in ("connect_ia32", "socketcall") and platform.machine() != "x86_64":
        pytest.skip("i386 calls need x86-64")
    if way == "mptcp":
        try:
            socket.socket(socket.AF_INET, TCP, 262).close()
        except OSError as error:
            pytest.skip(f"MPTCP: {error.strerror}")
    if way == "io_uring" and host.number(Path("/proc/sys/kernel/io_uring_disabled")):
        pytest.skip("io_uring is switched off (kernel.io_uring_disabled)")
    with watch() as w:
        assert w.source.tier is not None
        trials = {state.program.name: Trial("loaded") for state in w.source.states if state.error is None}
        facts = Facts(Host(machine=platform.machine()), trials=trials, tier=w.source.tier.name)
        expected = {check.name: check.state for check in report.report(facts)}[f"path.{way}"]
        TAKEN[way]()
        connect(socket.AF_INET, DGRAM, 0, MARK)
        rows = w.until(lambda seen: any(row.get("destination.port") == MARK[1] for row in seen))
    assert len(rows) == {"ok": 2, "no": 1}[expected], rows


def test_help_is_the_docstring() -> None:
    done = run(["doctor", "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert str(doctor.__doc__) in done.stdout
