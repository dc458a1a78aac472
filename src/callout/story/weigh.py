"""How sure a cause is, and on what evidence.

Rule of this file: pure, and never surer than what was seen. A cause is certain where it needs no proof, or its proof is
there: a kind of evidence in the row, or a look at the host that supports it. Whatever speaks against it makes it
unknown, however good the proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from callout.story.model import Confidence, Look, Row
from callout.story.words import words_of

ICMP = {
    (3, 0): "net unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable",
    (3, 3): "port unreachable", (3, 5): "source route failed", (3, 6): "net unknown", (3, 7): "host unknown",
    (3, 8): "host isolated", (3, 9): "net prohibited", (3, 10): "host prohibited",
    (3, 11): "net unreachable for this service", (3, 12): "host unreachable for this service",
    (3, 13): "administratively prohibited", (3, 14): "precedence violation", (3, 15): "precedence cut off",
    (11, 0): "time to live exceeded", (11, 1): "reassembly time exceeded",
}  # fmt: skip
ICMP6 = {
    (1, 0): "no route", (1, 1): "administratively prohibited", (1, 2): "beyond scope", (1, 3): "address unreachable",
    (1, 4): "port unreachable", (1, 5): "failed policy", (1, 6): "reject route", (3, 0): "hop limit exceeded",
    (4, 1): "next header not known",
}  # fmt: skip
DENIERS = {
    "lsm": "a hook at the security modules saw the refusal",
    "cgroup": "a hook at the cgroup programs saw the refusal",
    "seccomp": "the call returned without having entered the kernel, and the process has a seccomp filter",
}


def cause_of(row: Row) -> str:
    """The cause that a row tells; an interrupted call has none of its own."""
    cause = row.get("connect.cause")
    if cause is None:
        return "interrupted" if row.get("connect.verdict") == "interrupted" else "unknown"
    return str(cause)


def weigh(row: Row, looks: Sequence[Look] = ()) -> tuple[str, Confidence]:
    """The cause of a failed attempt and how sure it is."""
    cause = cause_of(row)
    against = [look for look in looks if look.says == "against"]
    if against:
        rather = {look.rather for look in against if look.rather}
        return (rather.pop(), "likely") if len(rather) == 1 else ("unknown", "unknown")
    if cause == "unknown":
        rather = {look.rather for look in looks if look.rather}
        return (rather.pop(), "likely") if len(rather) == 1 else ("unknown", "unknown")
    known = words_of(cause)
    if known.alone == "certain":
        return cause, "certain"
    evidence: dict[str, Any] = row.get("connect.evidence") or {}
    proofs = set(filter(None, known.proof.split("|")))
    supported = {look.about for look in looks if look.says == "supports"}
    return cause, "certain" if proofs & (evidence.keys() | supported) else known.alone


def icmp_words(found: Mapping[str, Any], row: Row) -> str:
    """An ICMP error in words, with its sender where that is known."""
    six = row.get("network.type") == "ipv6"
    kind, code = found["type"], found["code"]
    name = (ICMP6 if six else ICMP).get((kind, code), "error")
    sender = f" from {found['from']}" if "from" in found else ""
    return f"ICMP{'v6' if six else ''} {name} (type {kind}, code {code}){sender}"


def evidence_of(row: Row) -> Iterator[str]:
    """What was seen of an attempt, in words."""
    evidence: dict[str, Any] = row.get("connect.evidence") or {}
    if "syns" in evidence:
        yield f"{evidence['syns']} SYN{'s' * (evidence['syns'] != 1)} sent"
    elif row.get("network.transport") in ("tcp", "mptcp"):
        yield "no SYN was sent"
    if evidence.get("rst"):
        yield "a RST came for this socket"
    if "icmp" in evidence:
        yield icmp_words(evidence["icmp"], row)
    if "soft_error" in evidence:
        yield f"an ICMP error was remembered as {evidence['soft_error']}"
    if "drop_reason" in evidence:
        yield f"the kernel dropped a packet of this socket on this host: {evidence['drop_reason']}"
    if "denied_by" in evidence:
        yield DENIERS.get(evidence["denied_by"], f"refused by {evidence['denied_by']}")
    if "connect.errno" in row:
        where = "the call" if row.get("connect.return", 0) not in (0, -115, None) else "SO_ERROR"
        yield f"{row['connect.errno']} by {where}"
