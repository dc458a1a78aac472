"""The doctor without a kernel: hosts made of files, programs that load at our word, and the whole screen."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import sys
from dataclasses import fields, replace
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
from callout.cli import doctor
from callout.doctor import host, programs, report, screen
from callout.doctor.facts import Check, Facts, Host, State, Trial
from callout.doctor.paths import PATHS
from callout.errors import NotPermittedError

ROOT = 0x1FFFFFFFFFF
SERVER = Host(
    release="6.12.9-amd64",
    machine="x86_64",
    btf_size=6123456,
    lockdown="integrity",
    lsms=("lockdown", "capability", "yama", "apparmor"),
    seccomp_actions=("kill_process", "trap", "errno", "user_notif", "allow"),
    effective=ROOT,
    bounding=ROOT,
    namespaces={"pid": True, "user": True, "cgroup": True},
    unprivileged_bpf=2,
    perf_paranoid=3,
    tracefs="/sys/kernel/tracing",
    cgroup2="/sys/fs/cgroup",
    userns={"user/max_user_namespaces": 63000},
    tools={"nft": "/usr/sbin/nft", "ip": None},
)
LOADED = {program.name: Trial("loaded") for program in programs.ALL}


def facts(tier: str | None = "trampoline", **changes: Any) -> Facts:
    """A server on which all works, with changes."""
    known = {field.name for field in fields(Host)}
    there = {name: value for name, value in changes.items() if name in known}
    rest = {name: value for name, value in changes.items() if name not in known}
    given = {"libbpf": "1.5", "trials": LOADED, "tier": tier, **rest}
    return Facts(replace(SERVER, **there), **given)


def lines(found: Facts, *names: str) -> list[tuple[str, str, str]]:
    """State, detail and remedy of the named checks."""
    checks = {check.name: check for check in report.report(found)}
    return [(checks[name].state, checks[name].detail, checks[name].remedy) for name in names]


SCREEN = """\
ok    tracing works here, with the trampoline tier

the kernel
ok    release                     Linux 6.12.9-amd64, x86_64
ok    btf                         /sys/kernel/btf/vmlinux, 6,123,456 bytes
ok    lockdown                    integrity: not in the way
ok    lsm                         lockdown, capability, yama, apparmor
ok    seccomp                     user notification; kill_process trap errno
                                  user_notif allow
ok    unprivileged_bpf_disabled   2; CAP_BPF, which tracing needs, is exempt
ok    perf_event_paranoid         3; CAP_PERFMON, which tracing needs, is exempt
ok    tracefs                     mounted at /sys/kernel/tracing

this process
ok    capabilities                held: CAP_BPF CAP_PERFMON CAP_NET_ADMIN
ok    pid_namespace               the host's
ok    user_namespace              the host's
ok    cgroup_namespace            the host's

this host
ok    libbpf                      1.5
ok    cgroup                      version 2 at /sys/fs/cgroup
ok    user_namespaces             open, up to 63,000
ok    nft                         /usr/sbin/nft
warn  ip                          not found: `trace --demo` needs it
                                  -> install iproute2

entry of the call: tiers of programs, best first
ok    trampoline                  chosen; while tracing, other system calls of
                                  this host pay nothing
ok      trampoline_connect_exit   fexit/__sys_connect loaded; gives: result of
                                  connect(2)
ok      trampoline_connect_enter  fentry/__sys_connect loaded; gives:
                                  connect(2), every ABI
ok      sent_udp4                 fexit/udp_sendmsg loaded; gives: results of
                                  UDP sends
ok      sent_udp6                 fexit/udpv6_sendmsg loaded; gives: results of
                                  UDP sends over IPv6
ok      sent_fastopen             fexit/tcp_sendmsg_fastopen loaded; gives:
                                  results of TCP Fast Open
ok      sent_mptcp                fexit/mptcp_sendmsg loaded; gives: results of
                                  Fast Open with MPTCP
ok      sent_unix                 fexit/unix_dgram_sendmsg loaded; gives: Unix
                                  datagrams to an address
ok      sent_raw4                 fexit/raw_sendmsg loaded; gives: packets of
                                  raw sockets
ok      sent_raw6                 fexit/rawv6_sendmsg loaded; gives: packets of
                                  raw IPv6 sockets
ok      sent_ping4                fexit/ping_v4_sendmsg loaded; gives: packets
                                  of ping sockets
