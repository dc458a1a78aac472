"""Which programs observe connect(2), best tier first, and what each is for.

Rule of this file: data. A tier is one way to see the entry and exit of the call; the socket programs are
shared by all tiers. Which of them this kernel takes is found out by trying (``capture.kernel``), never by its
version.
"""

from __future__ import annotations

from typing import NamedTuple


class Program(NamedTuple):
    """One BPF program: its name in the object, where it attaches, and what is lost without it.

    ``watches`` says who cannot have refused or dropped unseen while the program is attached.
    """

    name: str
    hook: str
    gives: str
    watches: str = ""


class Option(NamedTuple):
    """Programs that are loaded only when asked for, by this name, as others than connect(2) pay for them: ``payer``."""

    name: str
    payer: str
    programs: tuple[Program, ...]


class Tier(NamedTuple):
    """Entry programs that belong together; ``tax_ns`` is what every other system call of the host pays."""

    name: str
    programs: tuple[Program, ...]
    tax_ns: tuple[int, int]
    evidence: tuple[Program, ...] = ()
    options: tuple[Option, ...] = ()


# Sends to an address without connect(2), and Fast Open, as they return. Sends on connected TCP sockets enter none of
# these functions, but every send on a socket passes the tracepoint of SENDS (Linux 6.3 and later).
SENT_BY_FUNCTION = (
    Program("sent_udp4", "fexit/udp_sendmsg", "results of UDP sends"),
    Program("sent_udp6", "fexit/udpv6_sendmsg", "results of UDP sends over IPv6"),
    Program("sent_fastopen", "fexit/tcp_sendmsg_fastopen", "results of TCP Fast Open"),
    Program("sent_mptcp", "fexit/mptcp_sendmsg", "results of Fast Open with MPTCP"),
    Program("sent_unix", "fexit/unix_dgram_sendmsg", "Unix datagrams to an address"),
    Program("sent_raw4", "fexit/raw_sendmsg", "packets of raw sockets"),
    Program("sent_raw6", "fexit/rawv6_sendmsg", "packets of raw IPv6 sockets"),
    Program("sent_ping4", "fexit/ping_v4_sendmsg", "packets of ping sockets"),
    Program("sent_ping6", "fexit/ping_v6_sendmsg", "packets of IPv6 ping sockets"),
    Program("sent_packet", "fexit/packet_sendmsg", "frames of packet sockets"),
    Program("sent_sctp", "fexit/sctp_sendmsg", "messages of SCTP (its module must be there first)"),
    Program("sctp_connected", "fexit/__sctp_connect", "sctp_connectx(3) (the module must be there first)"),
)
SENDS = Option(
    "sends",
    "every send on a socket",
    (
        Program(
            "sent_any",
            "tp_btf/sock_send_length",
            "results of UDP sends and of Fast Open; Unix datagrams to an address; raw, ping and packet sockets",
        ),
    ),
)
IA32 = Option(
    "ia32",
    "every system call of this host",
    (
        Program("every_call_exit", "tp_btf/sys_exit", "results of connect(2) of i386 and x32 processes"),
        Program("every_call_enter", "tp_btf/sys_enter", "connect(2) of i386 and x32 processes"),
    ),
)
OPTIONS = {option.name: option for option in (SENDS, IA32)}
# Of which attempts the return is waited for (narrow.returns), and the programs that must see it.
RETURNS = {
    1: (frozenset({"sent_udp4", "sent_udp6"}), frozenset({"sent_any"})),
    2: (frozenset({"sent_fastopen"}), frozenset({"sent_any"})),
}

