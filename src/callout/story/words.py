"""The words of a story: sentences and commands by cause, with the values of one attempt put in.

Rule of this file: what is said stands in ``reference/why.csv``, ``why_errno.csv``, ``why_next.csv`` and
``why_possible.csv``; here the values come in. A value that is not known is a plain word, never a guess.
"""

from __future__ import annotations

import csv
import shlex
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from callout.cause import meanings
from callout.story.model import Advice, Confidence, Row
from callout.terminal import duration, escape


class Words(NamedTuple):
    """One line of why.csv. ``alone``: how sure the cause is without ``proof``: kinds of evidence or looks, any
    of which makes it certain, with bars between."""

    alone: Confidence
    proof: str
    sentence: str
    otherwise: str


def table(name: str) -> list[dict[str, str]]:
    """A reference table."""
    text = files("callout").joinpath(f"reference/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def words() -> dict[str, Words]:
    """Every cause with its words."""
    return {
        row["cause"]: Words(row["alone"], row["proof"], row["sentence"], row["otherwise"])  # type: ignore[arg-type]
        for row in table("why.csv")
    }


@cache
def commands() -> dict[str, list[tuple[str, str]]]:
    """Commands and their purposes by cause."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in table("why_next.csv"):
        found.setdefault(row["cause"], []).append((row["command"], row["purpose"]))
    return found


@cache
def particular() -> dict[tuple[str, str], str]:
    """Sentences for a cause that came with a certain error, where that says more."""
    return {(row["cause"], row["errno"]): row["sentence"] for row in table("why_errno.csv")}


@cache
def possibilities() -> dict[tuple[str, str], tuple[str, ...]]:
    """What an error can mean, by errno and family of the socket."""
    return {
        (row["errno"], row["family"]): tuple(part.strip() for part in row["possible"].split(";"))
        for row in table("why_possible.csv")
    }


def words_of(cause: str) -> Words:
    """The words for a cause; for one that has none its meaning, of which nothing is certain."""
    known = words().get(cause)
    if known is not None:
        return known
    meaning = meanings().get(cause, cause)
    return Words("likely", "", meaning[0].upper() + meaning[1:] + ".", "")


def destination(row: Row) -> str:
    """The peer as people write it: ``10.0.0.1:443``, ``[::1]:80``, ``/run/x.sock``, else as strace has it."""
    ip, port = row.get("destination.ip"), row.get("destination.port")
    if ip is not None:
        shown = f"[{ip}]" if ":" in ip and port is not None else ip
        return shown if port is None else f"{shown}:{port}"
    address = row.get("destination.address")
    if address is not None:
        return str(address)
    return str(row.get("connect.sockaddr", "?")).removeprefix("{sa_family=").removesuffix("}")


def who(row: Row) -> str:
    """``curl[1234]``."""
    pid = row.get("process.pid")
    return str(row.get("process.name", "a process")) + ("" if pid is None else f"[{pid}]")


def values(row: Row) -> dict[str, str]:
    """All placeholders of one attempt, harmless for a terminal."""
    evidence: dict[str, Any] = row.get("connect.evidence") or {}
    syns = evidence.get("syns", 1)
    path = str(row.get("destination.address", "that path"))
    found = {
        "who": who(row),
        "to": destination(row),
        "ip": str(row.get("destination.ip", "that address")),
        "port": str(row.get("destination.port", "?")),
        "sport": str(row.get("source.port", "?")),
        "pid": str(row.get("process.pid", "PID")),
        "fd": str(row.get("connect.fd", "?")),
        "length": str(row.get("connect.addrlen", "?")),
        "family": str(row.get("connect.family", "?")),
        "errno": str(row.get("connect.errno", row.get("connect.verdict", "?"))),
        "syns": f"{syns} SYNs" if syns != 1 else "one SYN",
        "took": duration(row["event.duration"]) if "event.duration" in row else "some time",
        "path": path,
        "dir": path.rpartition("/")[0] or "/",
        "v6": "-6 " if ":" in str(row.get("destination.ip", "")) else "",
    }
    return {name: escape(value) for name, value in found.items()}


def sentence(cause: str, row: Row) -> str:
    """One sentence for a cause; for none what the error can mean."""
    meant = possible(row) if cause == "unknown" else ()
    if meant:
        return f"{values(row)['errno']} can mean {' or '.join(meant)}: what was seen does not tell which."
    said = particular().get((cause, str(row.get("connect.errno"))), words_of(cause).sentence)
    return said.format_map(values(row))


def advice(cause: str, row: Row, prefix: str = "") -> tuple[Advice, ...]:
    """What to do next. ``prefix`` goes before each command, for instance to enter a network namespace."""
    named = values(row)
    quoted = {name: value if name == "v6" else shlex.quote(value) for name, value in named.items()}
    found = []
    for command, purpose in commands().get(cause, () if cause in words() else commands()["unknown"]):
        text = command.format_map(quoted)
        found.append(Advice(prefix + text, purpose.format_map(named)))
    return tuple(found)


def possible(row: Row) -> tuple[str, ...]:
    """What the error of an attempt can mean, where its cause is not known."""
    return possibilities().get((str(row.get("connect.errno")), str(row.get("connect.family"))), ())
