"""ICMP errors that no router of today sends, but that the kernel still has an answer to.

A raw socket hears the SYN of an attempt on loopback, another one sends the error that quotes it: the kernel looks at
both ends and at the sequence number, so a made-up quotation would be ignored.
Behaviour: RFC 792, net/ipv4/icmp.c (icmp_err_convert), net/ipv4/tcp_ipv4.c (tcp_v4_err).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from callout.lab.address import inet
from callout.lab.outcomes import later
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
UNREACHABLE, PARAMETER_PROBLEM = 3, 12
SEGMENT = 65535


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def message(kind: int, code: int, packet: bytes) -> bytes:
    """An ICMP error about a packet: it quotes the IP header and the eight bytes that follow."""
    quoted = packet[: (packet[0] & 15) * 4 + 8]
    head = struct.pack("!BBHI", kind, code, 0, 0)
    return struct.pack("!BBHI", kind, code, checksum(head + quoted), 0) + quoted


def syn_of(ear: socket.socket, port: int) -> bytes:
    """The SYN that came from a port, as a packet; what else comes on loopback is passed over."""
    while True:
        packet = ear.recv(SEGMENT)
        segment = packet[(packet[0] & 15) * 4 :]
        if struct.unpack("!H", segment[:2])[0] == port and segment[13] & 0x12 == 0x02:
            return packet


def told(port: int, kind: int, code: int) -> Callable[[World], None]:
    """An attempt that is told so while it waits for an answer."""

    def act(world: World) -> None:
        with (
            world.silent(HOST, port),
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as ear,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as mouth,
            world.tcp(blocking=False) as caller,
        ):
            attempt = world.begin(caller, inet(HOST, port))
            packet = syn_of(ear, caller.getsockname()[1])
            sent = world.about(mouth, inet(HOST, 0), call="sendto")
            mouth.sendto(message(kind, code, packet), (HOST, 0))
            world.tell(sent)
            world.arranged(f"an ICMP error of type {kind}, code {code}, quotes the SYN")
            world.tell(attempt, world.outcome(caller))

    return act


# The error itself is a datagram to an address: a way out, too
SENT = Expected("associated", None, None, None, seen_by=("trampoline",), fields={"connect.entry": "sendto"})
SCENARIOS = (
    Scenario(
        "icmp_host_unknown", "remote", "ICMP destination host unknown", told(8290, UNREACHABLE, 7),
        (later("unreachable", "EHOSTDOWN", "icmp_host_unreachable"), SENT), needs=("raw",),
        entries=("connect", "sendto"),
    ),
    Scenario(
        "icmp_isolated", "remote", "ICMP source host isolated", told(8291, UNREACHABLE, 8),
        (later("unreachable", "ENONET", "icmp_other"), SENT), needs=("raw",),
        entries=("connect", "sendto"),
    ),
    Scenario(
        "icmp_parameter", "remote", "ICMP parameter problem", told(8292, PARAMETER_PROBLEM, 0),
        (later("unreachable", "EPROTO", "icmp_other"), SENT), needs=("raw",),
        entries=("connect", "sendto"),
    ),
)  # fmt: skip