TIERS = (
    Tier(
        "trampoline",
        (
            Program("trampoline_connect_exit", "fexit/__sys_connect", "result of connect(2)"),
            Program("trampoline_connect_enter", "fentry/__sys_connect", "connect(2), every ABI"),
        ),
        (0, 0),
        (
            *SENT_BY_FUNCTION,
            Program(
                "trampoline_lsm",
                "fexit/security_socket_connect",
                "refusals by a security module, and the kernel's own copy of the address",
                "lsm",
            ),
            Program(
                "trampoline_unix",
                "fexit/security_unix_stream_connect",
                "refusals of Unix streams by a security module",
            ),
            Program(
                "trampoline_unix_send",
                "fexit/security_unix_may_send",
                "refusals of Unix datagrams by a security module",
                "unix_send",
            ),
            Program(
                "trampoline_cgroup",
                "fexit/__cgroup_bpf_run_filter_sock_addr",
                "refusals by a cgroup program",
                "cgroup",
            ),
            Program(
                "trampoline_icmp6", "fentry/ipv6_icmp_error", "ICMPv6 errors, with type, code and sender"
            ),
        ),
    ),
    Tier(
        "kprobe",
        (
            Program("kprobe_connect_exit", "kretprobe/__sys_connect", "result of connect(2)"),
            Program("kprobe_connect_enter", "kprobe/__sys_connect", "connect(2), every ABI"),
        ),
        (0, 0),
        (
            Program("kprobe_copy", "kprobe/security_socket_connect", "the kernel's own copy of the address"),
            Program(
                "kprobe_lsm", "kretprobe/security_socket_connect", "refusals by a security module", "lsm"
            ),
            Program(
                "kprobe_cgroup",
                "kretprobe/__cgroup_bpf_run_filter_sock_addr",
                "refusals by a cgroup program",
                "cgroup",
            ),
            Program(
                "kprobe_unix",
                "kretprobe/security_unix_stream_connect",
                "refusals of Unix streams by a security module",
            ),
            Program(
                "kprobe_unix_send",
                "kretprobe/security_unix_may_send",
                "refusals of Unix datagrams by a security module",
                "unix_send",
            ),
            Program("kprobe_icmp6", "kprobe/ipv6_icmp_error", "ICMPv6 errors, with type, code and sender"),
        ),
        (SENDS,),
    ),
    Tier(
        "tracepoint",
        (
            Program("tracepoint_connect_exit", "tp/syscalls/sys_exit_connect", "result of connect(2)"),
            Program(
                "tracepoint_connect_enter", "tp/syscalls/sys_enter_connect", "connect(2), native ABI only"
            ),
        ),
        (65, 115),
        (),
        (SENDS, IA32),
    ),
)

# Attached before the entry programs, so that no attempt is seen without its end.
SOCKET_PROGRAMS = (
    Program("socket_state", "tp_btf/inet_sock_set_state", "final verdicts of TCP attempts"),
    Program("socket_state_missed", "tp_btf/inet_sock_set_state", "verdicts during which another one came"),
    Program("socket_reset", "tp_btf/tcp_receive_reset", "whether a RST came"),
    Program("socket_retransmit", "tp_btf/tcp_retransmit_skb", "number of SYNs sent"),
    Program(
        "attempt_signal",
        "tp_btf/signal_deliver",
        "whether a signal ended the call or the kernel enters it again",
    ),
    Program("attempt_died", "tp_btf/sched_process_exit", "attempts of threads that die inside the call"),
    Program("uring_submit_req", "tp_btf/io_uring_submit_req", "IORING_OP_CONNECT (Linux 6.4 and later)"),
    Program("uring_submit_sqe", "tp_btf/io_uring_submit_sqe", "IORING_OP_CONNECT (Linux 6.0 to 6.3)"),
    Program("uring_complete", "tp_btf/io_uring_complete", "results of IORING_OP_CONNECT"),
    Program(
        "socket_error",
        "tp_btf/inet_sk_error_report",
        "ICMP errors, with type, code and sender; errors that come later for a connected UDP socket",
    ),
    Program("datagram_sendmsg4", "cgroup/sendmsg4", "datagrams sent to an IPv4 address without connect"),
    Program("datagram_sendmsg6", "cgroup/sendmsg6", "datagrams sent to an IPv6 address without connect"),
    Program("socket_drop", "tp_btf/kfree_skb", "whether this host's firewall dropped the packets", "drops"),
)
# The second is attached once the first has been skipped: on this hook each costs every TCP connection some 400 ns.
FIRST, SECOND = SOCKET_PROGRAMS[:2]
# Not attached: run by reading it, once at the end of a trace.
LEFTOVER = Program("leftover_calls", "iter/task", "calls that are still blocked when a trace ends")
# Run now and then, while attempts are under way.
OVERLOOKED = Program("what_was_overlooked", "iter/bpf_map_elem", "verdicts that no program was run for")
ESSENTIAL = frozenset({"socket_state"})
# Where the kernel skips one of these (it does not run a program that runs on this CPU already, below a soft interrupt),
# a row has its verdict all the same, but may lack what would have told its cause.
EVIDENCE = frozenset(
    {
        "socket_reset",
        "socket_retransmit",
        "socket_drop",
        "socket_error",
        *(program.name for tier in TIERS for program in tier.evidence),
    }
)

