"""What the doctor says of what it found, fact by fact: tiers, ways out, the kernel and this host."""

from __future__ import annotations

from typing import Any

import pytest

from callout.capture import privileges
from callout.doctor import programs, report
from callout.doctor.facts import State, Trial
from callout.doctor.paths import PATHS

from .hosts import LOADED, facts, lines

REFUSED = "loading: EPERM (Operation not permitted)"


def test_tiers_that_are_refused_absent_chosen_and_spare() -> None:
    trials = {
        **LOADED,
        "trampoline_connect_exit": Trial("refused", REFUSED),
        "kprobe_connect_exit": Trial("absent", "attaching it: ENOENT"),
        "socket_drop": Trial("refused", REFUSED),
        "socket_state": Trial("refused", REFUSED),
    }
    tax = "every other system call of this host takes 65 to 115 ns more"
    assert lines(
        facts("tracepoint", trials=trials),
        "tier.trampoline",
        "tier.trampoline.trampoline_connect_exit",
        "tier.trampoline.trampoline_connect_enter",
        "tier.kprobe",
        "tier.kprobe.kprobe_connect_exit",
        "tier.tracepoint",
        "socket.socket_drop",
        "socket.socket_state",
    ) == [
        (
            "no",
            "cannot be used here; with it, while tracing, other system calls of this host pay nothing",
            "needs a kernel that takes fentry and fexit programs",
        ),
        ("no", f"fexit/__sys_connect refused: {REFUSED}; gives: result of connect(2)", ""),
        ("ok", "fentry/__sys_connect loaded; gives: connect(2), every ABI", ""),
        (
            "no",
            "cannot be used here; with it, while tracing, other system calls of this host pay nothing",
            "needs a kernel built with CONFIG_KPROBE_EVENTS",
        ),
        (
            "no",
            "kretprobe/__sys_connect absent: attaching it: ENOENT; gives: result of connect(2)",
            "",
        ),
        ("ok", f"chosen; while tracing, {tax}", ""),
        (
            "warn",
            f"tp_btf/kfree_skb refused: {REFUSED}; gives: whether this host's firewall dropped the packets",
            "",
        ),
        ("no", f"tp_btf/inet_sock_set_state refused: {REFUSED}; gives: final verdicts of TCP attempts", ""),
    ]
    assert lines(facts("kprobe"), "tier.tracepoint") == [
        ("ok", f"works, not chosen; with it, while tracing, {tax}", "")
    ]


EVERYWHERE = [
    "connect", "io_uring", "sendto_fastopen", "sendmsg_fastopen", "fastopen_failed", "sendto", "sendmsg", "sendmmsg",
    "unix", "unix_sendto", "netlink", "packet", "raw", "raw_sendto", "ping_sendto", "packet_sendto", "vsock", "mptcp",
    "mptcp_subflow", "sctp", "sctp_connectx", "sctp_sendto", "dccp", "smc", "kernel",
]  # fmt: skip
X86 = ["connect_ia32", "socketcall", "connect_x32"]
SENT = (
    "fastopen_failed",
    "unix_sendto",
    "raw_sendto",
    "ping_sendto",
    "packet_sendto",
    "sctp_connectx",
    "sctp_sendto",
)
NOT_SENT = [name for name in EVERYWHERE if name not in SENT]  # without trampolines, and without --sends


@pytest.mark.parametrize(
    ("tier", "observed", "in_part"),
    [
        ("trampoline", [*EVERYWHERE[:1], *X86, *EVERYWHERE[1:]], []),
        ("kprobe", [*NOT_SENT[:1], *X86, *NOT_SENT[1:]], []),
        ("tracepoint", NOT_SENT, X86),
        (None, [], []),
    ],
)
def test_ways_out_that_a_tier_observes(tier: str | None, observed: list[str], in_part: list[str]) -> None:
    checks = [check for check in report.report(facts(tier)) if check.name.startswith("path.")]
    assert [check.name for check in checks] == [f"path.{path.name}" for path in PATHS]
    assert [check.name.removeprefix("path.") for check in checks if check.state == "ok"] == observed
    assert [check.name.removeprefix("path.") for check in checks if check.state == "warn"] == in_part


FROM_SYN = "only TCP, from its SYN on, without the result of the call"


