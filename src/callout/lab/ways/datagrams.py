"""Datagrams to an address, without connect(2): UDP and Unix.

Source: send(2), sendmmsg(2), udp(7), unix(7). A receiver is bound, so that no ICMP error comes back.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from callout.lab import libc
from callout.lab.address import inet, inet6, unix
from callout.lab.namespace import RUN
from callout.lab.ways.base import HOST, HOST6, Made, Way, allow_ping, made_socket, private_directory
from callout.lab.ways.message import Message, send_message, send_messages

NAME, FILE = "\0callout-ways", f"{RUN}/callout-ways"
EXPERIMENT = 0x88B5  # IEEE 802 local experimental Ethertype


def receiver(host: str = HOST) -> tuple[socket.socket, bytes]:
    """A bound UDP socket and its address."""
    server = made_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((host, 0))
    pack = inet6 if ":" in host else inet
    return server, pack(host, server.getsockname()[1])


def sendto(host: str) -> Made:
    """sendto(2) once."""
    server, address = receiver(host)
    with server, socket.socket(server.family, socket.SOCK_DGRAM) as caller:
        caller.sendto(b"x", server.getsockname())
        return Made(caller.fileno(), address, 0)


def sendto4() -> Made:
    """IPv4."""
    return sendto(HOST)


def sendto6() -> Made:
    """IPv6."""
    return sendto(HOST6)


def sendto_mapped() -> Made:
    """An IPv6 socket to an IPv4 peer by its mapped address (ipv6(7))."""
    server, _ = receiver(HOST)
    with server, made_socket(socket.AF_INET6, socket.SOCK_DGRAM) as caller:
        port = server.getsockname()[1]
        caller.sendto(b"x", (f"::ffff:{HOST}", port))
        return Made(caller.fileno(), inet6(f"::ffff:{HOST}", port), 0)


def sendmsg(host: str, several: bool = False) -> Made:
    """sendmsg(2) or sendmmsg(2) of one datagram."""
    server, address = receiver(host)
    with server, socket.socket(server.family, socket.SOCK_DGRAM) as caller:
        send = send_messages if several else send_message
        return Made(caller.fileno(), address, send(caller, Message(address)))


def sendmsg4() -> Made:
    """IPv4."""
    return sendmsg(HOST)


def sendmsg6() -> Made:
    """IPv6."""
    return sendmsg(HOST6)


def sendmmsg4() -> Made:
    """IPv4."""
    return sendmsg(HOST, several=True)


def sendmmsg6() -> Made:
    """IPv6."""
    return sendmsg(HOST6, several=True)


def echo_request() -> bytes:
    """An ICMP echo request with its checksum (RFC 792)."""
    return struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1)


def raw_sendto() -> Made:
    """An ICMP packet of our own making."""
    with made_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as caller:
        caller.sendto(echo_request(), (HOST, 0))
        return Made(caller.fileno(), inet(HOST, 0), 0)


def ping_sendto() -> Made:
    """An echo request; the kernel fills in number and checksum."""
    allow_ping()
    with made_socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as caller:
        caller.sendto(echo_request(), (HOST, 0))
        return Made(caller.fileno(), inet(HOST, 0), 0)


def packet_sendto() -> Made:
    """A frame by interface: it goes to lo, with a protocol number that nobody takes (IEEE 802 local experiment)."""
    with made_socket(socket.AF_PACKET, socket.SOCK_DGRAM) as caller:
        address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(EXPERIMENT), 1, 0, 0, 6, bytes(6))
        caller.sendto(b"x", ("lo", EXPERIMENT, 0, 0, bytes(6)))
        return Made(caller.fileno(), address, 0)


def raw6_sendto() -> Made:
    """As above, over IPv6."""
    with made_socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as caller:
        caller.sendto(echo_request6(), (HOST6, 0))
        return Made(caller.fileno(), inet6(HOST6, 0), 0)


def ping6_sendto() -> Made:
    """As above, over IPv6."""
    allow_ping()
    with made_socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6) as caller:
        caller.sendto(echo_request6(), (HOST6, 0))
        return Made(caller.fileno(), inet6(HOST6, 0), 0)


def echo_request6() -> bytes:
    """An ICMPv6 echo request; the kernel computes its checksum (RFC 4443)."""
    return struct.pack("!BBHHH", 128, 0, 0, 1, 1)


def unix_datagram(send: Callable[[socket.socket, bytes], int], name: str = NAME) -> Callable[[], Made]:
    """A Unix datagram to a name at which one is bound."""

    def act() -> Made:
        if name != NAME:
            private_directory()
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
        ):
            server.bind(name)
            address = unix(name)
            return Made(caller.fileno(), address, send(caller, address))

    return act


def unix_missing() -> Made:
    """Nobody is bound there: the call itself fails."""
    address = unix(NAME)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
        return Made(caller.fileno(), address, by_sendto(caller, address))


def by_sendto(caller: socket.socket, address: bytes) -> int:
    """sendto(2) of one byte: 0 or -errno."""
    return min(0, libc.sendto(caller.fileno(), b"x", 0, address))


def by_sendmsg(caller: socket.socket, address: bytes) -> int:
    """sendmsg(2) of one byte."""
    return send_message(caller, Message(address))


def by_sendmmsg(caller: socket.socket, address: bytes) -> int:
    """sendmmsg(2) of one message."""
    return send_messages(caller, Message(address))


WAYS = (
    Way("udp4_sendto", "sendto", "sendto(2), UDP over IPv4", "sendto", "associated", sendto4),
    Way("udp6_sendto", "sendto", "sendto(2), UDP over IPv6", "sendto", "associated", sendto6),
    Way(
        "mapped_sendto",
        "sendto",
        "sendto(2), UDP to a mapped IPv4 address",
        "sendto",
        "associated",
        sendto_mapped,
    ),
    Way("udp4_sendmsg", "sendmsg", "sendmsg(2), UDP over IPv4", "sendmsg", "associated", sendmsg4),
    Way("udp6_sendmsg", "sendmsg", "sendmsg(2), UDP over IPv6", "sendmsg", "associated", sendmsg6),
    Way("udp4_sendmmsg", "sendmmsg", "sendmmsg(2), UDP over IPv4", "sendmmsg", "associated", sendmmsg4),
    Way("udp6_sendmmsg", "sendmmsg", "sendmmsg(2), UDP over IPv6", "sendmmsg", "associated", sendmmsg6),
    Way("raw_sendto", "raw_sendto", "sendto(2) on a raw socket", "sendto", "associated", raw_sendto),
    Way("raw6_sendto", "raw_sendto", "sendto(2) on a raw IPv6 socket", "sendto", "associated", raw6_sendto),
    Way("ping_sendto", "ping_sendto", "sendto(2) on a ping socket", "sendto", "associated", ping_sendto),
    Way("ping6_sendto", "ping_sendto", "sendto(2) on an IPv6 ping socket", "sendto", "associated", ping6_sendto),
    Way("packet_sendto", "packet_sendto", "sendto(2) on a packet socket", "sendto", "associated", packet_sendto),
    Way("unix_sendto", "unix_sendto", "sendto(2), Unix datagrams, by abstract name", "sendto", "associated",
        unix_datagram(by_sendto)),
    Way("unix_sendto_path", "unix_sendto", "sendto(2), Unix datagrams, by path", "sendto", "associated",
        unix_datagram(by_sendto, FILE)),
    Way("unix_sendto_missing", "unix_sendto", "sendto(2), Unix datagrams, to nobody", "sendto", "refused",
        unix_missing),
    Way("unix_sendmsg", "unix_sendto", "sendmsg(2), Unix datagrams", "sendmsg", "associated",
        unix_datagram(by_sendmsg)),
    Way("unix_sendmmsg", "unix_sendto", "sendmmsg(2), Unix datagrams", "sendmmsg", "associated",
        unix_datagram(by_sendmmsg)),
)  # fmt: skip