ok      sent_ping6                fexit/ping_v6_sendmsg loaded; gives: packets
                                  of IPv6 ping sockets
ok      sent_packet               fexit/packet_sendmsg loaded; gives: frames of
                                  packet sockets
ok      sent_sctp                 fexit/sctp_sendmsg loaded; gives: messages of
                                  SCTP (its module must be there first)
ok      sctp_connected            fexit/__sctp_connect loaded; gives:
                                  sctp_connectx(3) (the module must be there
                                  first)
ok      trampoline_lsm            fexit/security_socket_connect loaded; gives:
                                  refusals by a security module, and the
                                  kernel's own copy of the address
ok      trampoline_unix           fexit/security_unix_stream_connect loaded;
                                  gives: refusals of Unix streams by a security
                                  module
ok      trampoline_unix_send      fexit/security_unix_may_send loaded; gives:
                                  refusals of Unix datagrams by a security
                                  module
ok      trampoline_cgroup         fexit/__cgroup_bpf_run_filter_sock_addr
                                  loaded; gives: refusals by a cgroup program
ok      trampoline_icmp6          fentry/ipv6_icmp_error loaded; gives: ICMPv6
                                  errors, with type, code and sender
ok    kprobe                      works, not chosen; with it, while tracing,
                                  other system calls of this host pay nothing
ok      kprobe_connect_exit       kretprobe/__sys_connect loaded; gives: result
                                  of connect(2)
ok      kprobe_connect_enter      kprobe/__sys_connect loaded; gives:
                                  connect(2), every ABI
ok      kprobe_copy               kprobe/security_socket_connect loaded; gives:
                                  the kernel's own copy of the address
ok      kprobe_lsm                kretprobe/security_socket_connect loaded;
                                  gives: refusals by a security module
ok      kprobe_cgroup             kretprobe/__cgroup_bpf_run_filter_sock_addr
                                  loaded; gives: refusals by a cgroup program
ok      kprobe_unix               kretprobe/security_unix_stream_connect loaded;
                                  gives: refusals of Unix streams by a security
                                  module
ok      kprobe_unix_send          kretprobe/security_unix_may_send loaded;
                                  gives: refusals of Unix datagrams by a
                                  security module
ok      kprobe_icmp6              kprobe/ipv6_icmp_error loaded; gives: ICMPv6
                                  errors, with type, code and sender
ok      sent_any                  tp_btf/sock_send_length loaded; gives: results
                                  of UDP sends and of Fast Open; Unix datagrams
                                  to an address; raw, ping and packet sockets;
                                  only with --sends, as every send on a socket
                                  pays for it
ok    tracepoint                  works, not chosen; with it, while tracing,
                                  every other system call of this host takes 65
                                  to 115 ns more
ok      tracepoint_connect_exit   tp/syscalls/sys_exit_connect loaded; gives:
                                  result of connect(2)
ok      tracepoint_connect_enter  tp/syscalls/sys_enter_connect loaded; gives:
                                  connect(2), native ABI only
ok      sent_any                  tp_btf/sock_send_length loaded; gives: results
                                  of UDP sends and of Fast Open; Unix datagrams
                                  to an address; raw, ping and packet sockets;
                                  only with --sends, as every send on a socket
                                  pays for it
ok      every_call_exit           tp_btf/sys_exit loaded; gives: results of
                                  connect(2) of i386 and x32 processes; only
                                  with --ia32, as every system call of this host
                                  pays for it
ok      every_call_enter          tp_btf/sys_enter loaded; gives: connect(2) of
                                  i386 and x32 processes; only with --ia32, as
                                  every system call of this host pays for it

after the call: programs that follow the socket
ok    socket_state                tp_btf/inet_sock_set_state loaded; gives:
                                  final verdicts of TCP attempts
ok    socket_state_missed         tp_btf/inet_sock_set_state loaded; gives:
                                  verdicts during which another one came
ok    socket_reset                tp_btf/tcp_receive_reset loaded; gives:
                                  whether a RST came
ok    socket_retransmit           tp_btf/tcp_retransmit_skb loaded; gives:
                                  number of SYNs sent
ok    attempt_signal              tp_btf/signal_deliver loaded; gives: whether a
                                  signal ended the call or the kernel enters it
                                  again
