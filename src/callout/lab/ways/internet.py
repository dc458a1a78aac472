"""connect(2) and its like on internet sockets: TCP, UDP, MPTCP, SCTP, raw and ping sockets, Fast Open.

Sources: tcp(7), udp(7), raw(7), icmp(7), Documentation/networking/mptcp.rst, sctp(7), RFC 7413.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct

from callout.lab import libc
from callout.lab.address import UNSPEC, inet, inet6
from callout.lab.ways.base import (
    DISCARD,
    HOST,
    HOST6,
    Made,
    NotHere,
    Way,
    allow_ping,
    connect,
    granted,
    listener,
    made_socket,
    outcome,
)
from callout.lab.ways.message import Message, send_message, send_messages, system_call

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_MPTCP = 33, 132, 262  # include/uapi/linux/in.h
SOCK_DCCP, SOL_DCCP, DCCP_SOCKOPT_SERVICE = 6, 269, 2  # include/linux/net.h, socket.h, uapi/linux/dccp.h
AF_SMC = 43  # include/linux/socket.h
MSG_FASTOPEN = 0x20000000  # include/linux/socket.h
TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE = 30, 34  # include/uapi/linux/tcp.h
TCP_SYN_SENT = 2  # include/net/tcp_states.h
SCTP_SOCKOPT_CONNECTX = 110  # include/uapi/linux/sctp.h
NOWHERE = "192.0.2.1"  # TEST-NET-1, RFC 5737
X32_CONNECT = 0x40000000 | 42  # arch/x86/entry/syscalls/syscall_64.tbl


def stream(host: str, protocol: int = 0) -> Made:
    """A stream socket to a TCP listener."""
    caller = made_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, TCP, protocol)
    server, address = listener(host)
    with server, caller:
        return connect(caller, address)


def tcp4() -> Made:
    """IPv4."""
    return stream(HOST)


def tcp6() -> Made:
    """IPv6."""
    return stream(HOST6)


def mptcp() -> Made:
    """An MPTCP socket, which falls back to TCP as the listener has none."""
    return stream(HOST, IPPROTO_MPTCP)


def udp4() -> Made:
    """A peer is set."""
    with socket.socket(socket.AF_INET, UDP) as caller:
        return connect(caller, inet(HOST, DISCARD))


def udp6() -> Made:
    """A peer is set."""
    with made_socket(socket.AF_INET6, UDP) as caller:
        return connect(caller, inet6(HOST6, DISCARD))


def mapped(kind: int) -> Made:
    """An IPv4 peer by its mapped address, on an IPv6 socket (ipv6(7))."""
    server = socket.socket(socket.AF_INET, kind)
    server.bind((HOST, 0))
    if kind == TCP:
        server.listen()
    with server, made_socket(socket.AF_INET6, kind) as caller:
        return connect(caller, inet6(f"::ffff:{HOST}", server.getsockname()[1]))


def tcp_mapped() -> Made:
    """TCP."""
    return mapped(TCP)


def udp_mapped() -> Made:
    """UDP."""
    return mapped(UDP)


def unspec() -> Made:
    """A socket without a peer, so that this is the only attempt on it."""
    with socket.socket(socket.AF_INET, UDP) as caller:
        return connect(caller, UNSPEC)


def x32() -> Made:
    """The x32 table of x86-64; only kernels started with ``syscall.x32=y`` take it."""
    if platform.machine() != "x86_64":
        raise NotHere("x32 is of x86-64")
    server, address = listener()
    with server, socket.socket(socket.AF_INET, TCP) as caller:
        result = system_call(X32_CONNECT, caller.fileno(), address, len(address))
        return granted(caller, address, result)


def raw() -> Made:
    """A raw socket; nothing is sent."""
    with made_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as caller:
        return connect(caller, inet(HOST, 0))


def ping() -> Made:
    """A socket of unprivileged ping(8)."""
    allow_ping()
    with made_socket(socket.AF_INET, UDP, socket.IPPROTO_ICMP) as caller:
        return connect(caller, inet(HOST, 0))


def sctp_pair() -> tuple[socket.socket, socket.socket, bytes]:
    """An SCTP listener, a caller, and the listener's address."""
    server = made_socket(socket.AF_INET, TCP, IPPROTO_SCTP)
    server.bind((HOST, 0))
    server.listen()
    return server, made_socket(socket.AF_INET, TCP, IPPROTO_SCTP), inet(HOST, server.getsockname()[1])


def sctp() -> Made:
    """A one-to-one socket."""
    server, caller, address = sctp_pair()
    with server, caller:
        return connect(caller, address)


def sctp_connectx() -> Made:
    """The socket option behind sctp_connectx(3); it returns the number of the association."""
    server, caller, address = sctp_pair()
    with server, caller:
        caller.setsockopt(IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, address)
        return Made(caller.fileno(), address, 0)


def sctp_sendto() -> Made:
    """A one-to-many socket: its first message to an address makes the association."""
    server, _, address = sctp_pair()
    with server, made_socket(socket.AF_INET, socket.SOCK_SEQPACKET, IPPROTO_SCTP) as caller:
        caller.sendto(b"x", server.getsockname())
        return Made(caller.fileno(), address, 0)


def dccp() -> Made:
    """Both ends must name a service (RFC 4340, 8.1.2)."""
    server = made_socket(socket.AF_INET, SOCK_DCCP, IPPROTO_DCCP)
    with server, made_socket(socket.AF_INET, SOCK_DCCP, IPPROTO_DCCP) as caller:
        for end in (server, caller):
            end.setsockopt(SOL_DCCP, DCCP_SOCKOPT_SERVICE, struct.pack("!I", 1))
        server.bind((HOST, 0))
        server.listen()
        return connect(caller, inet(HOST, server.getsockname()[1]))


