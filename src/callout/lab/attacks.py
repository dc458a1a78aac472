"""What attackers do with a connection: shells that call home in every shape, the socket of a container engine.

Rule of this file: the peer is a tiny server in the laboratory's network; all that it says is ``exit``. The programs are
those that are installed. Shapes: reference/reverse_shells.csv, and ``SHAPES`` tells which scenarios show which.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable

from callout.lab import libc, process
from callout.lab.address import inet, inet6, unix
from callout.lab.namespace import RUN
from callout.lab.outcomes import ASSOCIATED, ESTABLISHED, ESTABLISHED_LATER
from callout.lab.scenario import Expected, Scenario
from callout.lab.shells import ANSWER, BIND, PROGRAMS, PYTHON
from callout.lab.tools import located
from callout.lab.world import World

HOST = "127.0.0.1"
ENGINE = f"{RUN}/docker.sock"
EXIT = b"exit\n"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

SHAPES: dict[str, tuple[str, ...]] = {
    "socket as stdio, same process": ("rev_bash", "rev_python", "rev_perl"),
    "socket as stdio, child process": ("rev_bash_child", "rev_nc_e"),
    "socket put on 0-2 without dup*": ("rev_fcntl",),
    "descriptor passed to another process": ("rev_passed",),
    "delayed exec": ("rev_delayed",),
    "pipes between shell and relay": ("rev_ncat_e", "rev_nc_fifo", "rev_pipes"),
    "unix socketpair between shell and relay": ("rev_socat",),
    "pty between shell and relay": ("rev_socat_pty", "rev_pty"),
    "command loop, no shell session": ("rev_gawk", "rev_commands"),
    "no exec at all": ("rev_no_exec",),
    "bind shell": ("bind_shell",),
    "UDP shell": ("rev_bash_udp",),
    "relay through a unix service": ("rev_unix",),
    "connect not by connect(2)": ("rev_fastopen", "way_uring_tcp", "way_socketcall_tcp"),
    "address tricks": ("rev_mapped", "rev_mptcp"),
    "fileless or renamed interpreter": ("rev_memfd",),
}
PORTS = {name: 8900 + n for n, name in enumerate([*PYTHON, *PROGRAMS])}


def command(name: str) -> list[str]:
    """The words of a shape's program."""
    words = [sys.executable, "-c", PYTHON[name]] if name in PYTHON else PROGRAMS[name][1]
    values = {"host": HOST, "port": str(PORTS[name]), "fifo": f"{RUN}/{name}"}
    return [words[0], *(word.format(**values) if "{" in word else word for word in words[1:])]


def peer_of(name: str) -> tuple[socket.socket, bytes]:
    """A listener for a shape, and its address as the caller writes it."""
    port = PORTS[name]
    if name == "rev_unix":
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind("\0callout-lab-relay")
        server.listen()
        return server, unix("\0callout-lab-relay")
    kind = socket.SOCK_DGRAM if name == "rev_bash_udp" else socket.SOCK_STREAM
    server = socket.socket(socket.AF_INET, kind, 262 if name == "rev_mptcp" else 0)
    server.bind((HOST, port))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server, inet6(f"::ffff:{HOST}", port) if name == "rev_mapped" else inet(HOST, port)


