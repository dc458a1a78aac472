"""What the doctor finds: programs that load or do not, at our word, and hosts made of files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from callout.capture import privileges
from callout.capture.tiers import (
    LEFTOVER,
    NAMES,
    OPTIONS,
    OVERLOOKED,
    PROCESSES,
    SOCKET_PROGRAMS,
    TIERS,
    Program,
)
from callout.doctor import host, programs, report
from callout.doctor.facts import Facts, Host, Trial
from callout.errors import NotPermittedError

from .hosts import LOADED, SERVER, facts, lines


def never(program: Program) -> None:
    raise AssertionError(f"{program.name} was tried")


def never_chosen() -> str:
    raise AssertionError("a trace was started")


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        (
            {"effective": 0},
            "needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
            "run it as root (sudo), "
            "or from a unit with AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN",
        ),
        (
            {"btf_size": None},
            "needs the kernel's BTF",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF (Debian 12, Ubuntu 22.04 and later have it)",
        ),
    ],
)
def test_programs_are_not_tried_where_they_cannot_work(
    changes: dict[str, Any], reason: str, remedy: str
) -> None:
    found = programs.gather(facts(**changes).host, lambda: programs.Native("1.5", never, never_chosen))
    assert found.trials == {program.name: Trial("not tried", reason) for program in programs.ALL}
    assert lines(found, "tracing", "tier.kprobe", "socket.socket_reset") == [
        ("no", f"does not work here: {reason}", remedy),
        ("no", "not tried; with it, while tracing, other system calls of this host pay nothing", ""),
        ("warn", f"tp_btf/tcp_receive_reset not tried: {reason}; gives: whether a RST came", ""),
    ]
    assert not report.can_trace(report.report(found))


def test_a_native_part_that_does_not_load() -> None:
    def broken() -> programs.Native:
        raise ImportError("libbpf.so.1: cannot open shared object file:\n No such file or directory")

    found = programs.gather(SERVER, broken)
    remedy = "install the package for this Python and architecture again"
    assert lines(found, "tracing", "host.libbpf", "tier.tracepoint.tracepoint_connect_exit") == [
        ("no", "does not work here: needs libbpf", remedy),
        ("no", "libbpf.so.1: cannot open shared object file: No such file or directory", remedy),
        ("no", "tp/syscalls/sys_exit_connect not tried: needs libbpf; gives: result of connect(2)", ""),
    ]


def test_programs_that_load_are_refused_and_are_absent() -> None:
    denied, missing = os.strerror(errno.EPERM), os.strerror(errno.ENOENT)
    answers = {
        "trampoline_connect_exit": OSError(errno.EPERM, f"loading: EPERM ({denied}); 'x' failed: {denied}"),
        "trampoline_connect_enter": OSError(errno.EINVAL, "loading: EINVAL; R1 is\nnot allowed"),
        "kprobe_connect_exit": OSError(errno.ENOENT, f"attaching k: ENOENT ({missing})"),
        "kprobe_connect_enter": OSError(errno.ESRCH, "loading: ESRCH (No such process)"),
        "socket_drop": OSError(programs.ENOTSUPP, "loading: 524 (Unknown error 524)"),
    }

    def attempt(program: Program) -> None:
        if program.name in answers:
            raise answers[program.name]

    found = programs.gather(SERVER, lambda: programs.Native("1.5", attempt, lambda: "tracepoint"))
    assert found == Facts(
        SERVER,
        "1.5",
        "",
        {
            **LOADED,
            "trampoline_connect_exit": Trial("refused", f"loading: EPERM ({denied})"),
            "trampoline_connect_enter": Trial("refused", "loading: EINVAL; R1 is not allowed"),
            "kprobe_connect_exit": Trial("absent", f"attaching k: ENOENT ({missing})"),
            "kprobe_connect_enter": Trial("absent", "loading: ESRCH (No such process)"),
            "socket_drop": Trial("absent", "loading: 524 (Unknown error 524)"),
        },
        "tracepoint",
        "",
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotPermittedError("no tier can be loaded here\n  kprobe: EPERM"), "no tier can be loaded here"),
        (OSError(errno.ENOMEM, "sizing the ring: ENOMEM"), "sizing the ring: ENOMEM"),
    ],
)
def test_programs_that_load_alone_and_a_trace_that_does_not_start(error: Exception, told: str) -> None:
    def choose() -> str:
        raise error

    found = programs.gather(SERVER, lambda: programs.Native("1.5", lambda program: None, choose))
    assert lines(found, "tracing", "tier.kprobe", "path.connect") == [
        ("no", f"does not work here: {told}", "see below for each program and why it is refused"),
        ("ok", "works, not chosen; with it, while tracing, other system calls of this host pay nothing", ""),
        (
            "no",
            "connect(2), TCP and UDP over IPv4 and IPv6: not observed, as tracing does not work here",
            "",
        ),
    ]


def test_each_program_is_tried_once_alone() -> None:
    tried: list[str] = []
    programs.gather(SERVER, lambda: programs.Native("1.5", lambda p: tried.append(p.name), lambda: "kprobe"))
    expected = [program.name for program in (*SOCKET_PROGRAMS, LEFTOVER, OVERLOOKED, *PROCESSES, *NAMES)]
    for tier in TIERS:
        expected += [program.name for program in (*tier.programs, *tier.evidence)]
    expected += [program.name for option in OPTIONS.values() for program in option.programs]
    assert tried == expected


def stand_up(root: Path, files: dict[str, str], links: dict[str, str]) -> Path:
    """A host made of files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    return root


