"""Another host: a network namespace behind a veth pair, which answers, forwards, refuses, and says so by ICMP.

198.18.0.1, OTHERS and 2001:db8:1::1 are ours, 198.18.0.2 and 2001:db8:1::2 the router's, and 198.18.1.0/24 and
2001:db8:2::/64 lie behind it (RFC 2544, RFC 3849): each address there meets another fate.

Rule of this file: the namespace lives as long as ``KEPT``, which holds a descriptor of it and of its listeners.
Sources: ip-route(8), nft(8), RFC 792, RFC 1812, RFC 4443.
"""

from __future__ import annotations

import os
import socket

from callout.lab import libc
from callout.lab.tools import feed

# A router's routes answer five times to one address, then once a second (net/ipv4/route.c, ip_error; its settings
# are the host's alone): who asks them has an address of its own.
OTHERS = ("198.18.0.11", "198.18.0.12", "198.18.0.13")
ROUTER, ROUTER6 = "198.18.0.2", "2001:db8:1::2"
OPEN, CLOSED = 8800, 8801

HOST_UNREACHABLE = "198.18.1.1"  # a route of type unreachable
NET_UNREACHABLE = "198.18.2.1"  # no route
PROHIBITED = "198.18.1.2"  # a route of type prohibit: packet filtered
SWALLOWED = "198.18.1.3"  # a route of type blackhole
FILTER_ADMIN = "198.18.1.10"
FILTER_HOST = "198.18.1.11"
FILTER_NET = "198.18.1.12"
FILTER_PORT = "198.18.1.13"
FILTER_PROTOCOL = "198.18.1.14"
FILTER_RESET = "198.18.1.15"
FILTER_DROP = "198.18.1.16"
FILTER_NET_PROHIBITED = "198.18.1.17"
FILTER_HOST_PROHIBITED = "198.18.1.18"
BEHIND = "198.18.1.30"  # forwarded, if the packet lives that long
NO_ROUTE6 = "2001:db8:3::1"
FILTER_ADMIN6 = "2001:db8:2::10"
FILTER_ADDRESS6 = "2001:db8:2::11"
FILTER_PORT6 = "2001:db8:2::13"
FILTER_RESET6 = "2001:db8:2::15"

HERE = """\
link add lab2 type veth peer name lab3
link set lab3 netns {far}
link set lab2 up
addr add 198.18.0.1/24 dev lab2
addr add 198.18.0.11/24 dev lab2
addr add 198.18.0.12/24 dev lab2
addr add 198.18.0.13/24 dev lab2
route add 198.18.1.0/24 via 198.18.0.2
route add 198.18.2.0/24 via 198.18.0.2
"""
HERE6 = """\
addr add 2001:db8:1::1/64 dev lab2 nodad
route add 2001:db8:2::/64 via 2001:db8:1::2
route add 2001:db8:3::/64 via 2001:db8:1::2
"""
THERE = f"""\
link set lo up
link set lab3 up
addr add 198.18.0.2/24 dev lab3
link add behind type veth peer name nobody
link set behind up
link set nobody up
route add 198.18.1.0/24 dev behind
route add unreachable {HOST_UNREACHABLE}
route add prohibit {PROHIBITED}
route add blackhole {SWALLOWED}
"""
THERE6 = """\
addr add 2001:db8:1::2/64 dev lab3 nodad
route add 2001:db8:2::/64 dev behind
"""
RULES = f"""\
table inet router {{
  chain forward {{
    type filter hook forward priority 0
    ip daddr {FILTER_ADMIN} reject with icmp type admin-prohibited
    ip daddr {FILTER_HOST} reject with icmp type host-unreachable
    ip daddr {FILTER_NET} reject with icmp type net-unreachable
    ip daddr {FILTER_PORT} reject with icmp type port-unreachable
    ip daddr {FILTER_PROTOCOL} reject with icmp type prot-unreachable
    ip daddr {FILTER_NET_PROHIBITED} reject with icmp type net-prohibited
    ip daddr {FILTER_HOST_PROHIBITED} reject with icmp type host-prohibited
    ip daddr {FILTER_RESET} meta l4proto tcp reject with tcp reset
    ip daddr {FILTER_DROP} drop
    ip6 daddr {FILTER_ADMIN6} reject with icmpv6 type admin-prohibited
    ip6 daddr {FILTER_ADDRESS6} reject with icmpv6 type addr-unreachable
    ip6 daddr {FILTER_PORT6} reject with icmpv6 type port-unreachable
    ip6 daddr {FILTER_RESET6} meta l4proto tcp reject with tcp reset
  }}
}}
"""
# Routers send few ICMP errors a second, and few to one peer (icmp(7)): here each attempt shall get its own.
SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv4/icmp_ratelimit": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/icmp/ratelimit": "0",
}
KEPT: list[object] = []


def build() -> str | None:
    """Need ``router``: makes all this in the network that we are in. Returns None, or why it cannot be had."""
    six = os.path.exists("/proc/sys/net/ipv6") and not disabled6()
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        libc.unshare(libc.CLONE_NEWNET)
    except OSError as error:
        os.close(home)
        return f"no second network namespace can be had ({error.strerror})"
    far = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        libc.setns(home)
        KEPT.append(os.fdopen(far, "rb"))
        text = HERE.format(far=f"/proc/{os.getpid()}/fd/{far}") + (HERE6 if six else "")
        if reason := feed("ip", "-batch", "-", text=text):
            return reason
        libc.setns(far)
        return furnish(six)
    except OSError as error:
        return f"the router cannot be set up ({error})"
    finally:
        libc.setns(home)
        os.close(home)


def furnish(six: bool) -> str | None:
    """Sets up the router's side, from within it."""
    for name, value in SETTINGS.items():
        if six or not name.startswith("ipv6"):
            with open(f"/proc/sys/net/{name}", "w") as file:
                file.write(value)
    if reason := feed("ip", "-batch", "-", text=THERE + (THERE6 if six else "")):
        return reason
    if reason := feed("nft", "-f", "-", text=RULES):
        return reason
    for host, family in ((ROUTER, socket.AF_INET), *(((ROUTER6, socket.AF_INET6),) if six else ())):
        server = socket.socket(family, socket.SOCK_STREAM)
        server.bind((host, OPEN))
        server.listen()
        KEPT.append(server)
    return None


def disabled6() -> bool:
    """Whether IPv6 is switched off here."""
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6") as file:
        return file.read().strip() == "1"
