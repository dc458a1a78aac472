"""A scenario's attempts in C, as one would write them by hand; ``program`` is a whole file that compiles.

Rule of this file: an address is written as its family's structure where that has exactly its bytes, else as bytes.
Sources: connect(2), socket(2), ip(7), ipv6(7), unix(7), netlink(7), packet(7), vsock(7), io_uring_prep_connect(3).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from callout.lab import snippet
from callout.lab.report import Attempt
from callout.lab.snippet import SIZES, Call

HEADERS = """\
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
"""
OPENED = {  # what else a descriptor can be, by its name in /proc/PID/fd
    "pipe:": "int {name}s[2];\npipe({name}s);\nint {name} = {name}s[0];",
    "anon_inode:[eventfd]": "int {name} = eventfd(0, 0);",
    "anon_inode:[eventpoll]": "int {name} = epoll_create1(0);",
    "anon_inode:[pidfd]": "int {name} = syscall(SYS_pidfd_open, getpid(), 0);",
    "/memfd:": 'int {name} = memfd_create("memory", 0);',
}


def program(attempts: Iterable[Attempt]) -> str:
    """The whole file."""
    own = list(attempts)
    body = "\n".join(f"    {line}" if line else "" for line in lines(own))
    return f"{headers(options(own))}\nint main(void) {{\n{body}\n    return 0;\n}}\n"


def headers(options: Iterable[str]) -> str:
    """What must be included, given the compiler's options."""
    return HEADERS + ("#include <liburing.h>\n" if "-luring" in options else "")


def options(attempts: Iterable[Attempt]) -> tuple[str, ...]:
    """What the compiler must be told beside the file."""
    entries = {attempt.call for attempt in attempts}
    flags = [
        flag
        for flag, by in (("-m32", {"connect_ia32", "socketcall"}), ("-luring", {"io_uring"}))
        if entries & by
    ]
    return tuple(flags)


def lines(attempts: Iterable[Attempt]) -> list[str]:
    """What stands within main: sockets, addresses and calls, each with its result."""
    found: list[str] = []
    peers: dict[bytes, str] = {}
    for call in snippet.calls(attempts):
        if call.fresh:
            found += (f"\n{made(call)}" if found else made(call)).split("\n")
        found += calling(call, peers)
    return found


def made(call: Call) -> str:
    """The descriptor, as it is before its first call."""
    facts, name = call.fresh, call.caller
    if "file" in facts:
        return opened(str(facts["file"]), name)
    flags = " | SOCK_NONBLOCK" if facts.get("nonblocking") else ""
    arguments = f"{snippet.domain(facts)}, {snippet.kind(facts)}{flags}, {snippet.protocol(facts)}"
    if facts.get("paired"):
        pair = f"pair{call.number}"
        return f"int {pair}[2];\nsocketpair({arguments}, {pair});\nint {name} = {pair}[0];"
    text = [f"int {name} = socket({arguments});"]
    text += options_of(name, facts)
    if own := snippet.own_name(facts):
        declaration, size = address(own, f"own{call.number}")
        text += [*declaration, f"bind({name}, (struct sockaddr *)&own{call.number}, {size});"]
    if facts.get("listening"):
        text.append(f"listen({name}, 16);")
    return "\n".join(text)


def opened(file: str, name: str) -> str:
    """A descriptor of something else than a socket."""
    for prefix, text in OPENED.items():
        if file.startswith(prefix):
            return text.format(name=name)
    path = file.removeprefix("O_PATH:")
    path = "/proc/self/stat" if path.startswith("/proc/") else path
    return f'int {name} = open("{path}", {"O_PATH" if file.startswith("O_PATH:") else "O_RDONLY"});'


def options_of(name: str, facts: Mapping[str, object]) -> list[str]:
    """setsockopt(2) for all that is not as on a fresh socket."""
    settings = facts.get("options", {})
    assert isinstance(settings, Mapping)
    found = []
    for option, value in settings.items():
        kind, text = "int", str(value)
        if option == "SO_SNDTIMEO":
            kind, text = "struct timeval", f"{value // 1_000_000}, {value % 1_000_000}"
        found.append(
            f"setsockopt({name}, {snippet.LEVELS[option]}, {option}, &({kind}){{{text}}}, sizeof({kind}));"
        )
    return found


def calling(call: Call, peers: dict[bytes, str]) -> list[str]:
    """The address, where it is not among those that were declared, and the call."""
    attempt = call.attempt
    if attempt.call == "kernel":
        return [f'mount("127.0.0.1", "/mnt", "9p", 0, "trans=tcp,port=9");  /* {call.result} */']
    if not attempt.sockaddr:
        pointer = f"(struct sockaddr *){signed(attempt.pointer)}" if attempt.pointer else "NULL"
        return [said(f"connect({call.caller}, {pointer}, {attempt.addrlen})", call.result)]
    known = peers.get(call.address)
    name = peers.setdefault(call.address, f"peer{len(peers) + 1 if peers else ''}")
    declaration, size = address(call.address, name)
    whole = attempt.addrlen == len(call.address) and size == f"sizeof {name}"
    text = ENTRIES.get(attempt.call, plain)(call, name, size if whole else str(attempt.addrlen))
    return text if known else [*declaration, *text]


