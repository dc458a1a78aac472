"""What the doctor shows: the whole screen, its width and colours, lines for programs, and the verb."""

from __future__ import annotations

import argparse
import io
import json
import sys

import pytest

from callout.cli import doctor
from callout.doctor import host, programs, report, screen
from callout.doctor.facts import Check

from .hosts import facts

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