def test_facts_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin/nft"
    stand_up(tmp_path, {"bin/nft": ""}, {})
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.setattr(host, "SBIN", ())
    root = stand_up(
        tmp_path,
        {
            "proc/sys/kernel/osrelease": "6.1.0-9-amd64\n",
            "sys/kernel/btf/vmlinux": "x" * 77,
            "sys/kernel/security/lsm": "lockdown,capability,yama",
            "sys/kernel/security/lockdown": "none integrity [confidentiality]\n",
            "proc/sys/kernel/seccomp/actions_avail": "errno user_notif allow\n",
            "proc/self/status": "Name:\tx\nCapEff:\t0400\nCapBnd:\t01ffffffffff\nSeccomp:\t2\n",
            "proc/sys/kernel/unprivileged_bpf_disabled": "1\n",
            "proc/sys/kernel/perf_event_paranoid": "-1\n",
            "proc/sys/user/max_user_namespaces": "15\n",
            "proc/sys/kernel/unprivileged_userns_clone": "0\n",
            "proc/self/mounts": (
                "tracefs /sys/kernel/tracing tracefs rw 0 0\n"
                "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
                "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
            ),
        },
        {"proc/self/ns/pid": "pid:[4026532001]", "proc/self/ns/user": "user:[4026531837]"},
    )
    assert host.gather(root, lambda kind, name: None, lambda kind: "") == Host(
        release="6.1.0-9-amd64",
        machine=os.uname().machine,
        btf_size=77,
        lockdown="confidentiality",
        lsms=("lockdown", "capability", "yama"),
        seccomp_actions=("errno", "user_notif", "allow"),
        seccomp_mode=2,
        effective=0x400,
        bounding=0x1FFFFFFFFFF,
        namespaces={"pid": False, "user": True},
        unprivileged_bpf=1,
        perf_paranoid=-1,
        tracefs="/sys/kernel/tracing",
        cgroup2="/sys/fs/cgroup/unified",
        cgroup1=("/sys/fs/cgroup/cpu",),
        userns={"user/max_user_namespaces": 15, "kernel/unprivileged_userns_clone": 0},
        tools={"nft": str(tool), "ip": None},
    )


def test_facts_of_a_host_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(host, "SBIN", ())
    found = host.gather(tmp_path, lambda kind, name: None, lambda kind: "Function not implemented")
    assert found == Host(
        machine=os.uname().machine, tracefs_opens="Function not implemented", tools={"nft": None, "ip": None}
    )
    assert not report.can_trace(report.report(programs.gather(found)))


@pytest.mark.parametrize(
    ("lsm", "lockdown", "expected"),
    [
        ("lockdown,bpf\n", "[none] integrity confidentiality\n", ("none", ("lockdown", "bpf"))),
        ("capability,bpf", None, ("", ("capability", "bpf"))),
        ("lockdown,bpf", None, (None, ("lockdown", "bpf"))),
        (None, None, (None, None)),
    ],
)
def test_security_where_securityfs_is_not_mounted(
    tmp_path: Path, lsm: str | None, lockdown: str | None, expected: tuple[str | None, tuple[str, ...] | None]
) -> None:
    answers = {("securityfs", "lsm"): lsm, ("securityfs", "lockdown"): lockdown}
    found = host.gather(tmp_path, lambda kind, name: answers[kind, name], lambda kind: "")
    assert (found.lockdown, found.lsms) == expected


def test_the_doctor_and_a_trace_ask_for_the_same_rights() -> None:
    for mask in (0, 1 << 39, 1 << 21, 1 << 21 | 1 << 12, 1 << 39 | 1 << 38 | 1 << 12):
        assert (programs.obstacle(Host(effective=mask, btf_size=1)) == "") == (not privileges.missing(mask))