ok    attempt_died                tp_btf/sched_process_exit loaded; gives:
                                  attempts of threads that die inside the call
ok    uring_submit_req            tp_btf/io_uring_submit_req loaded; gives:
                                  IORING_OP_CONNECT (Linux 6.4 and later)
ok    uring_submit_sqe            tp_btf/io_uring_submit_sqe loaded; gives:
                                  IORING_OP_CONNECT (Linux 6.0 to 6.3)
ok    uring_complete              tp_btf/io_uring_complete loaded; gives:
                                  results of IORING_OP_CONNECT
ok    socket_error                tp_btf/inet_sk_error_report loaded; gives:
                                  ICMP errors, with type, code and sender;
                                  errors that come later for a connected UDP
                                  socket
ok    datagram_sendmsg4           cgroup/sendmsg4 loaded; gives: datagrams sent
                                  to an IPv4 address without connect
ok    datagram_sendmsg6           cgroup/sendmsg6 loaded; gives: datagrams sent
                                  to an IPv6 address without connect
ok    socket_drop                 tp_btf/kfree_skb loaded; gives: whether this
                                  host's firewall dropped the packets
ok    leftover_calls              iter/task loaded; gives: calls that are still
                                  blocked when a trace ends
ok    what_was_overlooked         iter/bpf_map_elem loaded; gives: verdicts that
                                  no program was run for

processes: who made an attempt
ok    process_look                iter/task loaded; gives: processes that began
                                  before the trace
ok    process_fork                tp_btf/sched_process_fork loaded; gives:
                                  processes that call without an exec of their
                                  own
ok    process_exec                tp_btf/sched_process_exec loaded; gives:
                                  executable and arguments, also of what lives a
                                  moment
ok    process_exit                tp_btf/sched_process_exit loaded; gives: which
                                  processes can be forgotten

names of destinations
ok    names_received              cgroup_skb/ingress loaded; gives: answers to
                                  DNS queries: names of destinations
ok    names_sent                  cgroup_skb/egress loaded; gives: who asked,
                                  and the names that TLS clients send (SNI)
ok    tax                         while tracing, each packet that a socket sends
                                  or receives takes 80 to 150 ns more;
                                  --no-names saves that

ways out, and what observes them here
ok    connect                     connect(2), TCP and UDP over IPv4 and IPv6:
                                  observed by trampoline_connect_enter
ok    connect_ia32                connect(2) of 32-bit processes (i386 number
                                  362): observed by trampoline_connect_enter
ok    socketcall                  socketcall(2) of 32-bit processes (i386 number
                                  102): observed by trampoline_connect_enter
ok    connect_x32                 connect(2) of x32 processes (number 42 of that
                                  table): observed by trampoline_connect_enter
ok    io_uring                    IORING_OP_CONNECT: observed by
                                  uring_submit_req, uring_submit_sqe
ok    sendto_fastopen             TCP Fast Open: sendto(2) with MSG_FASTOPEN:
                                  observed by socket_state
ok    sendmsg_fastopen            TCP Fast Open: sendmsg(2) with MSG_FASTOPEN:
                                  observed by socket_state
ok    fastopen_failed             TCP Fast Open that fails before its SYN:
                                  observed by sent_fastopen
ok    sendto                      datagrams of sendto(2) without connect:
                                  observed by datagram_sendmsg4,
                                  datagram_sendmsg6
ok    sendmsg                     datagrams of sendmsg(2) without connect:
                                  observed by datagram_sendmsg4,
                                  datagram_sendmsg6
ok    sendmmsg                    datagrams of sendmmsg(2) without connect:
                                  observed by datagram_sendmsg4,
                                  datagram_sendmsg6
ok    unix                        connect(2) on AF_UNIX sockets: observed by
                                  trampoline_connect_enter
ok    unix_sendto                 datagrams to an AF_UNIX address without
                                  connect: observed by sent_unix
ok    netlink                     connect(2) on AF_NETLINK sockets: observed by
                                  trampoline_connect_enter
ok    packet                      connect(2) on AF_PACKET sockets, which the
                                  kernel refuses: observed by
                                  trampoline_connect_enter
ok    raw                         connect(2) on raw and ping sockets: observed
                                  by trampoline_connect_enter
ok    raw_sendto                  packets of raw sockets without connect:
                                  observed by sent_raw4, sent_raw6
