"""What common clients do, call by call: each shape as its program was seen to make it, without the program.

Rule of this file: the shapes are facts about programs, so each names one, and the calls are the laboratory's own. A
client's page in the reference tells versions. ``getent`` is the program itself.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable

from callout.lab.address import UNSPEC, inet, inet6, unix
from callout.lab.again import confirm
from callout.lab.namespace import RUN
from callout.lab.outcomes import (
    ASSOCIATED,
    CLOSED_PENDING,
    CONNECTED_ALREADY,
    DISSOLVED,
    ESTABLISHED,
    ESTABLISHED_LATER,
    REFUSED_LATER,
    failed,
)
from callout.lab.scenario import Expected, Scenario
from callout.lab.tools import located
from callout.lab.world import World

HOST, HOST6 = "127.0.0.1", "::1"
NSCD = f"{RUN}/nscd/socket"
AWAY6 = "2001:db8::78"  # on the link, but nobody is there
AF_INET, AF_INET6 = socket.AF_INET, socket.AF_INET6

ABSENT = Expected("unreachable", "ENOENT", "unix_no_path", -2, fields={"connect.pattern": "nscd"})
NO_AGENT = failed("unreachable", "ENOENT", "unix_no_path")
NO_LOG = failed("unreachable", "ENOENT", "unix_no_path")


def nscd(world: World) -> None:
    """The C library asks for its name service cache twice."""
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as caller:
            world.connect(caller, unix(NSCD))


def probe(world: World, port: int) -> None:
    """A resolver asks which source address the kernel would take."""
    with socket.socket(AF_INET, socket.SOCK_DGRAM) as caller:
        world.connect(caller, inet(HOST, port))


def waiting(port: int, probes: int | None, asks: bool = True) -> Callable[[World], None]:
    """Name cache, probe, then a non-blocking TCP connection whose outcome is polled for."""

    def act(world: World) -> None:
        if asks:
            nscd(world)
        if probes is not None:
            probe(world, probes)
        with world.listener(HOST, port), world.tcp(blocking=False) as caller:
            world.connect(caller, inet(HOST, port), wait=True)

    return act


def blocking(port: int, probes: int) -> Callable[[World], None]:
    """Name cache, probe, then a blocking TCP connection."""

    def act(world: World) -> None:
        nscd(world)
        probe(world, probes)
        with world.listener(HOST, port), world.tcp() as caller:
            world.connect(caller, inet(HOST, port))

    return act


def eyeballs(port: int) -> Callable[[World], None]:
    """IPv6 first, IPv4 beside it a moment later, and the loser closed."""

    def act(world: World) -> None:
        with world.listener("192.0.2.1", port):
            six, four = world.tcp(AF_INET6, blocking=False), world.tcp(blocking=False)
            first = world.begin(six, inet6(AWAY6, port))
            world.connect(four, inet("192.0.2.1", port), wait=True)
            six.close()
            world.tell(first)
            four.close()

    return act


def node(world: World) -> None:
    """The first attempt is given up before the second begins: one at a time."""
    with world.listener("192.0.2.1", 8946):
        with world.tcp(AF_INET6, blocking=False) as caller:
            world.connect(caller, inet6(AWAY6, 8946))
        with world.tcp(blocking=False) as caller:
            world.connect(caller, inet("192.0.2.1", 8946), wait=True)


def fallback(world: World) -> None:
    """localhost is ::1 first; the service has only 127.0.0.1."""
    with world.listener(HOST, 8947):
        with world.tcp(AF_INET6, blocking=False) as caller:
            world.connect(caller, inet6(HOST6, 8947), wait=True)
        with world.tcp(blocking=False) as caller:
            world.connect(caller, inet(HOST, 8947), wait=True)


def confirmed(world: World) -> None:
    """The outcome is asked for by a second connect."""
    confirm(world, 8948)


def upstreams(world: World) -> None:
    """The next upstream after one that refuses."""
    with world.listener(HOST, 8949):
        for port in (8952, 8949):
            with world.tcp(blocking=False) as caller:
                world.connect(caller, inet(HOST, port), wait=True)


def agent(world: World) -> None:
    """A TCP session, then the agent's socket, which is not there."""
    with world.listener(HOST, 8953), world.tcp() as caller:
        world.connect(caller, inet(HOST, 8953))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent_:
            world.connect(agent_, unix(f"{RUN}/ssh-agent.sock"))


def log(world: World) -> None:
    """The log daemon's datagram socket, which is not there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
        world.connect(caller, unix(f"{RUN}/systemd/journal/dev-log"))


def mapped(world: World) -> None:
    """One IPv6 socket for both families: IPv4 by its mapped address."""
    with world.listener(HOST, 8954), world.tcp(AF_INET6, blocking=False) as caller:
        world.connect(caller, inet6(f"::ffff:{HOST}", 8954), wait=True)


def sorting(world: World) -> None:
    """One IPv6 datagram socket compares the candidates: IPv6, dissolved, IPv4."""
    nscd(world)
    with socket.socket(AF_INET6, socket.SOCK_DGRAM) as caller:
        world.connect(caller, inet6(HOST6, 443))
        world.connect(caller, UNSPEC)
        world.connect(caller, inet(HOST, 443))


def question(world: World) -> None:
    """A DNS question: this datagram socket is used."""
    with (
        socket.socket(AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(AF_INET, socket.SOCK_DGRAM) as caller,
    ):
        server.bind((HOST, 8955))
        caller.setblocking(False)
        world.connect(caller, inet(HOST, 8955))
        caller.send(bytes(12))
        server.recv(64)


def netlink(world: World) -> None:
    """ip and ss bind a netlink socket and send: nothing connects. Their library can: then the kernel is the peer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as caller:
        world.connect(caller, b"\x10\0" + bytes(10))


