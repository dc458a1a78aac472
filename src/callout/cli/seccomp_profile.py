"""`callout explain --seccomp-profile FILE`: what a profile does to connect(2) and its relatives.

Rule of this file: it reads the file and lays out what ``callout.seccomp`` finds; lines that say the same of several
architectures stand once.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from callout import seccomp
from callout.errors import InputError
from callout.seccomp import words
from callout.seccomp.decide import Context, Decision, default_context
from callout.seccomp.profile import ARCHITECTURES, Condition, Profile
from callout.terminal import escape, paint

INDENT = 30  # columns for the call and its number


def explain(file: str, output: str, width: int, color: bool) -> str:
    """The whole answer, as text or NDJSON. Raises InputError naming file, line and column."""
    profile = seccomp.read(text_of(file), "standard input" if file == "-" else file)
    context = default_context(profile, kernel())
    decisions = seccomp.decisions(profile, context, platform.machine())
    if output == "ndjson":
        return "".join(json.dumps(line) + "\n" for line in data(profile, decisions))
    return "\n".join(report(profile, context, decisions, width, color)) + "\n"


def text_of(file: str) -> str:
    """What stands in a file; `-` is standard input. Raises InputError."""
    try:
        if file == "-":
            return sys.stdin.read()
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not text in UTF-8 (byte {error.start})") from error


def kernel() -> tuple[int, int]:
    """Major and minor number of this kernel."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def report(
    profile: Profile, context: Context, decisions: Sequence[Decision], width: int, color: bool
) -> Iterator[str]:
    """The answer for people."""
    yield paint(escape(profile.file), "green", color)
    yield from wrapped(f"What no rule names: {words.action(profile.default)}.", width, 2)
    taken = dict.fromkeys(
        (host.name, tuple(dict.fromkeys(ARCHITECTURES[one] for one in host.taken)))
        for host in seccomp.hosts(profile, platform.machine())
    )
    hosts = "; ".join(f"{host} ({', '.join(abis)})" for host, abis in taken)
    yield from wrapped(f"Hosts, and the tables of calls taken there: {hosts}.", width, 2)
    told = "the file's" if profile.caps is not None else "those of a container without any added"
    yield from wrapped(
        f"Capabilities: {told}; kernel: this one, {context.kernel[0]}.{context.kernel[1]}. Other ones stand indented.",
        width, 2,
    )  # fmt: skip
    for call in dict.fromkeys(one.call for one in decisions):
        yield ""
        for text, members in grouped([one for one in decisions if one.call == call]):
            yield from entry(text, members, width, color)
    found = seccomp.findings(decisions)
    if found:
        yield ""
    for finding in found:
        mark = paint("hole  ", "red", color) if finding.hole else paint("note  ", "dim", color)
        where = f"{', '.join(finding.abis)}: " if finding.abis else ""
        for number, line in enumerate(textwrap.wrap(where + finding.text, width - 6)):
            yield (mark if number == 0 else " " * 6) + line


def grouped(decisions: Sequence[Decision]) -> list[tuple[str, list[Decision]]]:
    """Decisions that say the same, with what they say."""
    found: dict[str, list[Decision]] = {}
    for one in decisions:
        variants = "".join(f"\n{given}: {words.decision(other)}" for given, other in one.variants)
        found.setdefault(f"{name(one)}\0{words.decision(one)}{variants}", []).append(one)
    return [(key.partition("\0")[2], members) for key, members in found.items()]


def name(one: Decision) -> str:
    """The call, in the way that it is made."""
    return f"socketcall:{one.call}" if one.through else one.call


def entry(text: str, members: Sequence[Decision], width: int, color: bool) -> Iterator[str]:
    """One call, what becomes of it, and where."""
    first, *variants = text.split("\n")
    lines = textwrap.wrap(first, max(width - INDENT, 30))
    shade = "green" if first == "allowed" else "yellow" if "allowed" in first else "red"
    label = name(members[0]).ljust(INDENT)
    for number, line in enumerate(lines):
        yield (label if number == 0 else " " * INDENT) + paint(line, shade, color)
    for variant in variants:
        yield from wrapped(variant, width, INDENT + 2)
    where = ", ".join(dict.fromkeys(f"{one.abi} {one.number}" for one in members))
    by = ", ".join(dict.fromkeys(str(line) for one in members for line in one.by))
    yield from (
        paint(line, "dim", color)
        for line in wrapped(f"{where}; {'line ' + by if by else 'by default'}", width, INDENT)
    )


def wrapped(text: str, width: int, indent: int) -> list[str]:
    """Text in lines with a margin."""
    margin = " " * indent
    return textwrap.wrap(text, max(width, indent + 30), initial_indent=margin, subsequent_indent=margin)


def data(profile: Profile, decisions: Sequence[Decision]) -> Iterator[dict[str, Any]]:
    """The answer for programs: a line for each call, host and table, then one for each finding."""
    for one in decisions:
        yield {
            "file": profile.file,
            "call": one.call,
            "host": one.host,
            "abi": one.abi,
            "number": one.number,
            "through": one.through or None,
            **outcome(one),
            "lines": list(one.by),
            "conflict": one.conflict,
            "text": words.decision(one),
            "variants": [
                {"given": given, **outcome(other), "text": words.decision(other)}
                for given, other in one.variants
            ],
        }
    for finding in seccomp.findings(decisions):
        yield {
            "file": profile.file,
            "finding": finding.text,
            "hole": finding.hole,
            "abis": list(finding.abis),
        }


def outcome(one: Decision) -> dict[str, Any]:
    """Cases and the rest."""
    return {
        "cases": [
            {"if": [condition(part) for part in conditions], "action": what.name, "errno": what.number}
            for conditions, what in one.cases
        ],
        "action": one.otherwise.name,
        "errno": one.otherwise.number,
    }


def condition(part: Condition) -> dict[str, Any]:
    """A comparison as the profile has it."""
    return {"index": part.index, "op": part.operator, "value": part.value, "valueTwo": part.other}
