"""Families and protocols apart from TCP, UDP and Unix: what connect(2) means to each, if anything.

Behaviour: raw(7), icmp(7), packet(7), netlink(7), vsock(7).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from callout.lab import process
from callout.lab.address import UNSPEC, inet, inet6
from callout.lab.outcomes import ASSOCIATED, BAD_LENGTH, BLIND, DISSOLVED, ESTABLISHED, failed, invalid
from callout.lab.scenario import Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
NETLINK_ROUTE = 0
LOCAL_CID = (
    1  # include/uapi/linux/vm_sockets.h: this machine itself, by vsock_loopback; no other transport takes it
)


def netlink(port: int) -> bytes:
    """A sockaddr_nl: 12 bytes."""
    return struct.pack("=HHII", socket.AF_NETLINK, 0, port, 0)


def vsock(cid: int, port: int) -> bytes:
    """A sockaddr_vm: 16 bytes."""
    return struct.pack("=HHIII", socket.AF_VSOCK, 0, port, cid, 0)


def raw(world: World) -> None:
    """A raw socket has a peer, and takes no address of another family."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as caller:
        world.connect(caller, inet(HOST, 0))
        world.connect(caller, UNSPEC)


def raw6(world: World) -> None:
    """Unlike UDP over IPv6, a raw socket takes no AF_INET address."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP) as caller:
        world.connect(caller, inet6("::1", 0))
        world.connect(caller, inet(HOST, 0).ljust(28, b"\0"))


def ping(world: World) -> None:
    """An ICMP echo socket has a peer."""
    world.set("ipv4/ping_group_range", "0 0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as caller:
        world.connect(caller, inet(HOST, 0))


def packet(world: World) -> None:
    """Packet sockets know no peer."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as caller:
        world.connect(caller, struct.pack("=HHiHBB8s", socket.AF_PACKET, 0, 1, 0, 0, 0, b""))


def netlink_kernel(world: World) -> None:
    """The kernel is a peer, twice if need be; AF_UNSPEC dissolves."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as caller:
        world.connect(caller, netlink(0))
        world.connect(caller, netlink(0))
        world.connect(caller, UNSPEC)


def netlink_wrong(world: World) -> None:
    """Too short an address; one of another family."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as caller:
        world.connect(caller, netlink(0)[:8])
        world.connect(caller, inet(HOST, 1))


def netlink_foreign(world: World) -> None:
    """Another process as the peer takes a privilege."""

    def act() -> None:
        process.become_nobody()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as caller:
            world.connect(caller, netlink(4242))

    process.run(act)


def vsock_wrong(world: World) -> None:
    """Addresses that are refused before any transport is asked."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as caller:
        world.connect(caller, vsock(1, 1)[:8])
        world.connect(caller, inet(HOST, 1))
        world.connect(caller, UNSPEC)


def vsock_calls(listens: bool) -> Callable[[World], None]:
    """A call to this machine itself (CID 1)."""

    def act(world: World) -> None:
        with (
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server,
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as caller,
        ):
            if listens:
                server.bind((LOCAL_CID, 8570))
                server.listen()
                world.arranged("a vsock listens on port 8570 of this machine")
            world.connect(caller, vsock(LOCAL_CID, 8570 if listens else 8571))

    act.__doc__ = "This machine calls itself by vsock" + ("." if listens else ", and nobody listens.")
    return act


def unknown_family(world: World) -> None:
    """An address of a family that does not exist."""
    with world.tcp() as caller:
        world.connect(caller, struct.pack("=H14x", 47))


def vsock_nowhere(world: World) -> None:
    """No transport leads to that context."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as caller:
        world.connect(caller, vsock(9, 1))


SCENARIOS = (
    Scenario("raw_con", "other", "a raw socket", raw, (ASSOCIATED, DISSOLVED), needs=("raw",)),
    Scenario(
        "raw6_in4", "other", "AF_INET on a raw IPv6 socket", raw6,
        (ASSOCIATED, invalid("EAFNOSUPPORT", "family_mismatch")), needs=("raw", "ipv6"),
        address_families=("AF_INET6",),
    ),
    Scenario("ping_con", "other", "an ICMP echo socket", ping, (ASSOCIATED,), needs=("settings",), alone=True),
    Scenario(
        "packet_con", "other", "a packet socket", packet, (invalid("EOPNOTSUPP", "family_unsupported"),),
        needs=("packet",),
        address_families=("AF_PACKET",),
    ),
    Scenario(
        "netlink_con", "other", "the kernel as a netlink peer", netlink_kernel,
        (ASSOCIATED, ASSOCIATED, DISSOLVED),
        address_families=("AF_NETLINK",),
    ),
    Scenario(
        "netlink_misc", "other", "wrong netlink addresses", netlink_wrong,
        (BAD_LENGTH, invalid("EINVAL", "family_mismatch")),
        address_families=("AF_NETLINK",),
    ),
    Scenario(
        "netlink_eperm", "other", "a process as a netlink peer, as nobody", netlink_foreign,
        (failed("denied", "EPERM", "no_privilege", BLIND),), needs=("users",), forks=True,
        address_families=("AF_NETLINK",),
    ),
    Scenario(
        "vsock_bad", "other", "wrong vsock addresses", vsock_wrong,
        (BAD_LENGTH, invalid("EINVAL", "family_mismatch"), invalid("EINVAL", "family_mismatch")),
        needs=("vsock",),
        address_families=("AF_VSOCK",),
    ),
    Scenario(
        "vsock_ok", "other", "vsock, a listener answers", vsock_calls(True), (ESTABLISHED,),
        needs=("vsock_loopback",), address_families=("AF_VSOCK",),
    ),
    Scenario(
        "vsock_reset", "other", "vsock, nobody listens", vsock_calls(False),
        (failed("reset", "ECONNRESET", "rst_from_peer"),), needs=("vsock_loopback",), address_families=("AF_VSOCK",),
    ),
    Scenario(
        "vsock_nowhere", "other", "no vsock transport", vsock_nowhere,
        (failed("unreachable", "ENODEV", "no_device"),), needs=("vsock_nowhere",), address_families=("AF_VSOCK",),
    ),
    Scenario(
        "unknown_family", "other", "a family that does not exist", unknown_family,
        (invalid("EAFNOSUPPORT", "family_mismatch"),),
    ),
)  # fmt: skip
