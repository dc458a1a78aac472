"""Options that mean the same wherever they appear, and how their values are read.

Rule of this file: text in, checked values out; every refusal says what is accepted.
"""

from __future__ import annotations

import argparse
import math
import os
import pwd
import re
from collections.abc import Callable, Iterable
from typing import Any

from callout.errors import UsageError
from callout.narrowing import Narrowing

UNITS = {
    "": 1.0,
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


def duration(text: str) -> float:
    """Seconds from `10`, `500ms`, `2m`, `1h`. Raises ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip())
    if not match or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration: give seconds, or a number with ms, s, m or h"
        )
    value = float(match[1]) * UNITS[match[2]]
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: it must be more than 0")
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: it is too long")
    return value


def positive(text: str) -> int:
    """A whole number from 1 on. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def numbers(what: str, low: int, high: int) -> Callable[[str], list[int]]:
    """A reader for comma-separated numbers within bounds."""

    def read(text: str) -> list[int]:
        values = []
        for part in text.split(","):
            if not part.isascii() or not part.isdigit() or not low <= int(part) <= high:
                raise argparse.ArgumentTypeError(f"{part!r} is not a {what} ({low} to {high})")
            values.append(int(part))
        return values

    return read


def users(text: str) -> list[int]:
    """Comma-separated user names or numbers."""
    values = []
    for part in text.split(","):
        if part.isascii() and part.isdigit() and int(part) < 1 << 32:
            values.append(int(part))
            continue
        try:
            values.append(pwd.getpwnam(part).pw_uid)
        except KeyError:
            raise argparse.ArgumentTypeError(f"there is no user {part!r} on this host") from None
    return values


def names(text: str) -> list[str]:
    """Comma-separated process names; the kernel keeps 15 bytes of a name."""
    parts = text.split(",")
    for part in parts:
        if not part:
            raise argparse.ArgumentTypeError("a process name is empty")
        if len(os.fsencode(part)) > 15:
            raise argparse.ArgumentTypeError(
                f"{part!r} is longer than the 15 bytes that the kernel keeps of a name"
            )
    return parts


def word(what: str) -> Callable[[str], str]:
    """A reader for a name that must not be empty."""

    def read(text: str) -> str:
        if not text.strip("/ "):
            raise argparse.ArgumentTypeError(f"{text!r} names no {what}")
        return text

    return read


def events(text: str) -> str:
    """What strace's -e names, of which callout has one class: `network`."""
    if text.removeprefix("trace=").removeprefix("%") != "network":
        raise argparse.ArgumentTypeError(
            f"{text!r} is not known here: `network` (also trace=network, %network) adds the calls around the attempts"
        )
    return "network"


WORKLOADS = (  # the options that name a workload: how, and what they let through
    (
        "container",
        "ID-or-NAME",
        "from this container, also when it is made anew under its name; a container inside it counts as well",
    ),
    ("pod", "[NAMESPACE/]NAME", "from this Kubernetes pod, as the container runtime names it"),
    (
        "unit",
        "NAME",
        "from this systemd unit, also when it is restarted (.service may be left out)",
    ),
)


def add_narrowings(parser: argparse.ArgumentParser) -> None:
    """-p -u -P -4 -6 --cgroup --comm -Z -z --phases."""
    group = parser.add_argument_group("narrowing (done in the kernel)")
    many: dict[str, Any] = {"action": "extend"}
    group.add_argument(
        "-p",
        "--pid",
        **many,
        type=numbers("process id", 1, 1 << 22),
        metavar="PID",
        help="of these processes",
    )
    group.add_argument(
        "-u", "--user", **many, type=users, metavar="UID", help="of these users (number or name)"
    )
    group.add_argument(
        "-P",
        "--port",
        **many,
        type=numbers("port", 0, 65535),
        metavar="PORT",
        help="to these ports, as they were asked for: where a cgroup program rewrites addresses, a filter on "
        "destination.port finds those that were used",
    )
    group.add_argument("-4", dest="ipv4", action="store_true", help="to IPv4 addresses")
    group.add_argument("-6", dest="ipv6", action="store_true", help="to IPv6 addresses")
    group.add_argument("--cgroup", metavar="PATH", help="from this cgroup (v2) and those below it")
    for what, metavar, text in WORKLOADS:
        group.add_argument(f"--{what}", action="append", type=word(what), metavar=metavar, help=text)
    group.add_argument("--comm", **many, type=names, metavar="NAME", help="of processes with this name")
    outcome = group.add_mutually_exclusive_group()
    outcome.add_argument("-Z", "--failed", action="store_true", help="only attempts that failed")
    outcome.add_argument("-z", "--succeeded", action="store_true", help="only attempts that succeeded")
    group.add_argument(
        "--phases", action="store_true", help="also a row at the attempt itself, before its verdict"
    )
    group.add_argument(
        "-e",
        dest="events",
        type=events,
        metavar="network",
        help="also the calls around the attempts: socket, bind, listen, accept, getsockopt of SO_ERROR, the wait for a "
        "non-blocking attempt, first send and receive, shutdown, close, and the end of each connection; needs -p, -u, "
        "--comm, --cgroup, --container, --pod or --unit; sees 64-bit system calls",
    )
    parser.add_argument(
        "filter",
        nargs="*",
        metavar="FILTER",
        help="an expression, e.g. 'destination.port = 443 and not process.name in (curl)'",
    )


def narrowing(args: argparse.Namespace) -> Narrowing:
    """The narrowing that these options ask for."""

    def given(values: Iterable[Any] | None) -> frozenset[Any] | None:
        return None if values is None else frozenset(values)

    families = {number for number, on in ((2, args.ipv4), (10, args.ipv6)) if on}
    return Narrowing(
        pids=given(args.pid),
        uids=given(args.user),
        ports=given(args.port),
        comms=given(args.comm),
        families=frozenset(families) if families else None,
        outcome="failure" if args.failed else "success" if args.succeeded else None,
        cgroup=args.cgroup,
        containers=given(args.container),
        pods=given(args.pod),
        units=given(args.unit),
        phases=args.phases,
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """-o -w --all -v --for --count --ready-file --summary."""
    from callout.sinks import FORMATS

    group = parser.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)} (table on a terminal, ndjson in a pipe)",
    )
    group.add_argument("-w", "--write", metavar="FILE", help="to this file instead of standard output")
    group.add_argument(
        "--all",
        action="store_true",
        help="in the table: also client habits that are no failures (connect.pattern), which it only counts",
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="in ndjson, arrow and parquet: also what is rarely looked at: connect.origin, capabilities, namespaces, "
        "terminal, session, the executable's inode, the parent's command line",
    )
    group.add_argument(
        "--hash",
        action="store_true",
        help="also the SHA-256 of executables (process.hash.sha256), computed aside: a row waits at most 200 ms for it",
    )
    group.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        metavar="DURATION",
        help="stop after that long: 10, 500ms, 2m, 1h",
    )
    group.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help="stop after that many rows (what follows them is counted as hidden)",
    )
    group.add_argument(
        "--ready-file",
        metavar="PATH",
        help="created once everything is attached, for scripts; an old one is removed first",
    )
    group.add_argument("--summary", metavar="FILE", help="also write the totals to this file, as JSON")


def check_process(pids: Iterable[int]) -> None:
    """Raises UsageError for a process that does not exist: waiting for it would be waiting for ever."""
    for pid in pids:
        if not os.path.exists(f"/proc/{pid}"):
            raise UsageError(f"there is no process {pid}", "`ps -e` lists those that there are")


def check_related(wanted: Narrowing) -> None:
    """Raises UsageError where -e network would be about every process of the host."""
    named = (wanted.pids, wanted.uids, wanted.comms, wanted.cgroup, wanted.chosen or None)
    if all(one is None for one in named):
        raise UsageError(
            "-e network follows every socket call, read and write of the traced processes: too much for a whole host",
            "say which processes: -p, -u, --comm, --cgroup, --container, --pod, --unit, or a filter on process.pid, "
            "process.name or user.id",
        )
