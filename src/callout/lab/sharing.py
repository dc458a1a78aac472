"""One socket in several hands: threads, forks, and processes to which it was passed.

The attempt belongs to whoever made the call; it ends when the last of them lets go of the socket.
Behaviour: fork(2), unix(7) (SCM_RIGHTS), close(2).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading

from callout.lab import process
from callout.lab.address import inet
from callout.lab.outcomes import (
    CLOSED_PENDING,
    ESTABLISHED,
    ESTABLISHED_LATER,
    IN_PROGRESS,
    UNANSWERED,
    UNDER_WAY_ALREADY,
)
from callout.lab.scenario import Expected, Scenario
from callout.lab.world import World

HOST = "127.0.0.1"
DIED = Expected("aborted", None, "process_died", IN_PROGRESS)


def threads(world: World) -> None:
    """One thread begins, another calls again and closes."""
    with world.silent(HOST, 8240):
        caller = world.tcp(blocking=False)
        world.connect(caller, inet(HOST, 8240))

        def other() -> None:
            world.connect(caller, inet(HOST, 8240))
            caller.close()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()


def closed_by_thread(world: World) -> None:
    """A thread closes the descriptor while another waits in its call, which goes on to its end."""
    with world.silent(HOST, 8241):
        caller = world.tcp()
        attempts: list[int] = []

        def wait() -> None:
            attempts.append(world.connect(caller, inet(HOST, 8241)))

        with process.blocked_thread(wait):
            caller.close()
        if attempts != [-errno.ETIMEDOUT]:
            raise RuntimeError(f"the call was to time out, not {attempts}")


def passed(world: World) -> None:
    """A socket is passed to another process, which connects; the maker closes its own descriptor."""
    here, there = socket.socketpair()

    def act() -> None:
        _, (fd,), _, _ = socket.recv_fds(there, 1, 1)
        with socket.socket(fileno=fd) as caller:
            world.connect(caller, inet(HOST, 8242))

    with here, there, world.listener(HOST, 8242), world.tcp() as caller:
        child = process.start(act)
        socket.send_fds(here, [b"x"], [caller.fileno()])
        caller.close()
        process.finish(child)


def passed_pending(world: World) -> None:
    """A socket is passed on while its attempt is under way; the receiver closes it last."""
    here, there = socket.socketpair()

    def act() -> None:
        _, (fd,), _, _ = socket.recv_fds(there, 1, 1)
        here.close()
        there.recv(1)  # until the maker has closed its own
        os.close(fd)

    with here, there, world.silent(HOST, 8243):
        child = process.start(act)
        with world.tcp(blocking=False) as caller:
            world.connect(caller, inet(HOST, 8243))
            socket.send_fds(here, [b"x"], [caller.fileno()])
        here.shutdown(socket.SHUT_WR)
        process.finish(child)


def fork_closes(world: World) -> None:
    """A fork closes its copy, which ends nothing: the answer comes to the parent."""
    with world.silent(HOST, 8244) as server, world.tcp(blocking=False) as caller:
        attempt = world.begin(caller, inet(HOST, 8244))
        process.run(caller.close)
        world.hear(server)
        world.tell(attempt, world.outcome(caller))


def fork_keeps(world: World) -> None:
    """The caller ends, its fork holds the socket and ends after it."""
    wait, go = os.pipe()

    def hold() -> None:
        os.close(go)
        os.read(wait, 1)

    def act() -> None:
        caller = world.tcp(blocking=False)
        world.connect(caller, inet(HOST, 8245))
        holder = os.fork()
        if holder == 0:
            hold()
            os._exit(0)

    with world.silent(HOST, 8245):
        process.run(act)
        os.close(wait)
        os.close(go)  # the holder goes on; it is nobody's child any more, init takes it


def fork_and_both_die(world: World) -> None:
    """Caller and fork are killed together."""

    def act() -> None:
        caller = world.tcp(blocking=False)
        world.connect(caller, inet(HOST, 8246))
        child = process.start(signal.pause)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    with world.silent(HOST, 8246):
        process.finish(process.start(act), signal.SIGKILL)


def executed(world: World) -> None:
    """The socket has FD_CLOEXEC, and the caller becomes another program while its attempt is under way."""

    def act() -> None:
        caller = world.tcp(blocking=False)
        world.connect(caller, inet(HOST, 8247))
        os.execv("/bin/true", ["true"])

    with world.silent(HOST, 8247):
        process.run(act)


SCENARIOS = (
    Scenario(
        "shared_threads", "sharing", "another thread calls again and closes", threads,
        (CLOSED_PENDING, UNDER_WAY_ALREADY),
    ),
    Scenario(
        "shared_closed", "sharing", "closed by a thread while another waits", closed_by_thread, (UNANSWERED,),
        needs=("numbers", "sysctl"), slow=True,
    ),
    Scenario(
        "passed_fd", "sharing", "passed to another process, which connects", passed, (ESTABLISHED,), forks=True,
    ),
    Scenario(
        "passed_pending", "sharing", "passed on while under way", passed_pending, (CLOSED_PENDING,), forks=True,
    ),
    Scenario(
        "fork_closes", "sharing", "a fork closes its copy", fork_closes, (ESTABLISHED_LATER,), slow=True,
        forks=True,
    ),
    Scenario("fork_keeps", "sharing", "a fork outlives the caller", fork_keeps, (DIED,), forks=True),
    Scenario("fork_died", "sharing", "killed, and its fork too", fork_and_both_die, (DIED,), forks=True),
    Scenario(
        "exec_closes", "sharing", "closed by exec while under way", executed, (CLOSED_PENDING,), forks=True,
    ),
)  # fmt: skip
