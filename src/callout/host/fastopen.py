"""TCP Fast Open towards one host: the switch, the cookie that is kept, what was lost.

Rule of this file: asks the kernel in the network namespace of this thread. Sources: tcp(7), ip-sysctl.rst
(tcp_fastopen, tcp_fastopen_blackhole_timeout_sec), linux/tcp_metrics.h, net/ipv4/tcp_fastopen.c.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from callout.computed import FastOpen
from callout.host import settings

NETSTAT = Path("/proc/thread-self/net/netstat")
GET = 1  # TCP_METRICS_CMD_GET
ATTRIBUTES = (  # linux/tcp_metrics.h, in their order
    ("UNSPEC", "none"), ("ADDR_IPV4", "ip4addr"), ("ADDR_IPV6", "ip6addr"), ("AGE", "uint64"), ("TW_TSVAL", "uint32"),
    ("TW_TS_STAMP", "int32"), ("VALS", "hex"), ("FOPEN_MSS", "uint16"), ("FOPEN_SYN_DROPS", "uint16"),
    ("FOPEN_SYN_DROP_TS", "uint64"), ("FOPEN_COOKIE", "cdata"), ("SADDR_IPV4", "ip4addr"), ("SADDR_IPV6", "ip6addr"),
)  # fmt: skip


def state(ip: str) -> FastOpen:
    """What this host knows about Fast Open to an address. Raises OSError."""
    kept = metrics(ip)
    cookie = None if kept is None else kept.get("FOPEN_COOKIE")
    return FastOpen(
        value=settings.number("ipv4/tcp_fastopen"),
        cookie=len(cookie) if cookie else 0,
        dropped=int((kept or {}).get("FOPEN_SYN_DROPS") or 0),
        blackholes=counter("TCPFastOpenBlackhole"),
        blackhole_timeout=settings.number("ipv4/tcp_fastopen_blackhole_timeout_sec"),
    )


def counter(name: str) -> int:
    """A counter of TcpExt; 0 where this kernel has no such. Source: nstat(8)."""
    lines = [line.split() for line in NETSTAT.read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names[0] == "TcpExt:" and name in names:
            return int(values[names.index(name)])
    return 0


def metrics(ip: str) -> dict[str, Any] | None:
    """What the kernel keeps about a host between connections (ip-tcp_metrics(8)); None: nothing."""
    from pyroute2.netlink import NLM_F_REQUEST, genlmsg
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.generic import GenericNetlinkSocket

    class Message(genlmsg):  # type: ignore[misc]
        prefix = "TCP_METRICS_ATTR_"
        nla_map = tuple((f"TCP_METRICS_ATTR_{name}", kind) for name, kind in ATTRIBUTES)

    version = ipaddress.ip_address(ip).version
    asked = Message()
    asked["cmd"], asked["version"] = GET, 1
    asked["attrs"] = [(f"TCP_METRICS_ATTR_ADDR_IPV{version}", ip)]
    with GenericNetlinkSocket() as handle:
        handle.bind("tcp_metrics", Message)
        try:
            answers = list(handle.nlm_request(asked, msg_type=handle.prid, msg_flags=NLM_F_REQUEST))
        except NetlinkError as error:
            if error.code in (3, 2):  # ESRCH: nothing is kept
                return None
            raise OSError(error.code, str(error)) from error
    return (
        {name.removeprefix(Message.prefix): value for name, value in answers[0]["attrs"]} if answers else None
    )
