"""A caller that waits: until its time is up, a signal comes, or it is ended.

A signal does not end a TCP attempt, only the wait for it. With SA_RESTART the kernel enters the call again:
still one attempt. Unix sockets have nothing that could go on behind the caller's back.
Behaviour: connect(2), signal(7), tcp(7), socket(7), net/core/sock.h (sock_intr_errno), unix(7).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
from collections.abc import Callable

from callout.lab import libc, process
from callout.lab.address import inet, unix
from callout.lab.outcomes import ESTABLISHED, IN_PROGRESS, UNANSWERED, UNDER_WAY_ALREADY, failed, later
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
SHORTLY = struct.pack("@ll", 0, 100_000)  # struct timeval
INTERRUPTED = -errno.EINTR


def user_timeout(world: World) -> None:
    """TCP_USER_TIMEOUT bounds the wait for an answer."""
    with world.silent(HOST, 8220), world.impatient() as caller:
        world.connect(caller, inet(HOST, 8220))


def send_timeout(world: World) -> None:
    """SO_SNDTIMEO ends the wait of a blocking caller, not the attempt."""
    with world.silent(HOST, 8221), world.tcp() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SHORTLY)
        world.connect(caller, inet(HOST, 8221))


def send_timeout_enough(world: World) -> None:
    """A time-out that is not needed changes nothing."""
    with world.listener(HOST, 8222), world.tcp() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SHORTLY)
        world.connect(caller, inet(HOST, 8222))


def shut_down(world: World) -> None:
    """shutdown(2) ends an attempt that is under way: the caller gets ECONNRESET, though no RST came."""
    with world.silent(HOST, 8293), world.tcp(blocking=False) as caller:
        attempt = world.begin(caller, inet(HOST, 8293))
        caller.shutdown(socket.SHUT_RDWR)
        world.tell(attempt, world.outcome(caller))


def on_alarm(restart: bool) -> None:
    """A handler for SIGALRM, with SA_RESTART or without."""
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.siginterrupt(signal.SIGALRM, not restart)


def interrupted(world: World) -> None:
    """The call ends by a signal; the attempt goes on, until nobody has answered."""

    def act() -> None:
        on_alarm(restart=False)
        with world.tcp() as caller:
            first = world.begin(caller, inet(HOST, 8223))
            caller.setblocking(False)
            world.connect(caller, inet(HOST, 8223))
            world.tell(first, world.outcome(caller))

    with world.silent(HOST, 8223):
        disturb(act)


def disturb(act: Callable[[], None], times: int = 1) -> None:
    """Does ``act`` in a process, sends it SIGALRM whenever it waits in its call, and waits for its end."""
    with process.blocked(act) as child:
        for _ in range(times):
            process.wait_in_connect(child)
            os.kill(child, signal.SIGALRM)


def interrupted_closed(world: World) -> None:
    """The call ends by a signal, and the caller closes."""

    def act() -> None:
        on_alarm(restart=False)
        with world.tcp() as caller:
            first = world.begin(caller, inet(HOST, 8224))
        world.tell(first)

    with world.silent(HOST, 8224):
        disturb(act)


def interrupted_answered(world: World) -> None:
    """The call ends by a signal; the answer comes afterwards."""

    def act() -> None:
        on_alarm(restart=False)
        with world.tcp() as caller:
            first = world.begin(caller, inet(HOST, 8225))
            world.hear(server)
            world.tell(first, world.outcome(caller))

    with world.silent(HOST, 8225) as server:
        disturb(act)


def restarted(world: World) -> None:
    """Three signals whose handler has SA_RESTART: the call is entered four times, and times out."""

    def act() -> None:
        on_alarm(restart=True)
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8226))

    with world.silent(HOST, 8226):
        disturb(act, times=3)


def restarted_answered(world: World) -> None:
    """As before, but the listener answers the second SYN."""

    def act() -> None:
        on_alarm(restart=True)
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8227))

    with world.silent(HOST, 8227) as server, process.blocked(act) as child:
        os.kill(child, signal.SIGALRM)
        process.wait_in_connect(child)
        world.hear(server)


def jumped(world: World) -> None:
    """The handler never returns into the call: it closes the socket, as wget does by siglongjmp."""

    def act() -> None:
        caller = world.tcp()
        attempt = world.about(caller, address := inet(HOST, 8228))

        def jump(number: int) -> None:
            caller.close()
            world.tell(attempt)
            os._exit(0)

        kept = libc.on_signal(signal.SIGALRM, jump)
        libc.connect(attempt.fd, address, attempt.addrlen)
        raise RuntimeError(f"the call was not to come back to {kept}")

    with world.silent(HOST, 8228):
        disturb(act)


def jumped_again(world: World) -> None:
    """The handler never returns into the call, but calls from another socket: two attempts of one thread."""

    def act() -> None:
        caller, other = world.tcp(), world.tcp()
        attempt = world.about(caller, address := inet(HOST, 8229))

        def jump(number: int) -> None:
            world.tell(attempt)
            world.connect(other, inet(HOST, 8230))
            caller.close()
            os._exit(0)

        kept = libc.on_signal(signal.SIGALRM, jump)
        libc.connect(attempt.fd, address, attempt.addrlen)
        raise RuntimeError(f"the call was not to come back to {kept}")

    with world.silent(HOST, 8229), world.listener(HOST, 8230):
        disturb(act)


def killed(world: World) -> None:
    """A process is killed while it waits in its call."""

    def act() -> None:
        caller = world.tcp()
        address = inet(HOST, 8231)
        world.tell(world.about(caller, address))
        libc.connect(caller.fileno(), address, len(address))

    with world.silent(HOST, 8231), process.blocked(act, by=signal.SIGKILL) as child:
        os.kill(child, signal.SIGKILL)


def unix_full(world: World, name: str, prepare: str) -> None:
    """A Unix listener whose queue is full, and a process that waits for it and is disturbed."""

    def act() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            if prepare == "kill":
                address = unix(name)
                world.tell(world.about(caller, address))
                libc.connect(caller.fileno(), address, len(address))
            on_alarm(restart=prepare == "restart")
            world.connect(caller, unix(name))

    with (
        world.unix_listener(name, backlog=0) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first,
    ):
        world.connect(first, unix(name))
        with process.blocked(act, by=signal.SIGKILL if prepare == "kill" else 0) as child:
            os.kill(child, signal.SIGKILL if prepare == "kill" else signal.SIGALRM)
            if prepare == "restart":
                process.wait_in_connect(child)
                server.accept()[0].close()


def unix_interrupted(world: World) -> None:
    """A signal ends the wait for a place in a Unix listener's queue."""
    unix_full(world, "\0callout-lab-interrupted", "interrupt")


