"""A scenario's attempts in Python, as one would write them by hand; ``program`` is a whole file that runs.

Rule of this file: Python's own methods where they can say exactly this address and length, else the C library's
connect(3) by ctypes. ``connect_ex`` returns the error instead of raising it. Source: the socket module's manual.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping

from callout.lab import snippet
from callout.lab.report import Attempt
from callout.lab.snippet import Call

HEAD = """\
import ctypes
import errno
import os
import select
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)
libc.connect.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

"""
OPENED = {
    "pipe:": "{name} = os.pipe()[0]",
    "anon_inode:[eventfd]": "{name} = os.eventfd(0)",
    "anon_inode:[eventpoll]": "{name}_epoll = select.epoll()\n{name} = {name}_epoll.fileno()",
    "anon_inode:[pidfd]": "{name} = os.pidfd_open(os.getpid())",
    "/memfd:": '{name} = os.memfd_create("memory")',
}
NUMBERS = {
    "TCP_FASTOPEN_CONNECT": "30",
    "IPPROTO_MPTCP": "262",
}  # names that Python 3.11's socket module lacks
NOT_IN_PYTHON = {
    "sendmmsg": "Python has no sendmmsg(2); sendmsg(2) sends the same",
    "io_uring": "Python's library has no io_uring",
    "connect_ia32": "a 64-bit Python makes no calls of the i386 table",
    "socketcall": "a 64-bit Python makes no calls of the i386 table",
    "connect_x32": "a 64-bit Python makes no calls of the x32 table",
    "sctp_connectx": "Python's library knows no sctp_connectx(3)",
    "kernel": "the kernel itself connects, inside mount(2)",
}


def program(attempts: Iterable[Attempt]) -> str:
    """The whole file."""
    return HEAD + "\n".join(lines(attempts)) + "\n"


def lines(attempts: Iterable[Attempt]) -> list[str]:
    """Sockets and calls, each with its result."""
    found: list[str] = []
    for call in snippet.calls(attempts):
        if call.fresh:
            found += ([""] if found else []) + made(call)
        found += calling(call)
    return found


def constant(name: str) -> str:
    """A name of the socket module, or a number."""
    return name if name.lstrip("-").isdigit() else NUMBERS.get(name, f"socket.{name}")


def made(call: Call) -> list[str]:
    """The descriptor, as it is before its first call."""
    facts, name = call.fresh, call.caller
    if "file" in facts:
        return opened(str(facts["file"]), name)
    words = [constant(snippet.domain(facts)), constant(snippet.kind(facts))]
    if (protocol := snippet.protocol(facts)) != "0":
        words.append(constant(protocol))
    make = "socket.socketpair" if facts.get("paired") else "socket.socket"
    text = [f"{name}{', other' if facts.get('paired') else ''} = {make}({', '.join(words)})"]
    if facts.get("nonblocking"):
        text.append(f"{name}.setblocking(False)")
    text += options_of(name, facts)
    if own := snippet.own_name(facts):
        text.append(f"{name}.bind({natural(own, own, str(len(own))) or 'b' + repr(own)[1:]})")
    if facts.get("listening"):
        text.append(f"{name}.listen()")
    return text


def opened(file: str, name: str) -> list[str]:
    """A descriptor of something else than a socket."""
    for prefix, text in OPENED.items():
        if file.startswith(prefix):
            return text.format(name=name).split("\n")
    path = file.removeprefix("O_PATH:")
    path = "/proc/self/stat" if path.startswith("/proc/") else path
    return [f'{name} = os.open("{path}", os.{"O_PATH" if file.startswith("O_PATH:") else "O_RDONLY"})']


def options_of(name: str, facts: Mapping[str, object]) -> list[str]:
    """setsockopt for all that is not as on a fresh socket."""
    settings = facts.get("options", {})
    assert isinstance(settings, Mapping)
    found = []
    for option, value in settings.items():
        text = str(value)
        if option == "SO_SNDTIMEO":
            text = f'struct.pack("@ll", {value // 1_000_000}, {value % 1_000_000})'
        found.append(f"{name}.setsockopt({constant(snippet.LEVELS[option])}, {constant(option)}, {text})")
    return found


def calling(call: Call) -> list[str]:
    """The call."""
    attempt, comment = call.attempt, f"  # {call.result}"
    if attempt.call in NOT_IN_PYTHON:
        note = [f"# {NOT_IN_PYTHON[attempt.call]}"]
        if attempt.call != "sendmmsg":
            return note
    else:
        note = []
    caller = call.caller if not is_number(call.caller) else ""
    is_socket = bool(caller) and "file" not in attempt.socket
    data = bytes.fromhex(attempt.sockaddr)
    peer = natural(data, call.address, str(attempt.addrlen)) if is_socket and suits(attempt, data) else ""
    if attempt.call.startswith("sendto") and is_socket:
        flags = "socket.MSG_FASTOPEN, " if attempt.call.endswith("fastopen") else ""
        if not peer:
            return [f"# Python's sendto takes no such address: {snippet.strace(attempt)}"]
        return [f'{caller}.sendto(b"x", {flags}{peer}){comment}']
    if attempt.call.startswith("sendm") and is_socket:
        flags = "socket.MSG_FASTOPEN" if attempt.call.endswith("fastopen") else "0"
        return [*note, f'{caller}.sendmsg([b"x"], [], {flags}, {peer}){comment}']
    if peer:
        return [f"print({caller}.connect_ex({peer})){comment}"]
    pointer = listed(call.address) if attempt.sockaddr else str(attempt.pointer or None)
    number = f"{caller}.fileno()" if is_socket else call.caller
    return [f"print(libc.connect({number}, {pointer}, {attempt.addrlen}), ctypes.get_errno()){comment}"]


def listed(data: bytes) -> str:
    """Bytes as an expression, long runs as products."""
    parts = [
        f'b"\\x{part[0]:02x}" * {len(part)}'
        if snippet.repeats(part, 16)
        else f'bytes.fromhex("{part.hex()}")'
        for _, part in snippet.runs(data, 16)
    ]
    return " + ".join(parts) or 'b""'


def is_number(caller: str) -> bool:
    """Whether a caller is a bare number."""
    return caller.lstrip("-").isdigit()


def suits(attempt: Attempt, data: bytes) -> bool:
    """Whether Python would make this address for such a socket: it goes by the socket's family."""
    return attempt.socket.get("domain") == snippet.family(data) and attempt.addrlen == len(data)