# For whoever wants to know what a cgroup id means (enrich.workload).
CGROUPS = (
    Program("cgroup_made", "tp_btf/cgroup_mkdir", "paths of cgroups that are gone when they are asked for"),
)
# For who made an attempt: loaded with the channels of such records (capture.channels).
LOOK = Program("process_look", "iter/task", "processes that began before the trace")
FORK = Program(
    "process_fork", "tp_btf/sched_process_fork", "processes that call without an exec of their own"
)
EXEC = Program(
    "process_exec", "tp_btf/sched_process_exec", "executable and arguments, also of what lives a moment"
)
EXIT = Program("process_exit", "tp_btf/sched_process_exit", "which processes can be forgotten")
PROCESSES = (LOOK, FORK, EXEC, EXIT)

# -e network: loaded only then. Of a wait only the return is seen.
TOLD = {
    "socket": "new sockets",
    "bind": "local addresses asked for",
    "listen": "sockets that wait for connections",
    "accept": "connections accepted",
    "accept4": "connections accepted",
    "getsockopt": "results of non-blocking attempts that were asked for (SO_ERROR)",
    "sendto": "first send, and bytes",
    "sendmsg": "first send, and bytes",
    "sendmmsg": "first send, and bytes",
    "write": "first send, and bytes",
    "writev": "first send, and bytes",
    "recvfrom": "first receive, and bytes",
    "recvmsg": "first receive, and bytes",
    "recvmmsg": "first receive, and bytes",
    "read": "first receive, and bytes",
    "readv": "first receive, and bytes",
    "shutdown": "sides closed",
    "close": "descriptors closed",
}
WAITS = ("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2")
CONVERSATION = (
    Program("socket_released", "cgroup/sock_release", "ends of connections, also where a process dies"),
    *(
        Program(f"call_{name}_exit", f"tp/syscalls/sys_exit_{name}", "when a wait for an attempt was over")
        for name in WAITS
    ),
    *(Program(f"call_{name}_exit", f"tp/syscalls/sys_exit_{name}", gives) for name, gives in TOLD.items()),
    *(Program(f"call_{name}_enter", f"tp/syscalls/sys_enter_{name}", gives) for name, gives in TOLD.items()),
    Program("socket_created", "cgroup/sock_create", "cookies of sockets before their attempt"),
)

# Names of destinations. PACKET_TAX_NS: what each packet that a socket sends or is given pays for it (bench/names.py).
PACKET_TAX_NS = (80, 150)
NAMES = (
    Program("names_received", "cgroup_skb/ingress", "answers to DNS queries: names of destinations"),
    Program("names_sent", "cgroup_skb/egress", "who asked, and the names that TLS clients send (SNI)"),
)