def signed(pointer: int) -> int:
    """A pointer as C's readers know it: -1 rather than 18446744073709551615."""
    return pointer - 2**64 if pointer >= 2**63 else pointer


def said(expression: str, result: str, what: str = "connect") -> str:
    """A call that tells its failure, with what comes of it here."""
    return f'if ({expression} < 0) perror("{what}");  /* {result} */'


def plain(call: Call, peer: str, size: str) -> list[str]:
    """connect(2)."""
    return [said(f"connect({call.caller}, (struct sockaddr *)&{peer}, {size})", call.result)]


def sendto(call: Call, peer: str, size: str) -> list[str]:
    """sendto(2), with data."""
    flags = "MSG_FASTOPEN" if call.attempt.call.endswith("fastopen") else "0"
    text = f'sendto({call.caller}, "x", 1, {flags}, (struct sockaddr *)&{peer}, {size})'
    return [said(text, call.result, "sendto")]


def sendmsg(call: Call, peer: str, size: str) -> list[str]:
    """sendmsg(2) or sendmmsg(2), with data."""
    entry, n = call.attempt.call, call.number
    flags = "MSG_FASTOPEN" if entry.endswith("fastopen") else "0"
    head = f".msg_name = &{peer}, .msg_namelen = {size}, .msg_iov = &data{n}, .msg_iovlen = 1"
    data = f'struct iovec data{n} = {{"x", 1}};'
    if entry == "sendmmsg":
        message = f"struct mmsghdr message{n} = {{.msg_hdr = {{{head}}}}};"
        return [
            data,
            message,
            said(f"sendmmsg({call.caller}, &message{n}, 1, {flags})", call.result, "sendmmsg"),
        ]
    message = f"struct msghdr message{n} = {{{head}}};"
    return [data, message, said(f"sendmsg({call.caller}, &message{n}, {flags})", call.result, "sendmsg")]


def i386(call: Call, peer: str, size: str) -> list[str]:
    """connect(2) by its own number in the i386 table. Compile with -m32."""
    text = f"syscall(362, {call.caller}, &{peer}, {size})"
    return ["/* gcc -m32 */", said(text, call.result)]


def socketcall(call: Call, peer: str, size: str) -> list[str]:
    """connect(2) by socketcall(2). Compile with -m32."""
    words = f"long words{call.number}[] = {{{call.caller}, (long)&{peer}, {size}}};"
    return ["/* gcc -m32 */", words, said(f"syscall(102, 3, words{call.number})", call.result)]


def x32(call: Call, peer: str, size: str) -> list[str]:
    """connect(2) of the x32 table."""
    return [said(f"syscall(0x40000000 | 42, {call.caller}, &{peer}, {size})", call.result)]


def uring(call: Call, peer: str, size: str) -> list[str]:
    """IORING_OP_CONNECT by liburing."""
    n = call.number
    return [
        "/* gcc … -luring */",
        f"struct io_uring ring{n};",
        f"io_uring_queue_init(4, &ring{n}, 0);",
        f"io_uring_prep_connect(io_uring_get_sqe(&ring{n}), {call.caller}, (struct sockaddr *)&{peer}, {size});",
        f"io_uring_submit_and_wait(&ring{n}, 1);",
        f"struct io_uring_cqe *done{n};",
        f"io_uring_wait_cqe(&ring{n}, &done{n});",
        f'if (done{n}->res < 0) fprintf(stderr, "connect: %s\\n", strerror(-done{n}->res));  /* {call.result} */',
    ]


def connectx(call: Call, peer: str, size: str) -> list[str]:
    """The socket option of SCTP."""
    text = f"setsockopt({call.caller}, IPPROTO_SCTP, 110, &{peer}, {size})"
    return ["/* 110: SCTP_SOCKOPT_CONNECTX */", said(text, call.result, "setsockopt")]


ENTRIES = {
    "sctp_connectx": connectx,
    "sendto": sendto,
    "sendto_fastopen": sendto,
    "sendmsg": sendmsg,
    "sendmsg_fastopen": sendmsg,
    "sendmmsg": sendmsg,
    "connect_ia32": i386,
    "socketcall": socketcall,
    "connect_x32": x32,
    "io_uring": uring,
}


def address(data: bytes, name: str) -> tuple[list[str], str]:
    """The declaration of an address, and how its length is written."""
    family = snippet.family(data)
    written = STRUCTURES[family](data, name) if family in STRUCTURES and len(data) >= 2 else []
    if written:
        return written, f"sizeof {name}" if len(data) == SIZES[family] else str(len(data))
    return [f"unsigned char {name}[] = {{{listed(data)}}};"], f"sizeof {name}"