def getent(world: World) -> None:
    """The program itself: getent ahosts."""
    words = [located("getent") or "getent", "ahosts", "localhost"]
    address = unix("/var/run/nscd/socket")
    attempt = world.by_program(address, "getent ahosts localhost")
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    world.report(attempt)


LOSER = Expected(
    "aborted", None, "closed_by_application", -115, fields={"connect.pattern": "happy_eyeballs_loser"}
)
BEFORE = (ABSENT, ABSENT, ASSOCIATED)
FILES, LINK = ("tmpfs",), ("ip", "ipv6")
SCENARIOS = (
    Scenario("client_curl", "clients", "curl: name cache, probe, non-blocking", waiting(8940, 8940),
             (*BEFORE, ESTABLISHED_LATER), needs=FILES, address_families=("AF_UNIX", "AF_INET")),
    Scenario("client_eyeballs", "clients", "curl, Go, aiohttp, trio, gRPC: both families at once", eyeballs(8941),
             (LOSER, ESTABLISHED_LATER), needs=LINK, address_families=("AF_INET6", "AF_INET")),
    Scenario("client_wget", "clients", "wget, socat: probe to port 0, blocking", blocking(8942, 0),
             (*BEFORE, ESTABLISHED), needs=FILES, address_families=("AF_UNIX", "AF_INET")),
    Scenario("client_bash", "clients", "bash, git, ssh: probe to the port, blocking", blocking(8943, 8943),
             (*BEFORE, ESTABLISHED), needs=FILES, address_families=("AF_UNIX", "AF_INET")),
    Scenario("client_go", "clients", "Go: no name cache, probe to port 9", waiting(8944, 9, asks=False),
             (ASSOCIATED, ESTABLISHED_LATER)),
    Scenario("client_python", "clients", "Python with a timeout, asyncio: non-blocking", waiting(8945, 8945),
             (*BEFORE, ESTABLISHED_LATER), needs=FILES, address_families=("AF_UNIX", "AF_INET")),
    Scenario("client_node", "clients", "Node: the first is given up before the second", node,
             (CLOSED_PENDING, ESTABLISHED_LATER), needs=LINK, address_families=("AF_INET6", "AF_INET")),
    Scenario("client_psql", "clients", "libpq: ::1 refused, then 127.0.0.1", fallback,
             (REFUSED_LATER, ESTABLISHED_LATER), needs=("ipv6",), address_families=("AF_INET6", "AF_INET")),
    Scenario("client_redis", "clients", "hiredis: a second connect confirms", confirmed,
             (ESTABLISHED_LATER, ESTABLISHED, CONNECTED_ALREADY)),
    Scenario("client_nginx", "clients", "nginx: the next upstream after a refusal", upstreams,
             (REFUSED_LATER, ESTABLISHED_LATER)),
    Scenario("client_ssh", "clients", "ssh: TCP, then the agent's socket", agent, (ESTABLISHED, NO_AGENT),
             needs=FILES, address_families=("AF_INET", "AF_UNIX")),
    Scenario("client_syslog", "clients", "logger, syslog(3): the log socket", log, (NO_LOG,), needs=FILES,
             address_families=("AF_UNIX",)),
    Scenario("client_java", "clients", "Java, gRPC: IPv4 from an IPv6 socket", mapped, (ESTABLISHED_LATER,),
             needs=("ipv6",), address_families=("AF_INET6",)),
    Scenario("client_glibc", "clients", "getaddrinfo: the candidates are compared", sorting,
             (ABSENT, ABSENT, ASSOCIATED, DISSOLVED, ASSOCIATED), needs=("tmpfs", "ipv6"),
             address_families=("AF_UNIX", "AF_INET6")),
    Scenario("client_dns", "clients", "a DNS question", question, (ASSOCIATED,)),
    Scenario("client_netlink", "clients", "a netlink library", netlink, (ASSOCIATED,),
             address_families=("AF_NETLINK",)),
    Scenario("client_getent", "clients", "getent, the program itself", getent,
             (Expected("unreachable", "ENOENT", "unix_no_path", -2, fields={"connect.pattern": "nscd"}),),
             needs=("tmpfs", "program:getent"), forks=True, address_families=("AF_UNIX",)),
)  # fmt: skip

# Every client whose habits the reference tells, and the scenarios in its shape
CLIENTS: dict[str, tuple[str, ...]] = {
    "curl": ("client_curl", "client_eyeballs"),
    "wget": ("client_wget",),
    "ssh": ("client_bash", "client_ssh"),
    "socat": ("client_wget", "rev_socat"),
    "psql": ("client_psql",),
    "redis-cli": ("client_redis",),
    "nginx": ("client_nginx",),
    "node": ("client_node",),
    "java": ("client_java",),
    "go": ("client_go", "client_eyeballs"),
    "python": ("client_python",),
    "asyncio": ("client_python", "client_eyeballs"),
    "grpc": ("client_java", "client_eyeballs"),
    "glibc": ("client_glibc", "client_dns", "client_getent"),
    "syslog": ("client_syslog",),
    "docker-cli": ("unix_path", "docker_sock"),
    "iproute2": ("client_netlink",),
}
