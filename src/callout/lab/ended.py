"""Attempts that somebody else ends or disturbs: another thread, another process, the administrator, the peer.

Behaviour: connect(2), ptrace(2), sock_diag(7) (SOCK_DESTROY), net/ipv4/tcp.c (tcp_abort), net/ipv4/tcp_input.c
(tcp_reset), RFC 9293 section 3.5.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading

from callout.lab import process
from callout.lab.address import inet
from callout.lab.icmp import checksum, syn_of
from callout.lab.outcomes import ESTABLISHED, ESTABLISHED_LATER, IN_PROGRESS, UNDER_WAY_ALREADY, failed, later
from callout.lab.scenario import Expected, Scenario
from callout.lab.tools import feed
from callout.lab.waiting import SHORTLY, disturb, on_alarm
from callout.lab.world import World

HOST = "127.0.0.1"
SYN, RST = 0x02, 0x04
TCP_REPAIR, REPAIR_ON, REPAIR_OFF = 19, 1, -1  # include/uapi/linux/tcp.h


def destroyed(world: World) -> None:
    """The administrator destroys the socket (`ss -K`) while nobody has answered yet."""
    with world.silent(HOST, 8520), world.tcp(blocking=False) as caller:
        attempt = world.begin(caller, inet(HOST, 8520))
        if reason := feed("ss", "-K", "dport", "=", ":8520", text=""):
            raise RuntimeError(reason)
        world.arranged("ss -K dport = :8520")
        world.tell(attempt, world.outcome(caller))


def stopped(world: World) -> None:
    """The process is stopped in its call and continued: the kernel enters the call again, and it is one attempt."""

    def act() -> None:
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8521))

    with world.silent(HOST, 8521) as server, process.blocked(act) as child:
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        os.kill(child, signal.SIGCONT)
        process.wait_in_connect(child)
        world.hear(server)


def thread_ended(world: World) -> None:
    """The thread that called ends; the attempt is its process's, and goes on."""
    attempts = []
    with world.silent(HOST, 8522) as server, world.tcp(blocking=False) as caller:
        thread = threading.Thread(target=lambda: attempts.append(world.begin(caller, inet(HOST, 8522))))
        thread.start()
        thread.join()
        world.hear(server)
        world.tell(attempts[0], world.outcome(caller))


def copy_closed(world: World) -> None:
    """One of two descriptors is closed: the attempt goes on by the other."""
    with world.silent(HOST, 8523) as server, world.tcp(blocking=False) as caller:
        attempt = world.begin(caller, inet(HOST, 8523))
        copy = caller.dup()
        caller.close()
        with copy:
            world.hear(server)
            world.tell(attempt, world.outcome(copy))


def exited(world: World) -> None:
    """The process ends of its own accord, without closing anything."""

    def act() -> None:
        caller = world.tcp(blocking=False)
        world.connect(caller, inet(HOST, 8524))
        os._exit(0)

    with world.silent(HOST, 8524):
        process.run(act)


def shut_while_blocked(world: World) -> None:
    """One thread waits in its call while another shuts the socket down."""
    with (
        world.silent(HOST, 8525),
        world.tcp() as caller,
        process.blocked_thread(lambda: world.connect(caller, inet(HOST, 8525))),
    ):
        caller.shutdown(socket.SHUT_RDWR)


def timeout_then_answer(world: World) -> None:
    """SO_SNDTIMEO ends the wait, another call asks, and then the answer comes."""
    with world.silent(HOST, 8526) as server, world.tcp() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SHORTLY)
        attempt = world.begin(caller, inet(HOST, 8526))
        caller.setblocking(False)
        world.connect(caller, inet(HOST, 8526))
        world.hear(server)
        world.tell(attempt, world.outcome(caller))


def timeout_and_signal(world: World) -> None:
    """With SO_SNDTIMEO not even SA_RESTART has the call entered again: EINTR."""

    def act() -> None:
        on_alarm(restart=True)
        with world.tcp() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 60, 0))
            attempt = world.begin(caller, inet(HOST, 8527))
        world.tell(attempt)

    with world.silent(HOST, 8527):
        disturb(act)


def segment(source: int, target: int, number: int, flags: int) -> bytes:
    """A TCP segment without data from HOST to HOST."""
    head = struct.pack("!HHIIBBHHH", source, target, number, 0, 5 << 4, flags, 1024, 0, 0)
    address = socket.inet_aton(HOST)
    sum_ = checksum(address + address + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head)) + head)
    return head[:16] + struct.pack("!H", sum_) + head[18:]


def reset_midway(world: World) -> None:
    """The peer calls at the same time, then breaks off by RST: not refused, for it had begun to answer."""
    with (
        world.silent(HOST, 8528),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw,
        world.tcp(blocking=False) as caller,
    ):
        attempt = world.begin(caller, inet(HOST, 8528))
        ours = caller.getsockname()[1]
        syn_of(raw, ours)
        sent = world.about(raw, inet(HOST, 0), call="sendto")  # one way out: both go to the same address
        for number, flags in ((1000, SYN), (1001, RST)):
            raw.sendto(segment(8528, ours, number, flags), (HOST, 0))
        world.tell(sent)
        world.tell(attempt, world.outcome(caller))


def repaired(world: World) -> None:
    """In repair mode the socket is connected without a packet (how checkpoints are restored)."""
    with world.tcp() as caller:
        caller.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
        caller.bind((HOST, 8529))
        world.connect(caller, inet(HOST, 8530))
        caller.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF)


SENT = Expected("associated", None, None, None, seen_by=("trampoline",), fields={"connect.entry": "sendto"})
SCENARIOS = (
    Scenario(
        "tcp_destroyed", "ended", "destroyed by ss -K", destroyed,
        (later("aborted", "ECONNABORTED", "socket_destroyed"),), needs=("ip", "destroy"), alone=True,
    ),
    Scenario("tcp_stopped", "ended", "stopped and continued", stopped, (ESTABLISHED,), needs=("numbers",), slow=True,
             forks=True),
    Scenario("thread_ended", "ended", "the thread that called ends", thread_ended, (ESTABLISHED_LATER,), slow=True),
    Scenario("copy_closed", "ended", "one of two descriptors is closed", copy_closed, (ESTABLISHED_LATER,), slow=True),
    Scenario("process_exits", "ended", "the process exits while under way", exited,
             (Expected("aborted", None, "process_died", IN_PROGRESS),), forks=True),
    Scenario("shared_shutdown", "ended", "shut down by a thread while another waits", shut_while_blocked,
             (failed("aborted", "ECONNRESET", "closed_by_application"),), needs=("numbers",)),
    Scenario("tcp_sndtimeo_later", "ended", "SO_SNDTIMEO, asked again, then answered", timeout_then_answer,
             (ESTABLISHED_LATER, UNDER_WAY_ALREADY), slow=True),
    Scenario("tcp_sndtimeo_eintr", "ended", "SO_SNDTIMEO, and a signal with SA_RESTART", timeout_and_signal,
             (Expected("aborted", None, "closed_by_application", -errno.EINTR),), needs=("numbers",), forks=True),
    Scenario("tcp_reset", "ended", "reset in the middle of the handshake", reset_midway,
             (later("reset", "ECONNRESET", "reset_in_handshake"), SENT), needs=("raw",),
             entries=("connect", "sendto")),
    Scenario("tcp_repair", "ended", "repair mode: connected without a packet", repaired, (ESTABLISHED,),
             needs=("repair",)),
)  # fmt: skip
