"""What a reader would write to make a scenario's attempts: sockets and calls in order, for every language.

Rule of this file: it takes the reported attempts apart, and knows no language. ``snippet_c`` and ``snippet_python``
write what it finds. An attempt that another program made has no snippet: its command is the snippet.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from callout.lab.report import Attempt
from callout.verdict import errno_name

LONGEST = 128  # net/socket.c, move_addr_to_kernel: longer ones are refused unread
EPHEMERAL = 32768  # sysctl net.ipv4.ip_local_port_range begins here
PROTOCOLS: dict[tuple[int, int], int] = {  # what socket(2) makes of 0
    (socket.AF_INET, socket.SOCK_STREAM): socket.IPPROTO_TCP,
    (socket.AF_INET6, socket.SOCK_STREAM): socket.IPPROTO_TCP,
    (socket.AF_INET, socket.SOCK_DGRAM): socket.IPPROTO_UDP,
    (socket.AF_INET6, socket.SOCK_DGRAM): socket.IPPROTO_UDP,
}
SIZES: dict[int, int] = {  # of the structures of addresses
    socket.AF_UNSPEC: 16, socket.AF_UNIX: 110, socket.AF_INET: 16, socket.AF_INET6: 28, socket.AF_NETLINK: 12,
    socket.AF_PACKET: 20, socket.AF_VSOCK: 16,
}  # fmt: skip
KINDS = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 5: "SOCK_SEQPACKET", 6: "SOCK_DCCP"}
IP_PROTOCOLS = {
    1: "IPPROTO_ICMP",
    6: "IPPROTO_TCP",
    17: "IPPROTO_UDP",
    132: "IPPROTO_SCTP",
    262: "IPPROTO_MPTCP",
}
LEVELS = {  # of the options that ``sockets`` tells
    "SO_REUSEADDR": "SOL_SOCKET",
    "SO_BROADCAST": "SOL_SOCKET",
    "SO_SNDTIMEO": "SOL_SOCKET",
    "IPV6_V6ONLY": "IPPROTO_IPV6",
    "IP_TTL": "IPPROTO_IP",
    "TCP_SYNCNT": "IPPROTO_TCP",
    "TCP_USER_TIMEOUT": "IPPROTO_TCP",
    "TCP_FASTOPEN_CONNECT": "IPPROTO_TCP",
}


@dataclass(frozen=True)
class Call:
    """One call: ``caller`` is the name of its descriptor, a number where there is none; ``fresh`` what makes it.

    ``result`` is what comes of it, in words: 0, an errno, or that it does not come back.
    """

    attempt: Attempt
    number: int
    caller: str
    fresh: Mapping[str, object]
    result: str

    @property
    def address(self) -> bytes:
        """The bytes of the address, without zeros behind its structure that the kernel does not read."""
        data = bytes.fromhex(self.attempt.sockaddr)
        size = SIZES.get(family(data), len(data))
        unread = self.attempt.addrlen <= size or self.attempt.addrlen > LONGEST
        return data[:size] if unread and not any(data[size:]) else data


def runs(data: bytes, least: int = 8) -> list[tuple[int, bytes]]:
    """Bytes in parts: those that repeat one byte at least so often stand alone, each part with its place."""
    found: list[tuple[int, bytes]] = []
    for value, group in groupby(enumerate(data), lambda pair: pair[1]):
        part = bytes(byte for _, byte in group)
        place = found[-1][0] + len(found[-1][1]) if found else 0
        alone = len(part) >= least
        if found and not alone and not repeats(found[-1][1], least):
            found[-1] = (found[-1][0], found[-1][1] + part)
        else:
            found.append((place, bytes([value]) * len(part)))
    return found


def repeats(part: bytes, least: int = 8) -> bool:
    """Whether a part is one byte again and again."""
    return len(part) >= least and len(set(part)) == 1


def calls(attempts: Iterable[Attempt]) -> list[Call]:
    """The calls of one scenario, with a name for each socket."""
    names: dict[object, str] = {}
    found: list[Call] = []
    for number, attempt in enumerate(attempts, 1):
        facts = attempt.socket
        key = facts.get("inode") or (facts.get("file") and (attempt.fd, facts["file"]))
        fresh = bool(key) and key not in names
        if fresh:
            names[key] = "fd" if not names else f"fd{len(names) + 1}"
        caller = names[key] if key else str(attempt.fd)
        found.append(Call(attempt, number, caller, facts if fresh else {}, result(attempt)))
    return found


def result(attempt: Attempt) -> str:
    """What the call itself returns, and what comes later."""
    returned, error = attempt.return_, attempt.error
    if attempt.call != "connect":
        return f"-1 {error}" if error else "ok"
    if returned is None:
        return "does not come back"
    if returned == 0:
        return f"0, later {error}" if error else "0"
    name = errno_name(-returned)
    if -returned in (errno.EINPROGRESS, errno.EINTR) and error not in (None, name):
        return f"-1 {name}, later {error}"
    return f"-1 {name}"


def strace(attempt: Attempt) -> str:
    """The line that strace shows of an attempt; without the data of calls that send."""
    from callout.sockaddr import decode_sockaddr

    if attempt.command:
        return ""
    text = (
        decode_sockaddr(bytes.fromhex(attempt.sockaddr), attempt.addrlen)
        if attempt.sockaddr and 0 <= attempt.addrlen <= LONGEST
        else "NULL" if not attempt.pointer and not attempt.sockaddr
        else hex(attempt.pointer) if attempt.pointer
        else "0x…"
    )  # fmt: skip
    shape = {
        "sendto_fastopen": 'sendto({fd}, "x", 1, MSG_FASTOPEN, {text}, {length})',
        "sendto": 'sendto({fd}, "x", 1, 0, {text}, {length})',
        "sendmsg": "sendmsg({fd}, {{msg_name={text}, msg_namelen={length}, ...}}, 0)",
        "sendmmsg": "sendmmsg({fd}, [{{msg_hdr={{msg_name={text}, msg_namelen={length}, ...}}, ...}}], 1, 0)",
        "sendmsg_fastopen": "sendmsg({fd}, {{msg_name={text}, msg_namelen={length}, ...}}, MSG_FASTOPEN)",
    }.get(attempt.call, "connect({fd}, {text}, {length})")
    line = shape.format(fd=attempt.fd, text=text, length=attempt.addrlen)
    if attempt.call in ("io_uring", "kernel", "sctp_connectx"):
        return ""  # strace sees no call, or another one
    return f"{line} = {outcome(attempt)}"


def outcome(attempt: Attempt) -> str:
    """What strace shows behind the equals sign."""
    if attempt.call.startswith("send"):
        number = getattr(errno, attempt.error) if attempt.error else 0
        return f"-1 {attempt.error} ({os.strerror(number)})" if number else "1"
    if attempt.return_ is None and attempt.call != "connect":
        return f"-1 {attempt.error}" if attempt.error else "0"
    if attempt.return_ is None:
        return "?"
    if attempt.return_ >= 0:
        return str(attempt.return_)
    return f"-1 {errno_name(-attempt.return_)} ({os.strerror(-attempt.return_)})"


def family_name(attempt: Attempt) -> str:
    """The family of an attempt's socket, or of its address where there is no socket; empty where there is neither."""
    number = (
        whole(attempt.socket, "domain")
        if "domain" in attempt.socket
        else family(bytes.fromhex(attempt.sockaddr))
    )
    if number == 43:
        return "AF_SMC"  # younger than Python's names
    try:
        return socket.AddressFamily(number).name
    except ValueError:
        return {15: "AF_KEY", 38: "AF_ALG", 41: "AF_KCM", 44: "AF_XDP"}.get(number, "")


