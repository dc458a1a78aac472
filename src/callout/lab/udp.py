"""UDP: connect(2) sets or dissolves the peer; no packet is sent, so there is nobody to refuse.

An answer to a later packet may: the socket then has an error, which the next call tells.
Behaviour: connect(2), udp(7), ip(7), net/ipv4/datagram.c, net/ipv6/datagram.c.
"""

from __future__ import annotations

import errno
import select
import socket

from callout.lab import router
from callout.lab.address import UNSPEC, inet, inet6
from callout.lab.outcomes import ASSOCIATED, DISSOLVED, NO_ROUTE, failed, invalid
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"


def udp(family: int = socket.AF_INET) -> socket.socket:
    """A fresh UDP socket."""
    return socket.socket(family, socket.SOCK_DGRAM)


def ok(world: World) -> None:
    """Sets the peer, though nobody is there."""
    with udp() as caller:
        world.connect(caller, inet("127.0.0.53", 53))


def unspec(world: World) -> None:
    """Sets the peer, then dissolves the association by AF_UNSPEC."""
    with udp() as caller:
        world.connect(caller, inet("127.0.0.53", 53))
        world.connect(caller, UNSPEC)


def unspec_short(world: World) -> None:
    """Two bytes suffice for AF_UNSPEC; without a peer there is nothing to dissolve, but that is no error."""
    with udp() as caller:
        world.connect(caller, UNSPEC[:2])
        world.connect(caller, inet(HOST, 8340))
        world.connect(caller, UNSPEC[:2])


def reconnect(world: World) -> None:
    """A second call sets another peer."""
    with udp() as caller:
        world.connect(caller, inet(HOST, 8341))
        world.connect(caller, inet(HOST, 8342))


def port0(world: World) -> None:
    """Port 0 is taken, and 0.0.0.0 means this host."""
    for host in ("0.0.0.0", HOST):
        with udp() as caller:
            world.connect(caller, inet(host, 0))


def ipv6(world: World) -> None:
    """An IPv6 socket takes an IPv6, a mapped, and, unlike TCP's, an AF_INET address."""
    for address in (inet6("::1", 53), inet6(f"::ffff:{HOST}", 53), inet(HOST, 53)):
        with udp(socket.AF_INET6) as caller:
            world.connect(caller, address)


def probe(world: World) -> None:
    """As getaddrinfo(3) sorts addresses: connect to each, see which source address it would get."""
    for host in (HOST, "192.0.2.2", "203.0.113.9"):
        with udp() as caller:
            world.connect(caller, inet(host, 443))


def probe_reused(world: World) -> None:
    """The same by one IPv6 socket: an IPv6 candidate, AF_UNSPEC, an IPv4 candidate."""
    with udp(socket.AF_INET6) as caller:
        world.connect(caller, inet6("::1", 443))
        world.connect(caller, UNSPEC)
        world.connect(caller, inet(HOST, 443))


def broadcast(world: World) -> None:
    """Broadcasts must be asked for."""
    with udp() as caller:
        world.connect(caller, inet("192.0.2.255", 9))
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        world.connect(caller, inet("192.0.2.255", 9))


def multicast(world: World) -> None:
    """A group is a peer like any other."""
    with udp() as caller:
        world.connect(caller, inet("224.0.0.251", 5353))


def refused_afterwards(world: World) -> None:
    """A datagram is answered by ICMP; the next call on the socket gets the error."""
    with udp() as caller:
        world.connect(caller, inet(HOST, 8343))
        provoke(caller)


def refused_afterwards6(world: World) -> None:
    """The same over IPv6."""
    with udp(socket.AF_INET6) as caller:
        world.connect(caller, inet6("::1", 8344))
        provoke(caller)


def prohibited_afterwards(world: World) -> None:
    """A datagram is answered by a firewall on the way: prohibited."""
    with udp() as caller:
        world.connect(caller, inet(router.FILTER_ADMIN, 53))
        provoke(caller, errno.EHOSTUNREACH)


def provoke(caller: socket.socket, wanted: int = errno.ECONNREFUSED) -> None:
    """Sends one datagram and waits for the error that it brings. Raises RuntimeError if another one comes, or none."""
    caller.send(b"x")
    poll = select.poll()
    poll.register(caller, select.POLLIN)
    poll.poll()
    try:
        caller.recv(1)
    except OSError as error:
        if error.errno == wanted:
            return
        raise RuntimeError(f"the datagram was to bring error {wanted}, not {error.errno}") from error
    raise RuntimeError("the datagram was to be refused")


def wrong_family(world: World) -> None:
    """An IPv6 address on an IPv4 socket; too short an address."""
    with udp() as caller:
        world.connect(caller, inet6("::1", 53))
        world.connect(caller, inet(HOST, 53)[:8])


LATE = Expected(
    "associated", None, None, 0, late=Expected("refused", "ECONNREFUSED", "icmp_port_unreachable", 0)
)
SCENARIOS = (
    Scenario("udp_ok", "udp", "a peer is set", ok, (ASSOCIATED,), demo=True),
    Scenario("udp_unspec", "udp", "a peer is set, then dissolved", unspec, (ASSOCIATED, DISSOLVED)),
    Scenario(
        "udp_unspec_short", "udp", "AF_UNSPEC of two bytes", unspec_short, (DISSOLVED, ASSOCIATED, DISSOLVED),
    ),
    Scenario("udp_reconnect", "udp", "another peer is set", reconnect, (ASSOCIATED, ASSOCIATED)),
    Scenario("udp_port0", "udp", "port 0", port0, (ASSOCIATED, ASSOCIATED)),
    Scenario(
        "udp6", "udp", "three kinds of addresses", ipv6, (ASSOCIATED,) * 3, needs=("ipv6",),
        address_families=("AF_INET6",),
    ),
    Scenario(
        "udp_probe", "udp", "a resolver compares addresses", probe, (ASSOCIATED, ASSOCIATED, NO_ROUTE),
        needs=("ip",),
    ),
    Scenario(
        "udp_probe_reused", "udp", "a resolver compares addresses by one socket", probe_reused,
        (ASSOCIATED, DISSOLVED, ASSOCIATED), needs=("ipv6",),
        address_families=("AF_INET6",),
    ),
    Scenario(
        "udp_broadcast", "udp", "broadcast, forbidden and allowed", broadcast,
        (failed("denied", "EACCES", "broadcast_not_allowed"), ASSOCIATED), needs=("ip",),
    ),
    Scenario(
        "udp_mcast", "udp", "a group", multicast, (ASSOCIATED,), routes="route add 224.0.0.0/4 dev lab0\n",
        needs=("ip",),
    ),
    Scenario("udp_late", "udp", "refused after the first datagram", refused_afterwards, (LATE,)),
    Scenario(
        "udp6_late", "udp", "refused after the first datagram, IPv6", refused_afterwards6, (LATE,),
        needs=("ipv6",),
        address_families=("AF_INET6",),
    ),
    Scenario(
        "udp_late_admin", "udp", "prohibited after the first datagram", prohibited_afterwards,
        (
            Expected(
                "associated", None, None, 0,
                late=Expected("unreachable", "EHOSTUNREACH", "icmp_admin_prohibited", 0),
            ),
        ),
        needs=("router",),
    ),
    Scenario(
        "udp_wrong", "udp", "wrong family, wrong length", wrong_family,
        (invalid("EAFNOSUPPORT", "family_mismatch"), invalid("EINVAL", "bad_length")),
    ),
)  # fmt: skip