def natural(data: bytes, address: bytes, length: str) -> str:
    """An address in Python's notation; empty where it has none for exactly these bytes."""
    family = snippet.family(data)
    if data != address or length != str(len(data)):
        return ""
    if family == socket.AF_INET and len(data) == 16 and not any(data[8:]):
        return f'("{socket.inet_ntoa(data[4:8])}", {struct.unpack_from("!H", data, 2)[0]})'
    if family == socket.AF_INET6 and len(data) == 28:
        port, flow, packed = struct.unpack_from("!HI16s", data, 2)
        (scope,) = struct.unpack_from("=I", data, 24)
        more = f", {flow:#x}, {scope}" if flow or scope else ""
        return f'("{socket.inet_ntop(socket.AF_INET6, packed)}", {port}{more})'
    if family == socket.AF_UNIX and 3 < len(data) <= 110:
        path = data[2:]
        if path[:1] == b"\0":
            shown = repr(path.decode()) if path.isascii() else ""
            return (
                shown if path[1:2].isdigit() else shown.replace("\\x00", "\\0", 1)
            )  # \\07 would be one character
        inner = path[:-1]
        return repr(inner.decode()) if path.endswith(b"\0") and inner.isascii() and b"\0" not in inner else ""
    if family == socket.AF_NETLINK and len(data) == 12:
        return "({}, {})".format(*struct.unpack_from("=II", data, 4))
    if family == socket.AF_VSOCK and len(data) == 16 and not any(data[12:]):
        port, cid = struct.unpack_from("=II", data, 4)
        return f"({cid}, {port})"
    return ""