def calling_home(name: str, summary: str) -> Callable[[World], None]:
    """Starts a program that gives its shell to the peer, which ends it at once."""

    def act(world: World) -> None:
        words = command(name)
        words[0] = located(words[0]) or words[0]
        server, address = peer_of(name)
        world.arranged(
            f"the peer listens on {'@callout-lab-relay' if name == 'rev_unix' else f'{HOST}:{PORTS[name]}'}"
        )
        shown = " ".join(map(shlex.quote, [os.path.basename(words[0]), *words[1:]]))
        attempt = world.by_program(address, shown)
        with server:
            program = subprocess.Popen(
                words, env={"PATH": PATH, "HOME": "/"}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            say_exit(server)
            program.wait()
        world.report(attempt)

    act.__doc__ = summary
    return act


def say_exit(server: socket.socket) -> None:
    """The peer's part: it sends one line, and reads until nothing more comes."""
    if server.type == socket.SOCK_DGRAM:  # another program, for its answer is an attempt of its own
        subprocess.run(
            [sys.executable, "-c", ANSWER, str(server.fileno())], pass_fds=(server.fileno(),), check=True
        )
        return
    caller, _ = server.accept()
    with caller:
        caller.sendall(EXIT)
        while caller.recv(4096):
            pass


def engine(world: World) -> None:
    """A process in a container that finds the engine's socket: who may call it is root on the host."""

    def act() -> None:
        libc.unshare(libc.CLONE_NEWNS)
        libc.private_tmpfs(RUN)
        with world.unix_listener(ENGINE), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            world.connect(caller, unix(ENGINE))

    process.run(act)


def bind_shell(world: World) -> None:
    """A shell that waits to be called: the attempt is the attacker's."""
    program = subprocess.Popen([sys.executable, "-c", BIND], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert program.stdout is not None
    with program.stdout:
        program.stdout.readline()
        world.arranged("a program listens on 127.0.0.1:8950 and gives its shell to who calls")
        with world.tcp() as caller:
            world.connect(caller, inet(HOST, 8950))
            caller.sendall(EXIT)
            caller.recv(1)
        program.wait()


SUMMARIES = {
    "rev_python": "Python puts the connection on 0 to 2 and becomes a shell.",
    "rev_fcntl": "Without dup2: 0 to 2 are closed and come back by fcntl(F_DUPFD).",
    "rev_passed": "One process connects, another gets the descriptor by SCM_RIGHTS and becomes a shell.",
    "rev_delayed": "The shell starts only after the peer has spoken.",
    "rev_pipes": "The shell has pipes; their owner relays to the connection.",
    "rev_pty": "The shell has a terminal of its own; its owner relays to the connection.",
    "rev_commands": "Each line of the peer is one short shell.",
    "rev_no_exec": "The program answers the peer's commands itself.",
    "rev_fastopen": "No connect(2): the SYN goes with sendto(MSG_FASTOPEN).",
    "rev_mapped": "IPv4 by the mapped address of an IPv6 socket.",
    "rev_mptcp": "Multipath TCP instead of TCP.",
    "rev_memfd": "The shell is a file in memory, under a kernel thread's name.",
    "rev_unix": "The shell calls a relay by a Unix socket.",
    "rev_bash": "bash opens /dev/tcp and becomes a shell on it.",
    "rev_bash_child": "bash opens /dev/tcp for a child, which is the shell.",
    "rev_bash_udp": "bash opens /dev/udp and obeys what comes.",
    "rev_perl": "Perl opens the connection as its standard input and output and becomes a shell.",
    "rev_gawk": "gawk opens /inet and runs what the peer says.",
    "rev_nc_e": "netcat with -e.",
    "rev_ncat_e": "ncat with -e: the shell has pipes.",
    "rev_nc_fifo": "A shell, a FIFO, and a netcat that has no -e.",
    "rev_socat": "socat with a socketpair between shell and connection.",
    "rev_socat_pty": "socat with a terminal between shell and connection.",
}
OUTCOMES: dict[str, Expected] = {
    **dict.fromkeys(("rev_ncat_e", "rev_nc_fifo"), ESTABLISHED_LATER),
    "rev_bash_udp": ASSOCIATED,
    "rev_fastopen": Expected("established", None, None, None, fields={"connect.entry": "sendto_fastopen"}),
    "rev_mptcp": Expected("established", None, None, 0, fields={"network.transport": "mptcp"}),
}
FAMILIES = {"rev_unix": ("AF_UNIX",), "rev_mapped": ("AF_INET6",)}
EXTRA_NEEDS = {"rev_mptcp": ("mptcp",), "rev_mapped": ("ipv6",), "rev_nc_fifo": ("tmpfs",)}
SCENARIOS = (
    Scenario(
        "docker_sock", "attacks", "the socket of a container engine", engine, (ESTABLISHED,), forks=True,
        address_families=("AF_UNIX",), needs=("tmpfs",),
    ),
    Scenario("bind_shell", "attacks", "a shell that waits to be called", bind_shell, (ESTABLISHED,), forks=True),
    *(
        Scenario(
            name, "attacks", summary[:1].lower() + summary[1:].rstrip("."), calling_home(name, summary),
            (OUTCOMES.get(name, ESTABLISHED),), forks=True,
            needs=(*EXTRA_NEEDS.get(name, ()), *([f"program:{PROGRAMS[name][0]}"] if name in PROGRAMS else [])),
            address_families=FAMILIES.get(name, ("AF_INET",)),
            entries=("sendto_fastopen",) if name == "rev_fastopen" else ("connect",),
        )
        for name, summary in SUMMARIES.items()
    ),
)  # fmt: skip
