"""How the calls around an attempt (-e network) are written, for people and in strace's notation.

Rule of this file: one call, one line of text; where it stands in a line, and in what colour, is up to the
sinks. What was not recorded is ``...``, as strace abbreviates.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from callout.terminal import duration, escape

COLUMNS = (
    "event.action",
    "event.duration",
    "event.reason",
    "source.bytes",
    "destination.bytes",
    "connect.entry",
    "connect.fd",
    "connect.argument",
    "connect.addrlen",
    "connect.family",
    "connect.type",
    "connect.sockaddr",
    "connect.nonblocking",
    "connect.return",
    "connect.errno",
)
ACTIONS = frozenset(
    (
        "socket",
        "bind",
        "listen",
        "accept",
        "poll",
        "getsockopt",
        "send",
        "receive",
        "shutdown",
        "close",
        "end",
    )
)
MESSAGES = frozenset({"sendmmsg", "recvmmsg"})  # return a number of messages
# How many arguments follow the descriptor.
FOLLOWING = {
    **dict.fromkeys(("sendto", "recvfrom"), 5),
    **dict.fromkeys(("sendmsg", "write", "writev", "recvmsg", "read", "readv"), 2),
    "sendmmsg": 3,
    "recvmmsg": 4,
}
INTERNET = re.compile(r'port=htons\((\d+)\),.*(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
LOCAL = re.compile(r'sun_path=(@?".*?"|@?".*)\}$')


class Call(NamedTuple):
    """What a line is made of; None where there is no value."""

    action: str
    took: int | None
    reason: str | None
    sent: int | None
    received: int | None
    entry: str | None
    fd: int | None
    argument: str | None
    addrlen: int | None
    family: str | None
    type: str | None
    sockaddr: str | None
    nonblocking: bool | None
    returned: int | None
    error: str | None


def told(call: Call) -> str:
    """For people: ``bind 3 ← 127.0.0.1:0``, ``send 3 120 bytes``; an error stands at the end."""
    fd = "?" if call.fd is None else str(call.fd)
    failed = call.returned is not None and call.returned < 0
    if call.action == "socket":
        text = "socket" if failed else f"socket → {fd}"
    elif call.action == "end":
        lived = "" if call.took is None else f" after {duration(call.took)}"
        text = f"end {fd} {call.reason}{lived}: {call.sent:,} bytes sent, {call.received:,} received"
    else:
        text = f"{call.action} {fd}{'' if failed and call.action != 'bind' else result(call)}"
    return escape(text + (f" {call.error}" if call.error else ""))


def result(call: Call) -> str:
    """What stands behind name and descriptor."""
    if call.action == "bind":
        return f" ← {short(call.sockaddr)}"
    if call.action == "listen":
        return f" backlog {call.argument}"
    if call.action == "accept":
        return f" → {call.returned}" + (f" from {short(call.sockaddr)}" if call.sockaddr else "")
    if call.action == "poll":
        return " ready"
    if call.action == "getsockopt":
        return f" {call.argument}" + ("" if call.error else " 0")
    if call.action in ("send", "receive"):
        number = call.returned or 0
        what = "message" if call.entry in MESSAGES else "byte"
        return f" {number:,} {what}{'s' * (number != 1)}"
    return f" {call.argument}" if call.argument else ""


def short(sockaddr: str | None) -> str:
    """``ip:port`` or the path of an address in strace's notation; else that itself."""
    if sockaddr is None:
        return "?"
    if found := INTERNET.search(sockaddr):
        port, ip = found.groups()
        return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    if found := LOCAL.search(sockaddr):
        return found[1].replace('"', "")
    return sockaddr.removeprefix("{sa_family=").removesuffix("}")


def written(call: Call) -> str:
    """The call as strace writes it, up to its closing parenthesis; a comment for the end of a connection."""
    fd = "?" if call.fd is None else str(call.fd)
    name = call.entry or call.action
    sockaddr = call.sockaddr or "?"
    if call.action == "end":
        lived = "" if call.took is None else f" after {duration(call.took)}"
        text = f"/* {fd}: {call.reason}{lived}; {call.sent} bytes sent, {call.received} received */"
    elif call.action == "socket":
        flags = "|SOCK_NONBLOCK" if call.nonblocking else ""
        text = f"socket({call.family}, {call.type}{flags}, {call.argument})"
    elif call.action == "bind":
        text = f"bind({fd}, {sockaddr}, {call.addrlen})"
    elif call.action == "accept":
        peer = "NULL, NULL" if call.addrlen is None else f"{sockaddr}, [{call.addrlen}]"
        text = f"{name}({fd}, {peer}{', ...' if name == 'accept4' else ''})"
    elif call.action == "getsockopt":
        value = "..., ..." if call.returned else f"[{call.error or 0}], [4]"
        text = f"getsockopt({fd}, SOL_SOCKET, SO_ERROR, {value})"
    elif call.action == "poll":
        text = f"{name}([{{fd={fd}, ...}}], ...)" if name in ("poll", "ppoll") else f"{name}(...)"
    elif name in FOLLOWING:
        text = f"{name}({fd}{', ...' * FOLLOWING[name]})"
    else:
        text = f"{name}({fd}{'' if call.argument is None else ', ' + call.argument})"
    return escape(text)