def smc() -> Made:
    """Shared memory communications; the listener has none, so that plain TCP is left (AF_SMC, Linux 4.11)."""
    server, address = listener()
    with server, made_socket(AF_SMC, TCP) as caller:
        return connect(caller, address)


def mptcp_fastopen() -> Made:
    """sendto(2) on an MPTCP socket (Linux 6.1)."""
    server, address = listener()
    with server, made_socket(socket.AF_INET, TCP, IPPROTO_MPTCP) as caller:
        try:
            caller.sendto(b"x", MSG_FASTOPEN, server.getsockname())
        except OSError as error:
            made = Made(caller.fileno(), address, -(error.errno or 0))
            raise NotHere(f"MPTCP of this kernel has no Fast Open ({error.strerror})", made) from error
        return Made(caller.fileno(), address, 0)


def fastopen_sendto() -> Made:
    """Without a cookie yet, so that the data goes out after an ordinary handshake."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, TCP) as caller:
        caller.sendto(b"x", MSG_FASTOPEN, server.getsockname())
        return Made(caller.fileno(), address, 0)


def fastopen_sendmsg() -> Made:
    """As above, by sendmsg(2)."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, TCP) as caller:
        return Made(caller.fileno(), address, send_message(caller, Message(address), MSG_FASTOPEN))


def fastopen_sendmmsg() -> Made:
    """As above, by sendmmsg(2)."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, TCP) as caller:
        return Made(caller.fileno(), address, send_messages(caller, Message(address), MSG_FASTOPEN))


def fastopen_unrouted() -> Made:
    """Nothing leads there, so there is no SYN either."""
    address = inet(NOWHERE, DISCARD)
    with socket.socket(socket.AF_INET, TCP) as caller:
        result = libc.sendto(caller.fileno(), b"x", MSG_FASTOPEN, address)
        return granted(caller, address, result, -errno.ENETUNREACH)


def fastopen_connect() -> Made:
    """connect(2) returns 0 and sends nothing; the first data takes the SYN along (tcp_fastopen_defer_connect)."""
    server, address = listener()
    with server, socket.socket(socket.AF_INET, TCP) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        caller.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
        made = connect(caller, address)
        if caller.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != bytes([TCP_SYN_SENT]):
            raise NotHere("the kernel did not put the SYN off (see the sysctl net.ipv4.tcp_fastopen)")
        caller.send(b"x")
        outcome(caller, -errno.EINPROGRESS)
        return made


WAYS = (
    Way("tcp4", "connect", "connect(2), TCP over IPv4", "connect", "established", tcp4),
    Way("tcp6", "connect", "connect(2), TCP over IPv6", "connect", "established", tcp6),
    Way("udp4", "connect", "connect(2), UDP over IPv4", "connect", "associated", udp4),
    Way("udp6", "connect", "connect(2), UDP over IPv6", "connect", "associated", udp6),
    Way("tcp_mapped", "connect", "connect(2), TCP to a mapped IPv4 address", "connect", "established", tcp_mapped),
    Way("udp_mapped", "connect", "connect(2), UDP to a mapped IPv4 address", "connect", "associated", udp_mapped),
    Way("unspec", "connect", "connect(2) with AF_UNSPEC", "connect", "dissolved", unspec),
    Way("raw", "raw", "connect(2) on a raw socket", "connect", "associated", raw),
    Way("ping", "raw", "connect(2) on a ping socket", "connect", "associated", ping),
    Way("connect_x32", "connect_x32", "connect(2) of the x32 ABI", "connect", "established", x32, in_part=True),
    Way("mptcp", "mptcp", "connect(2) on an MPTCP socket", "connect", "established", mptcp),
    Way("sctp", "sctp", "connect(2) on an SCTP socket", "connect", "established", sctp),
    Way("sctp_connectx", "sctp_connectx", "sctp_connectx(3)", "sctp_connectx", "established", sctp_connectx),
    Way("sctp_sendto", "sctp_sendto", "sendto(2) on an SCTP socket without connect", "sendto", "associated",
        sctp_sendto),
    Way("dccp", "dccp", "connect(2) on a DCCP socket", "connect", "established", dccp),
    Way("smc", "smc", "connect(2) on an SMC socket", "connect", "established", smc),
    Way("mptcp_fastopen", "sendto_fastopen", "sendto(2) with MSG_FASTOPEN on an MPTCP socket", "sendto_fastopen",
        "established", mptcp_fastopen),
    Way("fastopen_sendto", "sendto_fastopen", "sendto(2) with MSG_FASTOPEN", "sendto_fastopen", "established",
        fastopen_sendto),
    Way("fastopen_sendmsg", "sendmsg_fastopen", "sendmsg(2) with MSG_FASTOPEN", "sendmsg_fastopen", "established",
        fastopen_sendmsg),
    Way("fastopen_sendmmsg", "sendmsg_fastopen", "sendmmsg(2) with MSG_FASTOPEN", "sendmsg_fastopen", "established",
        fastopen_sendmmsg),
    Way("fastopen_unrouted", "fastopen_failed", "sendto(2) with MSG_FASTOPEN and no route", "sendto_fastopen",
        "unreachable", fastopen_unrouted),
    Way("fastopen_connect", "connect", "connect(2) after TCP_FASTOPEN_CONNECT, then send(2)", "connect", "established",
        fastopen_connect),
)  # fmt: skip