def whole(facts: Mapping[str, object], name: str) -> int:
    """A fact that is a number."""
    number = facts[name]
    assert isinstance(number, int)
    return number


def protocol(facts: Mapping[str, object]) -> str:
    """The third argument of socket(2)."""
    domain, kind, number = (whole(facts, name) for name in ("domain", "type", "protocol"))
    if PROTOCOLS.get((domain, kind), 0) == number:
        return "0"
    inet = domain in (socket.AF_INET, socket.AF_INET6)
    return IP_PROTOCOLS.get(number, str(number)) if inet else str(number)


def domain(facts: Mapping[str, object]) -> str:
    """The first argument of socket(2)."""
    number = whole(facts, "domain")
    try:
        return socket.AddressFamily(number).name
    except ValueError:
        return str(number)


def kind(facts: Mapping[str, object]) -> str:
    """The second argument of socket(2), without flags."""
    number = whole(facts, "type")
    return KINDS.get(number, str(number))


def family(data: bytes) -> int:
    """The family that an address names; -1 for none."""
    return struct.unpack_from("=H", data)[0] if len(data) >= 2 else -1


def own_name(facts: Mapping[str, object]) -> bytes:
    """The address to bind to, of an ephemeral port 0; empty for none."""
    data = bytes.fromhex(str(facts.get("bound", "")))
    if (
        family(data) in (socket.AF_INET, socket.AF_INET6)
        and struct.unpack_from("!H", data, 2)[0] >= EPHEMERAL
    ):
        return data[:2] + b"\0\0" + data[4:]
    return data
