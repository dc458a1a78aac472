"""What happened, in order, with times.

Rule of this file: a step that was not seen says so; nothing is put in to make the story rounder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from callout.computed import SynSchedule
from callout.story.model import Packet, Row, Step
from callout.story.weigh import icmp_words
from callout.story.words import destination, values

IN_PROGRESS = -115
WAITS = Step(None, "the call returns EINPROGRESS: the outcome comes later")


def packet_text(what: str, row: Row, reason: str = "", icmp: tuple[int, int, int, str] | None = None) -> str:
    """A step that the kernel side saw (``capture.steps``), in words."""
    if what == "syn":
        return "SYN sent again"
    if what == "rst":
        return f"a RST comes back from {destination(row)}"
    if icmp is not None:
        version, kind, code, sender = icmp
        found = {"type": kind, "code": code} | ({"from": sender} if sender else {})
        return f"{icmp_words(found, {'network.type': f'ipv{version}'})} comes back"
    return f"this host drops a packet: {reason}"


MANNERS = {
    "sendto_fastopen": "sendto(2) with MSG_FASTOPEN",
    "sendmsg_fastopen": "sendmsg(2) with MSG_FASTOPEN",
    "io_uring": "io_uring's connect",
    "kernel": "a socket of the kernel",
    "socketcall": "socketcall(2)",
    "connect_ia32": "connect(2), 32 bit,",
}


def steps_of(
    row: Row, packets: Sequence[Packet] = (), schedule: SynSchedule | None = None
) -> tuple[Step, ...]:
    """The steps of one attempt. ``packets``: what the kernel side saw; ``schedule``: when SYNs go out here."""
    return tuple(made(row, packets, schedule))


def made(row: Row, packets: Sequence[Packet], schedule: SynSchedule | None) -> Iterator[Step]:
    """The steps, one by one."""
    evidence: dict[str, Any] = row.get("connect.evidence") or {}
    v = values(row)
    entry = MANNERS.get(str(row.get("connect.entry")), "connect(2)")
    manner = {True: ", non-blocking", False: ", blocking"}.get(row.get("connect.nonblocking"), "")  # type: ignore[arg-type]
    descriptor = f" on descriptor {v['fd']}" if "connect.fd" in row else ""
    asked = str(row.get("connect.rewritten_from") or destination(row))
    yield Step(0, f"{v['who']} calls {entry} to {asked}{descriptor}{manner}")
    if "connect.rewritten_from" in row:
        yield Step(None, f"a program on its cgroup puts {v['to']} in the place of that address")
    if "syns" in evidence:
        yield from sent(row, evidence, packets, schedule)
    took = row.get("event.duration")
    returned, error = row.get("connect.return"), row.get("connect.errno")
    if returned == IN_PROGRESS and "syns" not in evidence:
        yield WAITS
    if row.get("connect.verdict") == "established":
        yield Step(took, "the connection is established")
    elif error is None:
        yield Step(took, f"{v['who']} gives up: {row.get('connect.verdict')}")
    elif returned in (0, IN_PROGRESS, None):
        yield Step(took, f"the attempt fails: SO_ERROR gives {error}")
    else:
        yield Step(took, f"the call fails with {error}")


def sent(
    row: Row, evidence: dict[str, Any], packets: Sequence[Packet], schedule: SynSchedule | None
) -> Iterator[Step]:
    """What went out and what came back."""
    source = row.get("source.ip")
    start = (
        ""
        if source is None
        else f" from {source}" + (f":{row['source.port']}" if "source.port" in row else "")
    )
    if row.get("connect.errno") == "EADDRNOTAVAIL":
        return  # in SYN_SENT, but no port was found and nothing sent
    yield Step(0, f"SYN sent{start}")
    if row.get("connect.return") == IN_PROGRESS:
        yield WAITS
    if packets:
        for packet in packets:
            yield Step(packet.at, packet.text)
        return
    again = evidence["syns"] - 1
    planned = schedule.sent[1:] if schedule else ()
    if 0 < again <= len(planned):
        for moment in planned[:again]:
            yield Step(int(moment * 1e9), "SYN sent again", seen=False)
    elif again:
        yield Step(None, f"SYN sent again, {again} time{'s' * (again != 1)}")
    if "drop_reason" in evidence:
        yield Step(None, f"this host drops a packet: {evidence['drop_reason']}")
    if "icmp" in evidence:
        yield Step(None, f"{icmp_words(evidence['icmp'], row)} comes back")
    if evidence.get("rst"):
        yield Step(None, f"a RST comes back from {destination(row)}")