def test_why_a_way_out_is_not_observed() -> None:
    text = f"connect(2) of 32-bit processes (i386 number 362): {FROM_SYN}, observed by socket_state"
    tiers = "needs the tier trampoline or kprobe"
    paths = ("path.connect_ia32", "path.unix_sendto", "path.sctp_connectx")
    unix = "datagrams to an AF_UNIX address without connect: not seen by the tracepoint tier"
    sctp = (
        "no",
        "sctp_connectx(3): a socket option: the programs that observe it do not work here",
        "no program of this tier can observe it",
    )
    assert lines(facts("tracepoint"), *paths) == [
        ("warn", text, f"trace with --ia32, for which every system call of this host pays; else {tiers}"),
        ("no", unix, "trace with --sends, for which every send on a socket pays"),
        sctp,
    ]
    trials = {**LOADED, "every_call_enter": Trial("refused", "x"), "sent_any": Trial("absent", "y")}
    assert lines(facts("tracepoint", trials=trials), *paths) == [
        ("warn", text, tiers),
        ("no", unix, "needs tp_btf/sock_send_length"),
        sctp,
    ]
    assert lines(facts(None, tier_error="needs CAP_BPF"), "path.unix") == [
        ("no", "connect(2) on AF_UNIX sockets: not observed, as tracing does not work here", "")
    ]


def test_ways_out_whose_programs_do_not_work_here() -> None:
    gone = ("uring_submit_req", "uring_submit_sqe", "datagram_sendmsg4", "datagram_sendmsg6")
    trials = {**LOADED, **dict.fromkeys(gone, Trial("refused", "x"))}
    sendto = "datagrams of sendto(2) without connect: the programs that observe it do not work here"
    mount = "needs a cgroup v2 hierarchy: mount -t cgroup2 none DIRECTORY"
    given = "cgroup/sendmsg4 refused: x; gives: datagrams sent to an IPv4 address without connect"
    assert lines(
        facts(trials=trials, cgroup2=None), "path.io_uring", "path.sendto", "socket.datagram_sendmsg4"
    ) == [
        ("warn", f"IORING_OP_CONNECT: {FROM_SYN}, observed by socket_state", ""),
        ("no", sendto, mount),
        ("warn", given, mount),
    ]
    assert lines(facts(trials=trials), "path.sendto", "socket.datagram_sendmsg4") == [
        ("no", sendto, ""),
        ("warn", given, ""),
    ]


def test_what_only_adds_evidence_is_no_failure() -> None:
    trials = {
        **LOADED,
        "trampoline_icmp6": Trial("absent", "x"),
        "trampoline_connect_exit": Trial("absent", "y"),
    }
    assert lines(
        facts("kprobe", trials=trials),
        "tier.trampoline.trampoline_icmp6",
        "tier.trampoline.trampoline_connect_exit",
    ) == [
        ("warn", "fentry/ipv6_icmp_error absent: x; gives: ICMPv6 errors, with type, code and sender", ""),
        ("no", "fexit/__sys_connect absent: y; gives: result of connect(2)", ""),
    ]


def test_ways_out_that_a_machine_lacks_are_left_out() -> None:
    named = {check.name for check in report.report(facts(machine="aarch64"))}
    assert {f"path.{path.name}" for path in PATHS} - named == {f"path.{name}" for name in X86}


def test_every_way_out_is_seen_by_programs_that_exist() -> None:
    known = {program.name for program in programs.ALL}
    assert {name for path in PATHS for name in (*path.seen_by, *path.partly_by)} <= known
    assert all(bool(path.partly_by) == bool(path.part) for path in PATHS)


