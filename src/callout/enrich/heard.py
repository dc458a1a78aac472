"""From packets to facts: who asked which question on which socket, which answer came on it, which server was greeted.

Rule of this file: packets are an enemy's. An answer belongs to the process whose question it repeats (socket, number,
name and type); one that repeats none is nobody's. All that is kept is bounded, by owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from callout import dns, tls
from callout.enrich.fair import Fair, Limits
from callout.enrich.nametable import SECOND, Asker, NameTable
from callout.enrich.streams import Streams, messages

if TYPE_CHECKING:
    from callout.batch import Array
    from callout.btf import Btf

TCP = 6
UNANSWERED = Limits(owner=128, group=2048, total=8192)  # questions that wait for their answer
GREETED = Limits(owner=4096, group=16384, total=16384)  # connections whose hello was seen
WAITING = 30 * SECOND  # what comes later is no answer
ENTRY = 400  # bytes of a question or hello, about


class Question(NamedTuple):
    """What a socket asked: the name, the type of record, who, and when."""

    name: str
    kind: int
    asker: Asker
    when: int


class Heard:
    """Fills ``table`` with answers; ``hello(cookie)`` tells what a connection said first."""

    def __init__(self, btf: Btf, table: NameTable) -> None:
        self._is = {number: name for name, number in btf.enum("packet_is").items()}
        self._table = table
        self._questions: Fair[tuple[int, int], Question] = Fair(UNANSWERED)
        self._hellos: Fair[int, tls.Hello] = Fair(GREETED)
        self._streams = Streams()

    def take(self, records: Array) -> None:
        """Takes ``packet`` records, in the order in which they passed."""
        for record in records:
            data = record["data"][: record["kept"]].tobytes()
            if self._is[int(record["is"])] == "PACKET_HELLO":
                self._greeted(record, data)
            else:
                for message, cut in self._messages(record, data):
                    self._said(record, message, cut)

    def hello(self, cookie: int) -> tls.Hello | None:
        """What the connection of a socket cookie said first, if that was TLS."""
        return self._hellos.get(cookie)

    def cookies(self) -> Iterator[int]:
        """The connections of which that is known."""
        return iter(self._hellos)

    def memory(self) -> dict[str, int]:
        """Bytes kept, about."""
        return {
            "names: questions": len(self._questions) * ENTRY,
            "names: TLS hellos": len(self._hellos) * ENTRY,
            "names: TCP streams": self._streams.memory(),
        }

    def _messages(self, record: Any, data: bytes) -> Iterator[tuple[bytes, bool]]:
        if record["protocol"] != TCP:
            yield data, int(record["length"]) > len(data)
            return
        key = int(record["cookie"]), int(record["is"])
        where = int(record["netns"]), int(record["cgroup"])
        yield from messages(self._streams.add(*where, key, int(record["sequence"]), data))

    def _said(self, record: Any, message: bytes, cut: bool) -> None:
        read = dns.read(message, cut)
        if read is None:
            return
        key, netns, when = (int(record["cookie"]), read.id), int(record["netns"]), int(record["when"])
        if not read.response:
            asker = asker_of(record)
            if asker.process is not None:
                self._questions.put(netns, asker, key, Question(read.name, read.kind, asker, when))
            return
        question = self._questions.get(key)
        asker = Asker(None, int(record["cgroup"]))
        if question and (question.name, question.kind) == (read.name, read.kind):
            self._questions.drop(key)
            if when - question.when <= WAITING:
                asker = question.asker
        elif record["protocol"] == TCP:
            return  # the middle of a stream looks like anything
        for ip, ttl in read.addresses:
            self._table.add(netns, ip, read.name, asker, when, ttl)

    def _greeted(self, record: Any, data: bytes) -> None:
        netns, asker, cookie = int(record["netns"]), asker_of(record), int(record["cookie"])
        key = cookie, int(record["is"])
        hello = tls.read_hello(data)
        if hello is None:  # perhaps the rest of it comes in the next packet
            stream = self._streams.add(netns, asker.cgroup, key, int(record["sequence"]), data)
            hello = tls.read_hello(bytes(stream.data))
        if hello is not None:
            self._streams.drop(key)
            self._hellos.put(netns, asker, cookie, hello)


def asker_of(record: Any) -> Asker:
    """Who sent a packet."""
    pid = int(record["pid"])
    return Asker((int(record["start"]), pid) if pid else None, int(record["cgroup"]))
