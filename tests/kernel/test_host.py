"""What is read from the host, against a network namespace in which it was set up: nothing here is traced."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callout.host import netns
from callout.host.firewall import read_firewall
from callout.host.look import looks
from callout.host.options import options_of
from callout.host.policy import modules, seccomp_mode
from callout.host.routes import lookup, neighbour
from callout.host.settings import files_of, read_settings
from callout.host.sockets import listeners, ports_towards, unix_listeners
from callout.ruleset import Packet, decide

pytestmark = pytest.mark.kernel

SETUP = """
set -e
ip link set lo up
ip link add name va type veth peer name vb
ip link set va up
ip link set vb up
ip addr add 192.0.2.1/24 dev va
ip -6 addr add 2001:db8::1/64 dev va nodad
ip route add 198.51.100.0/24 via 192.0.2.254
ip route add unreachable 203.0.113.1
ip route add prohibit 203.0.113.2
ip route add blackhole 203.0.113.3
ip neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev va
echo 1 > /proc/sys/net/ipv4/tcp_syn_retries
echo '40000 40009' > /proc/sys/net/ipv4/ip_local_port_range
echo 40003,40005-40006 > /proc/sys/net/ipv4/ip_local_reserved_ports
echo 7 > /proc/sys/net/core/somaxconn
"""
HOLD = """
import socket, sys
held = []
def listener(family, place, backlog):
    s = socket.socket(family); s.bind(place); s.listen(backlog); held.append(s)
    return s
listener(socket.AF_INET, ("127.0.0.1", 5001), 3)
listener(socket.AF_INET6, ("::", 5002), 100)
listener(socket.AF_UNIX, "\\0callout-test-why", 2)
for _ in range(2):
    s = socket.create_connection(("127.0.0.1", 5001)); held.append(s)