UNSEEN = ("warn", "not known: securityfs is not mounted", "run it as root of the host")


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"lockdown": "none"}, "kernel.lockdown", ("ok", "none: not in the way", "")),
        ({"lockdown": ""}, "kernel.lockdown", ("ok", "not in this kernel", "")),
        ({"lockdown": None}, "kernel.lockdown", UNSEEN),
        ({"lsms": None}, "kernel.lsm", UNSEEN),
        (
            {"lockdown": "confidentiality"},
            "kernel.lockdown",
            (
                "no",
                "confidentiality: programs may not read kernel memory; kprobes and tracefs are closed",
                "boot with lockdown=integrity, or without lockdown",
            ),
        ),
        (
            {"seccomp_actions": ("errno", "allow")},
            "kernel.seccomp",
            ("warn", "no user notification; errno allow", ""),
        ),
        (
            {"seccomp_actions": None},
            "kernel.seccomp",
            ("warn", "actions not known: no /proc/sys/kernel/seccomp/actions_avail", ""),
        ),
        (
            {"seccomp_mode": 2, "seccomp_actions": ("user_notif",)},
            "kernel.seccomp",
            (
                "warn",
                "a filter is on this process and may refuse bpf(2) and perf_event_open(2); "
                "user notification; user_notif",
                "run it outside of the container or unit that set the filter",
            ),
        ),
        (
            {"unprivileged_bpf": None},
            "kernel.unprivileged_bpf_disabled",
            ("ok", "not a setting of this kernel; CAP_BPF, which tracing needs, is exempt", ""),
        ),
        (
            {"tracefs": None, "tracefs_opens": "Operation not permitted"},
            "kernel.tracefs",
            (
                "warn",
                "not mounted; callout cannot open its own (Operation not permitted): no tracepoint tier",
                "mount -t tracefs none /sys/kernel/tracing, or run it with CAP_SYS_ADMIN",
            ),
        ),
        (
            {"effective": 1 << 39},
            "process.capabilities",
            (
                "no",
                "missing: CAP_PERFMON CAP_NET_ADMIN; held: CAP_BPF",
                "run it as root (sudo), or from a unit with AmbientCapabilities=CAP_PERFMON CAP_NET_ADMIN",
            ),
        ),
        (
            {"effective": 1 << 12, "bounding": 1 << 12 | 1 << 38},
            "process.capabilities",
            (
                "no",
                "missing: CAP_BPF CAP_PERFMON; held: CAP_NET_ADMIN",
                "run it on the host, or give the container or unit CAP_BPF",
            ),
        ),
        (
            {"namespaces": {"pid": False, "user": True}},
            "process.pid_namespace",
            (
                "warn",
                "not the host's: rows and -p have the host's process numbers, not those of ps here",
                "run it on the host, or start the container with --pid=host",
            ),
        ),
        (
            {"namespaces": {"pid": True, "user": False}},
            "process.user_namespace",
            ("no", "not the host's: its capabilities do not count for bpf(2)", "run it as root of the host"),
        ),
        (
            {"namespaces": {"pid": True, "user": True}},
            "process.cgroup_namespace",
            ("warn", "not known: /proc/self/ns/cgroup cannot be read", ""),
        ),
        (
            {"cgroup2": "/sys/fs/cgroup/unified", "cgroup1": ("/sys/fs/cgroup/cpu",)},
            "host.cgroup",
            ("ok", "hybrid, version 2 at /sys/fs/cgroup/unified", ""),
        ),
        (
            {"cgroup2": None, "cgroup1": ("/sys/fs/cgroup/cpu",)},
            "host.cgroup",
            ("warn", "version 1 only: --cgroup cannot be used", "mount -t cgroup2 none DIRECTORY"),
        ),
        (
            {"cgroup2": None},
            "host.cgroup",
            ("warn", "none is mounted: --cgroup cannot be used", "mount -t cgroup2 none DIRECTORY"),
        ),
        ({"userns": {}}, "host.user_namespaces", ("warn", "not in this kernel", "")),
        (
            {
                "userns": {
                    "user/max_user_namespaces": 0,
                    "kernel/unprivileged_userns_clone": 0,
                    "kernel/apparmor_restrict_unprivileged_userns": 1,
                }
            },
            "host.user_namespaces",
            (
                "warn",
                "closed to users without privileges: user.max_user_namespaces=0, "
                "kernel.unprivileged_userns_clone=0, kernel.apparmor_restrict_unprivileged_userns=1",
                "run as root what makes a network namespace",
            ),
        ),
        (
            {"tools": {"nft": None}},
            "host.nft",
            ("warn", "not found: `trace --demo` needs it", "install nftables"),
        ),
    ],
)
def test_one_fact(changes: dict[str, Any], name: str, expected: tuple[State, str, str]) -> None:
    assert lines(facts(**changes), name) == [expected]


def test_a_libbpf_that_cannot_read_newer_kernels() -> None:
    assert lines(facts(libbpf="0.5"), "host.libbpf") == [("warn", "0.5", privileges.OLD_LIBBPF)]