ok    ping_sendto                 packets of ping sockets without connect:
                                  observed by sent_ping4, sent_ping6
ok    packet_sendto               frames of AF_PACKET sockets: observed by
                                  sent_packet
ok    vsock                       connect(2) on AF_VSOCK sockets: observed by
                                  trampoline_connect_enter
ok    mptcp                       connect(2) on MPTCP sockets: observed by
                                  trampoline_connect_enter
ok    mptcp_subflow               further subflows of MPTCP, opened by the
                                  kernel: observed by socket_state
ok    sctp                        connect(2) on SCTP sockets: observed by
                                  trampoline_connect_enter
ok    sctp_connectx               sctp_connectx(3): a socket option: observed by
                                  sctp_connected
ok    sctp_sendto                 associations by sendto(2) on SCTP sockets:
                                  observed by sent_sctp
ok    dccp                        connect(2) on DCCP sockets (until Linux 6.15):
                                  observed by trampoline_connect_enter
ok    smc                         connect(2) on SMC sockets: observed by
                                  trampoline_connect_enter
ok    kernel                      sockets of the kernel itself (NFS, CIFS, ...),
                                  TCP only: observed by socket_state
"""


def test_whole_screen() -> None:
    assert screen.table(report.report(facts())) == SCREEN


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


CHECKS = [
    Check("tracing", "no", "does not work here: x", "do y"),
    Check("kernel.release", "ok", "Linux \x1b[2J evil \u202e 6"),
    Check("tier.a.program_of_it", "warn", "a-word-of-twenty-four-or more", "put it right, soon"),
]


def test_narrow_screen_with_escapes() -> None:
    assert screen.table(CHECKS, width=44) == (
        "no    tracing does not work here: x\n"
        "              -> do y\n"
        "\n"
        "the kernel\n"
        "ok    release          Linux \\x1b[2J evil\n"
        "                       \\u202e 6\n"
        "\n"
        "entry of the call: tiers of programs, best first\n"
        "warn    program_of_it  a-word-of-twenty-four\n"
        "                       -or more\n"
        "                       -> put it right, soon\n"
    )


def test_colour_marks_states_and_headings() -> None:
    assert screen.table(CHECKS[:2], color=True) == (
        "\033[31mno\033[0m    tracing does not work here: x\n"
        "              -> do y\n"
        "\n"
        "\033[1mthe kernel\033[0m\n"
        "\033[32mok\033[0m    release  Linux \\x1b[2J evil \\u202e 6\n"
    )


def test_lines_for_programs() -> None:
    assert [json.loads(line) for line in screen.ndjson(CHECKS[:2]).splitlines()] == [
        {"check": "tracing", "state": "no", "detail": "does not work here: x", "remedy": "do y"},
        {"check": "kernel.release", "state": "ok", "detail": "Linux \x1b[2J evil \u202e 6", "remedy": None},
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("output", "stream", "no_color", "color", "is_table"),
    [
        (None, io.StringIO, "", False, False),
        ("table", io.StringIO, "", False, True),
        (None, Terminal, "", True, True),
        (None, Terminal, "1", False, True),
        ("ndjson", Terminal, "", False, False),
    ],
)
@pytest.mark.parametrize(("tier", "status"), [("kprobe", 0), (None, 3)])
def test_verb(
    monkeypatch: pytest.MonkeyPatch,
    output: str | None,
    stream: type[io.StringIO],
    no_color: str,
    color: bool,
    is_table: bool,
    tier: str | None,
    status: int,
) -> None:
    found = facts(tier)
    monkeypatch.setattr(host, "gather", lambda: found.host)
    monkeypatch.setattr(programs, "gather", lambda there: found)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "132")  # a wide terminal gets 80 columns all the same
    monkeypatch.setattr(sys, "stdout", stream())
    assert (
        doctor.run(
            argparse.Namespace(
                output=output, selftest=False, memory=False, tier=None, sends=False, ia32=False
            )
        )
        == status
    )
    checks = report.report(found)
    assert isinstance(sys.stdout, io.StringIO)
    assert sys.stdout.getvalue() == (screen.table(checks, 80, color) if is_table else screen.ndjson(checks))


def test_a_libbpf_that_cannot_read_newer_kernels() -> None:
    assert lines(facts(libbpf="0.5"), "host.libbpf") == [("warn", "0.5", privileges.OLD_LIBBPF)]