def unix_restarted(world: World) -> None:
    """With SA_RESTART the wait for a place goes on, until there is one."""
    unix_full(world, "\0callout-lab-restarted", "restart")


def unix_killed(world: World) -> None:
    """A process is killed while it waits for a place."""
    unix_full(world, "\0callout-lab-killed", "kill")


def unix_send_timeout(world: World) -> None:
    """SO_SNDTIMEO ends the wait for a place, and with it the attempt."""
    name = "\0callout-lab-timeout"
    with (
        world.unix_listener(name, backlog=0),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as second,
    ):
        world.connect(first, unix(name))
        second.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SHORTLY)
        world.connect(second, unix(name))


SCENARIOS = (
    Scenario("tcp_utimeout", "waiting", "TCP_USER_TIMEOUT", user_timeout, (UNANSWERED,), slow=True),
    Scenario(
        "tcp_sndtimeo", "waiting", "SO_SNDTIMEO ends a blocking call", send_timeout,
        (
            Expected(
                "aborted", None, "closed_by_application", IN_PROGRESS, fields={"connect.nonblocking": False},
            ),
        ),
        slow=True,
    ),
    Scenario(
        "tcp_sndtimeo_ok", "waiting", "SO_SNDTIMEO is not needed", send_timeout_enough, (ESTABLISHED,),
    ),
    Scenario(
        "tcp_shutdown", "waiting", "shutdown(2) while under way", shut_down,
        (later("aborted", "ECONNRESET", "closed_by_application"),),
    ),
    Scenario(
        "tcp_eintr", "waiting", "a signal ends the call, not the attempt", interrupted,
        (Expected("timed_out", "ETIMEDOUT", "syn_unanswered", INTERRUPTED), UNDER_WAY_ALREADY),
        needs=("numbers", "sysctl"), slow=True, forks=True,
    ),
    Scenario(
        "tcp_eintr_close", "waiting", "a signal ends the call, then closed", interrupted_closed,
        (Expected("aborted", None, "closed_by_application", INTERRUPTED),), needs=("numbers",), forks=True,
    ),
    Scenario(
        "tcp_eintr_ok", "waiting", "a signal ends the call, then answered", interrupted_answered,
        (Expected("established", None, None, INTERRUPTED),), needs=("numbers",), slow=True, forks=True,
    ),
    Scenario(
        "tcp_restart", "waiting", "SA_RESTART: entered again, and unanswered", restarted, (UNANSWERED,),
        needs=("numbers", "sysctl"), slow=True, forks=True,
    ),
    Scenario(
        "tcp_restart_ok", "waiting", "SA_RESTART: entered again, and answered", restarted_answered,
        (ESTABLISHED,), needs=("numbers",), slow=True, forks=True,
    ),
    Scenario(
        "tcp_longjmp", "waiting", "the handler jumps away and closes", jumped,
        (Expected("aborted", None, "closed_by_application", None),), needs=("numbers",), forks=True,
    ),
    Scenario(
        "tcp_longjmp_next", "waiting", "the handler jumps away to another call", jumped_again,
        (Expected("aborted", None, "closed_by_application", None), ESTABLISHED), needs=("numbers",), forks=True,
    ),
    Scenario(
        "tcp_killed", "waiting", "killed inside the call", killed,
        (Expected("aborted", None, "process_died", None),), needs=("numbers",), forks=True,
    ),
    Scenario(
        "unix_eintr", "waiting", "a signal ends a Unix call", unix_interrupted,
        (ESTABLISHED, failed("interrupted", "EINTR", None)), needs=("numbers",), forks=True,
        address_families=("AF_UNIX",),
    ),
    Scenario(
        "unix_restart", "waiting", "SA_RESTART: a Unix call goes on", unix_restarted, (ESTABLISHED, ESTABLISHED),
        needs=("numbers",), forks=True,
        address_families=("AF_UNIX",),
    ),
    Scenario(
        "unix_killed", "waiting", "killed inside a Unix call", unix_killed,
        (ESTABLISHED, Expected("aborted", None, "process_died", None)), needs=("numbers",), forks=True,
        address_families=("AF_UNIX",),
    ),
    Scenario(
        "unix_sndtimeo", "waiting", "SO_SNDTIMEO ends a Unix call", unix_send_timeout,
        (ESTABLISHED, failed("exhausted", "EAGAIN", "unix_backlog_full")), slow=True,
        address_families=("AF_UNIX",),
    ),
)  # fmt: skip
