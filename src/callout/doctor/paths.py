"""The ways out of a process, and which of our programs sees each.

Rule of this file: data. A way is observed here when one of the programs that see it is attached by the chosen
tier (or is a socket program that loads); so new coverage is a name in one line. What the kernel does on each:
net/socket.c (``__sys_connect``), io_uring/net.c (``io_connect`` calls ``__sys_connect_file``), net/ipv4/tcp.c
(``tcp_sendmsg_fastopen``). System call tracepoints stay silent for i386 and x32 calls:
kernel/trace/trace_syscalls.c (arch_trace_is_compat_syscall).
``callout doctor --selftest`` takes each of them and compares.
"""

from __future__ import annotations

from typing import NamedTuple

ANY_ABI = ("trampoline_connect_enter", "kprobe_connect_enter")  # hooks of __sys_connect
FOREIGN = (*ANY_ABI, "every_call_enter")  # which of a tier that is asked for
NATIVE = (*ANY_ABI, "tracepoint_connect_enter")
SOCKET = ("socket_state",)
DATAGRAM = ("datagram_sendmsg4", "datagram_sendmsg6")


class Path(NamedTuple):
    """One way: its name (as in ``connect.entry`` where it has one there), what it is, and who sees it.

    ``partly_by`` see only ``part`` of it. ``machines``: where it exists (names of uname(2)); empty: everywhere.
    """

    name: str
    what: str
    seen_by: tuple[str, ...]
    machines: tuple[str, ...] = ()
    partly_by: tuple[str, ...] = ()
    part: str = ""


FROM_SYN = "only TCP, from its SYN on, without the result of the call"
X86 = ("x86_64",)

PATHS = (
    Path("connect", "connect(2), TCP and UDP over IPv4 and IPv6", NATIVE),
    Path("connect_ia32", "connect(2) of 32-bit processes (i386 number 362)", FOREIGN, X86, SOCKET, FROM_SYN),
    Path("socketcall", "socketcall(2) of 32-bit processes (i386 number 102)", FOREIGN, X86, SOCKET, FROM_SYN),
    Path(
        "connect_x32", "connect(2) of x32 processes (number 42 of that table)", FOREIGN, X86, SOCKET, FROM_SYN
    ),
    Path("io_uring", "IORING_OP_CONNECT", ("uring_submit_req", "uring_submit_sqe"), (), SOCKET, FROM_SYN),
    Path("sendto_fastopen", "TCP Fast Open: sendto(2) with MSG_FASTOPEN", SOCKET),
    Path("sendmsg_fastopen", "TCP Fast Open: sendmsg(2) with MSG_FASTOPEN", SOCKET),
    Path("fastopen_failed", "TCP Fast Open that fails before its SYN", ("sent_fastopen", "sent_any")),
    Path("sendto", "datagrams of sendto(2) without connect", DATAGRAM),
    Path("sendmsg", "datagrams of sendmsg(2) without connect", DATAGRAM),
    Path("sendmmsg", "datagrams of sendmmsg(2) without connect", DATAGRAM),
    Path("unix", "connect(2) on AF_UNIX sockets", NATIVE),
    Path("unix_sendto", "datagrams to an AF_UNIX address without connect", ("sent_unix", "sent_any")),
    Path("netlink", "connect(2) on AF_NETLINK sockets", NATIVE),
    Path("packet", "connect(2) on AF_PACKET sockets, which the kernel refuses", NATIVE),
    Path("raw", "connect(2) on raw and ping sockets", NATIVE),
    Path("raw_sendto", "packets of raw sockets without connect", ("sent_raw4", "sent_raw6", "sent_any")),
    Path("ping_sendto", "packets of ping sockets without connect", ("sent_ping4", "sent_ping6", "sent_any")),
    Path("packet_sendto", "frames of AF_PACKET sockets", ("sent_packet", "sent_any")),
    Path("vsock", "connect(2) on AF_VSOCK sockets", NATIVE),
    Path("mptcp", "connect(2) on MPTCP sockets", NATIVE),
    Path("mptcp_subflow", "further subflows of MPTCP, opened by the kernel", SOCKET),
    Path("sctp", "connect(2) on SCTP sockets", NATIVE),
    Path("sctp_connectx", "sctp_connectx(3): a socket option", ("sctp_connected",)),
    Path("sctp_sendto", "associations by sendto(2) on SCTP sockets", ("sent_sctp", "sent_any")),
    Path("dccp", "connect(2) on DCCP sockets (until Linux 6.15)", NATIVE),
    Path("smc", "connect(2) on SMC sockets", NATIVE),
    Path("kernel", "sockets of the kernel itself (NFS, CIFS, ...), TCP only", SOCKET),
)
