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
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
IN_PROGRESS = -errno.EINPROGRESS
ESTABLISHED = Expected("established", None, None, 0)
REFUSED = Expected("refused", "ECONNREFUSED", "no_listener", -errno.ECONNREFUSED)


def ok(world: World) -> None:
    """A listener answers."""
    with world.listener(HOST, 8080), world.tcp() as caller:
        world.connect(caller, inet(HOST, 8080))


def refused(world: World) -> None:
    """Nobody listens: RST."""
    with world.tcp() as caller:
        world.connect(caller, inet(HOST, 5432))


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


def ports_exhausted(world: World) -> None:
    """Two ephemeral ports, both taken towards this destination."""
    with (
        world.listener(HOST, 8083),
        world.sysctl("ipv4/ip_local_port_range", "61000 61001"),
        world.tcp() as first,
        world.tcp() as second,
        world.tcp() as third,
    ):
        for caller in (first, second, third):
            world.connect(caller, inet(HOST, 8083))


def ipv6_ok(world: World) -> None:
    """A listener on ::1 answers."""
    with world.listener("::1", 8084), world.tcp(socket.AF_INET6) as caller:
        world.connect(caller, inet6("::1", 8084))


def mapped_ok(world: World) -> None:
    """An IPv6 socket calls an IPv4 listener by its mapped address (ipv6(7))."""
    with world.listener(HOST, 8085), world.tcp(socket.AF_INET6) as caller:
        world.connect(caller, inet6(f"::ffff:{HOST}", 8085))


SCENARIOS = (
    Scenario("tcp_ok", "tcp", "a listener answers", ok, (ESTABLISHED,), demo=True),
    Scenario("tcp_refused", "tcp", "nobody listens", refused, (REFUSED,), demo=True),
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
        "port_exhaustion", "tcp", "no ephemeral port is left", ports_exhausted,
        (
            ESTABLISHED, ESTABLISHED,
            Expected("exhausted", "EADDRNOTAVAIL", "ports_exhausted", -errno.EADDRNOTAVAIL),
        ),
        needs=("sysctl",),
    ),
    Scenario(
        "tcp6_ok", "tcp", "a listener on ::1 answers", ipv6_ok, (ESTABLISHED,), needs=("ipv6",), demo=True,
    ),
    Scenario("tcp6_mapped", "tcp", "IPv4 from an IPv6 socket", mapped_ok, (ESTABLISHED,), needs=("ipv6",)),
)  # fmt: skip
