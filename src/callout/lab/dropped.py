"""What this host's own kernel does to the packets of an attempt, without a word to the caller.

TCP takes no notice of a lost SYN or a lost answer: it tries again until its time is up, and blames the network.

Rule of this file: each has a network of its own (``alone``), which it sets up itself.
Behaviour: tc(8), ip-sysctl (rp_filter), bpf(2) (BPF_CGROUP_INET_EGRESS), include/net/dropreason-core.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from callout.lab import cgroup, libc, process
from callout.lab.address import inet
from callout.lab.outcomes import failed
from callout.lab.scenario import Expected, Scenario
from callout.lab.tools import feed
from callout.lab.world import World

HOST = "127.0.0.1"
THERE, FAR = "192.0.2.2", "198.18.5.5"
EXPERIMENT = 0x88B5  # IEEE 802 local experimental Ethertype

WIRE = """\
link add drop0 type veth peer name drop1
link set drop0 up
link set drop1 up
addr add 192.0.2.1/24 dev drop0
neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev drop0
"""
# Two wires to the same host: packets go by one of them, answers come by the other.
TWO_WIRES = """\
link add out0 type veth peer name out1 netns {far}
link add back0 address 02:00:00:00:00:01 type veth peer name back1 netns {far}
link set out0 up
link set back0 up
addr add 192.0.2.1/24 dev out0
addr add 198.51.100.1/24 dev back0
route add 198.18.5.5 via 192.0.2.2
"""
FAR_END = """\
link set lo up
link set out1 up
link set back1 up
addr add 192.0.2.2/24 dev out1
addr add 198.51.100.2/24 dev back1
addr add 198.18.5.5/32 dev lo
neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev back1
route add 192.0.2.1/32 via 198.51.100.1
"""
INPUT = """\
table inet lab {
  chain input {
    type filter hook input priority 0
    tcp sport 8400 tcp flags & (syn | ack) == syn | ack drop
  }
}
"""


def given(tool: str, *arguments: str, text: str) -> None:
    """Feeds a tool. Raises RuntimeError if it does not take it."""
    if reason := feed(tool, *arguments, text=text):
        raise RuntimeError(reason)


def by_traffic_control(world: World) -> None:
    """The queue of the device takes nothing."""
    given("ip", "-batch", "-", text=WIRE)
    given("tc", "-batch", "-", text="qdisc add dev drop0 root pfifo limit 0\n")
    with world.impatient() as caller:
        world.connect(caller, inet(THERE, 443))


def link(device: str, to: str) -> bytes:
    """A sockaddr_ll: 20 bytes (packet(7))."""
    hardware = bytes.fromhex(to.replace(":", ""))
    index = socket.if_nametoindex(device)
    return (
        struct.pack("=H", socket.AF_PACKET)
        + struct.pack("!H", EXPERIMENT)
        + struct.pack("=iHBB8s", index, 0, 0, len(hardware), hardware)
    )


def frame(world: World) -> None:
    """Sends a frame by the device."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as caller:
        address = link("drop0", "02:00:00:00:00:02")
        attempt = world.about(caller, address, call="sendto")
        world.tell(attempt, -min(0, libc.sendto(attempt.fd, b"x", 0, address)))


def full_queue(world: World) -> None:
    """The queue of the device takes nothing, and a packet socket is told so."""
    given("ip", "-batch", "-", text=WIRE)
    given("tc", "-batch", "-", text="qdisc add dev drop0 root pfifo limit 0\n")
    frame(world)


def down(world: World) -> None:
    """The device is down, and a packet socket is told so."""
    given("ip", "-batch", "-", text=WIRE + "link set drop0 down\n")
    frame(world)


def by_another_way(world: World, here: Callable[[], None]) -> None:
    """Calls a host whose answers come back by another wire; ``here`` sets up our end."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc.unshare(libc.CLONE_NEWNET)
    far = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc.setns(home)
    given("ip", "-batch", "-", text=TWO_WIRES.format(far=f"/proc/{os.getpid()}/fd/{far}"))
    here()
    libc.setns(far)
    given("ip", "-batch", "-", text=FAR_END)
    world.set("ipv4/conf/all/rp_filter", "0")
    world.set("ipv4/conf/out1/rp_filter", "0")
    server = world.listener(FAR, 8400)
    libc.setns(home)
    with server, world.impatient() as caller:
        world.connect(caller, inet(FAR, 8400))
    os.close(far)
    os.close(home)


def filters(world: World, value: str) -> None:
    """Whether packets must come by the device that leads back to their sender."""
    for name in ("all", "back0"):
        world.set(f"ipv4/conf/{name}/rp_filter", value)


def by_reverse_path(world: World) -> None:
    """The answers come by another device than the one that leads back to their sender."""
    by_another_way(world, lambda: filters(world, "1"))


def on_the_way_in(world: World) -> None:
    """The firewall lets the SYN out, but not the answer in."""

    def here() -> None:
        filters(world, "0")
        given("nft", "-f", "-", text=INPUT)

    by_another_way(world, here)


def by_cgroup(world: World) -> None:
    """A program on the cgroup's packets lets none out."""

    def act() -> None:
        cgroup.join(group)
        with world.impatient() as caller:
            world.connect(caller, inet(HOST, 8403))

    with (
        world.listener(HOST, 8403),
        cgroup.made() as group,
        cgroup.attached(group, cgroup.EGRESS, cgroup.DENY, cgroup.CGROUP_SKB),
    ):
        process.run(act)


def unsent(verdict: str, error: str) -> tuple[Expected, ...]:
    """A frame that could not be sent. Not every tier sees what becomes of frames."""
    return (Expected(verdict, error, "unknown", None, fields={"connect.entry": "sendto"}, lenient=True),)


SCENARIOS = (
    Scenario(
        "drop_tc", "dropped", "traffic control drops", by_traffic_control,
        (failed("timed_out", "ETIMEDOUT", "tc_drop"),), needs=("ip", "tc"), slow=True, alone=True,
    ),
    Scenario(
        "queue_full", "dropped", "the device's queue is full", full_queue, unsent("exhausted", "ENOBUFS"),
        needs=("ip", "tc", "packet"), alone=True, address_families=("AF_PACKET",), entries=("sendto",),
    ),
    Scenario(
        "link_down", "dropped", "the device is down", down, unsent("unreachable", "ENETDOWN"),
        needs=("ip", "packet"), alone=True, address_families=("AF_PACKET",), entries=("sendto",),
    ),
    Scenario(
        "drop_rp_filter", "dropped", "the answers come by another way", by_reverse_path,
        (failed("timed_out", "ETIMEDOUT", "reverse_path_filter"),), needs=("ip", "settings"), slow=True, alone=True,
    ),
    Scenario(
        "drop_input", "dropped", "the firewall drops the answers", on_the_way_in,
        (failed("timed_out", "ETIMEDOUT", "netfilter_drop"),), needs=("ip", "nft", "settings"), slow=True, alone=True,
    ),
    Scenario(
        "drop_cgroup", "dropped", "a program on the cgroup drops", by_cgroup,
        (failed("timed_out", "ETIMEDOUT", "cgroup_bpf"),), needs=("cgroup",), slow=True, forks=True, alone=True,
    ),
)  # fmt: skip
