"""TCP over loopback: who answers, who says no, who says nothing, and callers that do not wait.

Rule of this file: no tools. Ports are fixed, for the network is our own, and lie below the ephemeral range.
Behaviour: connect(2), tcp(7), net/ipv4/af_inet.c.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import traceback

from callout.lab.address import inet, inet6
from callout.lab.outcomes import ESTABLISHED, IN_PROGRESS, REFUSED
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"


def ok(world: World) -> None:
    """A listener answers."""
    with world.listener(HOST, 8080), world.tcp() as caller:
        world.connect(caller, inet(HOST, 8080))


def refused(world: World) -> None:
    """Nobody listens: RST."""
    with world.tcp() as caller:
        world.connect(caller, inet(HOST, 5432))


def refused_by_own_address(world: World) -> None:
    """Nobody listens on another address of this very host: the kernel takes the loopback device, and answers itself."""
    with world.tcp() as caller:
        caller.bind(("127.0.0.9", 0))
        world.connect(caller, inet("192.0.2.1", 5438))


def nonblocking_ok(world: World) -> None:
    """The call returns at once, the listener answers later."""
    with world.listener(HOST, 8081), world.tcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 8081), wait=True)


def nonblocking_refused(world: World) -> None:
    """The call returns at once, the RST comes later and is told by SO_ERROR."""
    with world.tcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 6379), wait=True)


def unanswered(world: World) -> None:
    """No SYN is answered, and no firewall has a part in it."""
    with world.silent(HOST, 9200), world.tcp() as caller:
        world.connect(caller, inet(HOST, 9200))


def already(world: World) -> None:
    """A second call while the first is under way."""
    with world.silent(HOST, 9201), world.tcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 9201))
        world.connect(caller, inet(HOST, 9201))


def close_pending(world: World) -> None:
    """The caller closes before an answer is there."""
    with world.silent(HOST, 9202), world.tcp(blocking=False) as caller:
        world.connect(caller, inet(HOST, 9202))


def process_died(world: World) -> None:
    """A process of its own is killed while its attempt is under way."""
    with world.silent(HOST, 9203):
        child = os.fork()
        if child == 0:
            try:
                caller = world.tcp(blocking=False)
                world.connect(caller, inet(HOST, 9203))
                os.kill(os.getpid(), signal.SIGKILL)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"the process was to die by SIGKILL, but ended with status {status}")


def connected_already(world: World) -> None:
    """A second call on a connected socket."""
    with world.listener(HOST, 8082), world.tcp() as caller:
        world.connect(caller, inet(HOST, 8082))
        world.connect(caller, inet(HOST, 8082))


def ipv6_ok(world: World) -> None:
    """A listener on ::1 answers."""
    with world.listener("::1", 8084), world.tcp(socket.AF_INET6) as caller:
        world.connect(caller, inet6("::1", 8084))


def any_address(world: World) -> None:
    """0.0.0.0 means this host (net/ipv4/route.c, ip_route_output_key_hash_rcu)."""
    with world.listener(HOST, 8087), world.tcp() as caller:
        world.connect(caller, inet("0.0.0.0", 8087))


def any_port0(world: World) -> None:
    """Port 0 is a port like any other, on which nobody can listen."""
    with world.tcp() as caller:
        world.connect(caller, inet("0.0.0.0", 0))


def long_address(world: World) -> None:
    """What lies behind the address, up to 128 bytes, does not matter."""
    with world.listener(HOST, 8088), world.tcp() as caller:
        world.connect(caller, inet(HOST, 8088).ljust(128, b"\xff"))


SCENARIOS = (
    Scenario("tcp_ok", "tcp", "a listener answers", ok, (ESTABLISHED,), demo=True),
    Scenario("tcp_refused", "tcp", "nobody listens", refused, (REFUSED,), demo=True),
    Scenario(
        "tcp_own_address", "tcp", "nobody listens on another address of this host", refused_by_own_address, (REFUSED,),
        needs=("ip",),
    ),
    Scenario(
        "tcp_nb_ok", "tcp", "non-blocking, a listener answers", nonblocking_ok,
        (Expected("established", None, None, IN_PROGRESS),), demo=True,
    ),
    Scenario(
        "tcp_nb_refused", "tcp", "non-blocking, nobody listens", nonblocking_refused,
        (Expected("refused", "ECONNREFUSED", "no_listener", IN_PROGRESS),), demo=True,
    ),
    Scenario(
        "tcp_unanswered", "tcp", "no SYN is answered", unanswered,
        (Expected("timed_out", "ETIMEDOUT", "syn_unanswered", -errno.ETIMEDOUT),),
        needs=("sysctl",), slow=True,
    ),
    Scenario(
        "already", "tcp", "called again while under way, then closed", already,
        (
            Expected("aborted", None, "closed_by_application", IN_PROGRESS),
            Expected("pending", "EALREADY", "already_in_progress", -errno.EALREADY),
        ),
    ),
    Scenario(
        "close_pending", "tcp", "closed while under way", close_pending,
        (Expected("aborted", None, "closed_by_application", IN_PROGRESS),), demo=True,
    ),
    Scenario(
        "process_died", "tcp", "killed while under way", process_died,
        (Expected("aborted", None, "process_died", IN_PROGRESS),), forks=True,
    ),
    Scenario(
        "eisconn", "tcp", "called again when connected", connected_already,
        (ESTABLISHED, Expected("invalid", "EISCONN", "already_connected", -errno.EISCONN)),
    ),
    Scenario(
        "tcp6_ok", "tcp", "a listener on ::1 answers", ipv6_ok, (ESTABLISHED,), needs=("ipv6",), demo=True,
        address_families=("AF_INET6",),
    ),
    Scenario(
        "tcp_any4", "tcp", "0.0.0.0 means this host", any_address,
        (
            Expected(
                "established", None, None, 0,
                fields={"destination.ip": HOST, "connect.rewritten_from": None, "connect.swapped": None},
            ),
        ),
    ),
    Scenario("tcp_any_port0", "tcp", "port 0", any_port0, (REFUSED,)),
    Scenario("tcp_longlen", "tcp", "an address of 128 bytes", long_address, (ESTABLISHED,)),
)  # fmt: skip