def listed(data: bytes) -> str:
    """Bytes as an initializer; long runs as a range (an extension of GNU C)."""
    parts = []
    for place, part in snippet.runs(data):
        if snippet.repeats(part):
            parts.append(f"[{place} ... {place + len(part) - 1}] = {part[0]:#04x}")
        else:
            parts += [f"{byte:#04x}" for byte in part]
    return ", ".join(parts)


def fits(data: bytes, shortest: int, size: int) -> bool:
    """Whether bytes are a structure, the last of it perhaps cut off."""
    return shortest <= len(data) <= size


def of_unspec(data: bytes, name: str) -> list[str]:
    """AF_UNSPEC with nothing behind it."""
    if any(data) or len(data) > SIZES[socket.AF_UNSPEC]:
        return []
    return [f"struct sockaddr {name} = {{.sa_family = AF_UNSPEC}};"]


def of_inet(data: bytes, name: str) -> list[str]:
    """sockaddr_in."""
    if not fits(data, 8, 16) or any(data[8:]):
        return []
    port, host = struct.unpack_from("!H", data, 2)[0], socket.inet_ntoa(data[4:8])
    start = f"struct sockaddr_in {name} = {{.sin_family = AF_INET, .sin_port = htons({port})"
    return [f'{start}, .sin_addr.s_addr = inet_addr("{host}")}};']


def of_inet6(data: bytes, name: str) -> list[str]:
    """sockaddr_in6."""
    if not fits(data, 24, 28):
        return []
    port, flow, packed = struct.unpack_from("!HI16s", data, 2)
    scope = struct.unpack_from("=I", data, 24)[0] if len(data) == 28 else 0
    parts = [".sin6_family = AF_INET6", f".sin6_port = htons({port})"]
    parts += [f".sin6_flowinfo = htonl({flow:#x})"] if flow else []
    parts += [f".sin6_scope_id = {scope}"] if scope else []
    host = socket.inet_ntop(socket.AF_INET6, packed)
    return [
        f"struct sockaddr_in6 {name} = {{{', '.join(parts)}}};",
        f'inet_pton(AF_INET6, "{host}", &{name}.sin6_addr);',
    ]


def of_unix(data: bytes, name: str) -> list[str]:
    """sockaddr_un: a path, with its NUL if there is room, or an abstract name."""
    if not fits(data, 3, 110):
        return []
    text = data[2:]
    path = text[:-1] if text.endswith(b"\0") and text[:1] != b"\0" else text
    plain = path[1:] if path[:1] == b"\0" else path
    if not plain.isascii() or not plain.decode().isprintable() or b'"' in plain or b"\\" in plain:
        return []
    lead = (
        "" if path[:1] != b"\0" else '\\0" "' if plain[:1].isdigit() else "\\0"
    )  # \\07 would be one character
    return [f'struct sockaddr_un {name} = {{.sun_family = AF_UNIX, .sun_path = "{lead}{plain.decode()}"}};']


def of_netlink(data: bytes, name: str) -> list[str]:
    """sockaddr_nl."""
    if len(data) != 12 or any(data[2:4]):
        return []
    port, groups = struct.unpack_from("=II", data, 4)
    parts = [".nl_family = AF_NETLINK", *([f".nl_pid = {port}"] if port else [])]
    return [
        f"struct sockaddr_nl {name} = {{{', '.join(parts + ([f'.nl_groups = {groups}'] if groups else []))}}};"
    ]


def of_packet(data: bytes, name: str) -> list[str]:
    """sockaddr_ll."""
    if len(data) != 20 or any(data[8:]):
        return []
    protocol, index = struct.unpack_from("!H", data, 2)[0], struct.unpack_from("=i", data, 4)[0]
    parts = [".sll_family = AF_PACKET", *([f".sll_protocol = htons({protocol:#x})"] if protocol else [])]
    return [f"struct sockaddr_ll {name} = {{{', '.join([*parts, f'.sll_ifindex = {index}'])}}};"]


def of_vsock(data: bytes, name: str) -> list[str]:
    """sockaddr_vm."""
    if len(data) != 16 or any(data[2:4]) or any(data[12:]):
        return []
    port, cid = struct.unpack_from("=II", data, 4)
    return [f"struct sockaddr_vm {name} = {{.svm_family = AF_VSOCK, .svm_port = {port}, .svm_cid = {cid}}};"]


STRUCTURES: dict[int, Callable[[bytes, str], list[str]]] = {
    socket.AF_UNSPEC: of_unspec,
    socket.AF_UNIX: of_unix,
    socket.AF_INET: of_inet,
    socket.AF_INET6: of_inet6,
    socket.AF_NETLINK: of_netlink,
    socket.AF_PACKET: of_packet,
    socket.AF_VSOCK: of_vsock,
}
