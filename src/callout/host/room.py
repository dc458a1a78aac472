"""What there was room for: Fast Open, queues of Unix sockets, descriptors.

Rule of this file: looks of this host beside the cause of a row; the arithmetic is ``computed``'s.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from callout import computed
from callout.host import fastopen, settings
from callout.story.model import Look, Row
from callout.story.weigh import cause_of

FULL = ("EMFILE", "ENFILE")


def early_data(row: Row) -> Iterator[Look]:
    """Fast Open, where the attempt asked for it."""
    ip = row.get("destination.ip")
    if not row.get("connect.fastopen") or ip is None:
        return
    plain = ipaddress.ip_address(str(ip).partition("%")[0])
    mapped = plain.ipv4_mapped if isinstance(plain, ipaddress.IPv6Address) else None
    address = str(mapped or plain)
    for text in computed.fastopen_facts(fastopen.state(address), address):
        yield Look("fastopen", "adds", text, "tcp_fastopen, tcp_metrics, nstat")


def queue(row: Row) -> Iterator[Look]:
    """How long a queue of a Unix socket can be, where one was full."""
    if cause_of(row) != "unix_backlog_full":
        return
    found = settings.read_settings()
    if row.get("connect.type") == "SOCK_DGRAM":
        if found.max_dgram_qlen is not None:
            most = computed.dgram_queue(found.max_dgram_qlen)
            setting = f"max_dgram_qlen {found.max_dgram_qlen}"
            text = f"a datagram socket made now takes {most} datagrams before it reads one ({setting})"
            yield Look("queue", "adds", text, "net.unix.max_dgram_qlen")
    elif found.somaxconn is not None:
        text = f"listen(2) cannot ask for a longer queue than {found.somaxconn} here (somaxconn)"
        yield Look("queue", "adds", text, "net.core.somaxconn")


def descriptors(row: Row) -> Iterator[Look]:
    """How many files are open, where there was no room for another one."""
    error, pid = row.get("connect.errno"), row.get("process.pid")
    if error not in FULL:
        return
    found = settings.descriptors(pid)
    if found.open is not None and found.limit is not None:
        told = "that is all" if found.full else f"{found.limit - found.open} are left"
        text = f"the process has {found.open} of {found.limit} descriptors open (RLIMIT_NOFILE): {told}"
        yield Look(
            "descriptors",
            "supports" if found.full and error == "EMFILE" else "adds",
            text,
            f"/proc/{pid}/limits",
        )
    text = f"this host has {found.host_open} of {found.host_limit} files open (fs.file-max)"
    yield Look(
        "descriptors", "supports" if found.host_full and error == "ENFILE" else "adds", text, "fs.file-nr"
    )