patient = socket.socket(); patient.setsockopt(6, 18, 1500); patient.setsockopt(6, 7, 2); held.append(patient)
print(patient.fileno(), flush=True)
sys.stdin.read()
"""


class Place:
    """A network namespace, held by a process that listens in it."""

    def __init__(self, process: subprocess.Popen[str], descriptor: int) -> None:
        self.pid = process.pid
        self.path = f"/proc/{process.pid}/ns/net"
        self.descriptor = descriptor

    def shell(self, text: str) -> None:
        subprocess.run(["nsenter", f"--net={self.path}", "bash", "-ec", text], check=True, timeout=30)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    process = subprocess.Popen(
        ["unshare", "--net", "bash", "-c", SETUP + 'exec "$0" -c "$1"', sys.executable, HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the namespace could not be set up"
        yield Place(process, int(line))
    finally:
        process.kill()
        process.communicate()


def test_settings(place: Place) -> None:
    found = netns.inside(place.path, read_settings)
    assert (found.tcp_syn_retries, found.port_range, found.reserved, found.somaxconn) == (
        1,
        (40000, 40009),
        3,
        7,
    )
    assert netns.inside(netns.OWN, read_settings) == read_settings()
    assert threads_are_home()


def threads_are_home() -> bool:
    """The calling thread did not move."""
    return os.stat("/proc/thread-self/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino


def test_a_namespace_is_found_by_its_number(place: Place) -> None:
    number = netns.inode(place.path)
    assert netns.find(number, place.pid) == place.path
    assert netns.inode(netns.find(number) or "") == number
    assert netns.find(1) is None
    assert netns.find(None, place.pid) == place.path


@pytest.mark.parametrize(
    ("destination", "error", "kind", "gateway", "device"),
    [
        ("127.0.0.1", None, "local", None, "lo"),
        ("192.0.2.1", None, "local", None, "lo"),
        ("192.0.2.9", None, "unicast", None, "va"),
        ("192.0.2.255", None, "broadcast", None, "va"),
        ("198.51.100.7", None, "unicast", "192.0.2.254", "va"),
        ("8.8.8.8", "ENETUNREACH", "", None, ""),
        ("203.0.113.1", "EHOSTUNREACH", "", None, ""),
        ("203.0.113.2", "EACCES", "", None, ""),
        ("203.0.113.3", "EINVAL", "", None, ""),
        ("::1", None, "local", None, "lo"),
        ("2001:db8::9", None, "unicast", None, "va"),
        ("2001:db8:9::9", "ENETUNREACH", "", None, ""),
    ],
)
def test_routes(
    place: Place, destination: str, error: str | None, kind: str, gateway: str | None, device: str
) -> None:
    found = netns.inside(place.path, lambda: lookup(destination))
    assert (found.error, found.kind, found.gateway, found.device) == (error, kind, gateway, device)


def test_neighbours(place: Place) -> None:
    found = netns.inside(place.path, lambda: neighbour("192.0.2.254"))
    assert found is not None
    assert (found.link, found.device, found.state) == ("02:00:00:00:00:fe", "va", "permanent")
    assert netns.inside(place.path, lambda: neighbour("192.0.2.99")) is None


def test_listeners(place: Place) -> None:
    (found,) = netns.inside(place.path, lambda: listeners(5001))
    assert (found.ip, found.queued, found.backlog) == ("127.0.0.1", 2, 3)
    assert found.hears("127.0.0.1")
    assert not found.hears("127.0.0.2")
    (wide,) = netns.inside(place.path, lambda: listeners(5002))
    assert (wide.backlog, wide.hears("192.0.2.1"), wide.hears("::1")) == (7, True, True)
    assert netns.inside(place.path, lambda: listeners(5003)) == []
    assert netns.inside(place.path, lambda: ports_towards("127.0.0.1", 5001)) == 2
    (abstract,) = [one for one in netns.inside(place.path, unix_listeners) if "callout-test-why" in one.name]
    assert (abstract.name, abstract.kind, abstract.backlog) == ("@callout-test-why", "stream", 2)


def test_options_of_another_process(place: Place) -> None:
    try:
        copy = os.pidfd_open(place.pid)
        os.close(copy)
        with socket.socket(fileno=taken(place)) as theirs:
            (cookie,) = (int.from_bytes(theirs.getsockopt(socket.SOL_SOCKET, 57, 8), "little"),)
    except OSError as error:
        pytest.skip(f"pidfd_getfd(2): {error}")
    found = options_of(place.pid, place.descriptor, cookie)
    assert found is not None
    assert (found.user_timeout, found.syn_retries, found.send_timeout) == (1.5, 2, None)
    assert options_of(place.pid, place.descriptor, cookie + 1) is None, "another socket by now"


def taken(place: Place) -> int:
    """A copy of their socket."""
    import ctypes

    process = os.pidfd_open(place.pid)
    try:
        copy: int = ctypes.CDLL(None).syscall(438, process, place.descriptor, 0)
    finally:
        os.close(process)
    if copy < 0:
        raise OSError(1, "refused")
    return copy


def test_this_process() -> None:
    count, limit = files_of(os.getpid())
    assert count is not None
    assert limit is None or 3 <= count <= limit
    assert seccomp_mode(os.getpid()) in (0, 2)
    assert isinstance(modules(), list)


NFT = """nft -f - <<N
table inet test {{
  chain o {{
    type filter hook output priority 0
    {rule}
  }}
}}
N
"""
# rule, destination and port, and what becomes of a SYN: the kernel and the evaluation must agree
RULES = (
    ("ip daddr 192.0.2.7 drop", "192.0.2.7", 80, "drop"),
    ("ip daddr 192.0.2.7 drop", "192.0.2.8", 80, "accept"),
    ("tcp dport { 22, 80-90 } counter reject with tcp reset", "192.0.2.8", 85, "reject"),
    ("tcp dport != 80 drop", "192.0.2.8", 80, "accept"),
    ("oifname va meta l4proto tcp drop", "192.0.2.8", 80, "drop"),
    ("ip daddr . tcp dport { 192.0.2.8 . 80 } drop", "192.0.2.8", 80, "drop"),
    ("tcp dport vmap { 80 : drop, 81 : accept }", "192.0.2.8", 80, "drop"),
    ("tcp flags & (syn | ack) == syn drop", "192.0.2.8", 80, "drop"),
    ("ct state established accept\n    meta skuid 0 tcp dport 80 drop", "192.0.2.8", 80, "drop"),
    ("ip6 daddr 2001:db8::8 drop", "2001:db8::8", 80, "drop"),
    ("ip6 daddr 2001:db8::8 drop", "192.0.2.8", 80, "accept"),
    ("meta nfproto ipv6 drop", "2001:db8::8", 80, "drop"),
)


@pytest.mark.parametrize(("rule", "ip", "port", "action"), RULES)
def test_the_kernel_agrees_about_rules(place: Place, rule: str, ip: str, port: int, action: str) -> None:
    """A counter behind the rules says whether the kernel let the SYN pass; nothing leaves the namespace."""
    after = (
        NFT.format(rule=rule) + "nft add rule inet test o tcp dport " + str(port) + " counter comment passed"
    )
    place.shell(after)
    try:
        packet = Packet(6 if ":" in ip else 4, "tcp", "2001:db8::1" if ":" in ip else "192.0.2.1", ip, 40001, port,
                        oif="va", uid=0, gid=0)  # fmt: skip
        found = netns.inside(place.path, read_firewall)
        assert found.missing == []
        decision = decide(found.chains, "output", packet)
        assert (decision.action, decision.certain) == (action, True)
        netns.inside(place.path, lambda: one_syn(ip, port))
        listing = json.loads(
            netns.inside(place.path, lambda: shown("nft", "-j", "list", "chain", "inet", "test", "o"))
        )
        assert bool(passed(listing)) == (action == "accept")
    finally:
        place.shell("nft delete table inet test")


def one_syn(ip: str, port: int) -> None:
    """Sends one SYN, and waits for nothing. The neighbour is made up, so it leaves."""
    subprocess.run(
        ["ip", "neigh", "replace", ip, "lladdr", "02:00:00:00:00:09", "dev", "va"], check=True, timeout=30
    )
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        caller.connect_ex((ip, port))


def shown(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def passed(listing: dict[str, Any]) -> int:
    """Packets that came to the last rule."""
    rules = [item["rule"] for item in listing["nftables"] if "rule" in item]
    return int(next(expr["counter"]["packets"] for expr in rules[-1]["expr"] if "counter" in expr))


def test_rules_of_iptables(place: Place) -> None:
    """The old iptables, and the new one that speaks to nftables, with a match that nft cannot print."""
    packet = Packet(4, "tcp", "192.0.2.1", "192.0.2.8", 40001, 80, oif="va", uid=0, gid=0)
    for tool in ("iptables-legacy", "iptables-nft"):
        try:
            place.shell(
                f"{tool} -A OUTPUT -p tcp -m multiport --dports 80,443 -m comment --comment why -j DROP"
            )
        except subprocess.CalledProcessError:
            continue
        found = netns.inside(place.path, read_firewall)
        decision = decide(found.chains, "output", packet)
        place.shell(f"{tool} -F OUTPUT")
        assert decision.rule is not None
        assert (decision.action, decision.certain, decision.rule.place) == (
            "drop",
            True,
            f"{tool} filter OUTPUT",
        )
        assert "--dports 80,443" in decision.rule.text


def test_looks_say_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"connect.netns": 1, "process.pid": os.getpid(), "connect.family": "AF_INET"}
    (gone,) = looks(row)
    assert "is gone" in gone.text
    monkeypatch.setattr("callout.host.firewall.SEARCHED", str(Path("/nowhere")))
    assert "nft is not installed" in read_firewall().missing
