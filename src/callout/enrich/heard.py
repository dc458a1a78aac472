"""From packets to facts: who asked which question on which socket, which answer came on it, which server was greeted.

Rule of this file: packets are an enemy's. An answer belongs to the process whose question it repeats (socket, number,
name and type); one that repeats none is nobody's. All that is kept is bounded, by owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from callout import dns, tls
from callout.enrich.fair import Fair, Limits
from callout.enrich.nametable import LONGEST, SECOND, Asker, NameTable
from callout.enrich.streams import Streams, messages
from callout.footprint import Table, table

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


class Packet(NamedTuple):
    """A ``packet`` record (``record.h``), and its payload as far as it was kept."""

    what: int
    length: int
    when: int
    start: int
    cgroup: int
    cookie: int
    pid: int
    netns: int
    sequence: int
    protocol: int
    data: bytes

    @property
    def asker(self) -> Asker:
        """Who sent it."""
        return Asker((self.start, self.pid) if self.pid else None, self.cgroup)

    @property
    def cut(self) -> bool:
        """Whether there was more."""
        return self.length > len(self.data)


FIELDS = tuple("is" if name == "what" else name for name in Packet._fields if name != "data")


def packets(records: Array) -> Iterator[Packet]:
    """The packets of some records."""
    kept = zip(records["data"], records["kept"].tolist(), strict=True)
    columns: list[Iterable[Any]] = [records[name].tolist() for name in FIELDS]
    yield from map(Packet._make, zip(*columns, (data[:size].tobytes() for data, size in kept), strict=True))


class Heard:
    """Fills ``table`` with answers; ``hello(cookie)`` tells what a connection said first."""

    def __init__(self, btf: Btf, table: NameTable) -> None:
        self._hello = btf.enum("packet_is")["PACKET_HELLO"]
        self._table = table
        self._questions: Fair[tuple[int, int], Question] = Fair(UNANSWERED)
        self._hellos: Fair[int, tls.Hello] = Fair(GREETED)
        self._streams = Streams()

    def take(self, records: Array) -> None:
        """Takes ``packet`` records, in the order in which they passed."""
        for packet in packets(records):
            if packet.what == self._hello:
                self._greeted(packet)
            else:
                for message, cut in self._messages(packet):
                    self._said(packet, message, cut)

    def hello(self, cookie: int) -> tls.Hello | None:
        """What the connection of a socket cookie said first, if that was TLS."""
        return self._hellos.get(cookie)

    def cookies(self) -> Iterator[int]:
        """The connections of which that is known."""
        return iter(self._hellos)

    def memory(self) -> list[Table]:
        """What is kept, about."""
        return [
            table("names: questions", len(self._questions), UNANSWERED.total, ENTRY, LONGEST),
            table("names: TLS hellos", len(self._hellos), GREETED.total, ENTRY, LONGEST),
            self._streams.memory(),
        ]

    def _messages(self, packet: Packet) -> Iterator[tuple[bytes, bool]]:
        if packet.protocol != TCP:
            yield packet.data, packet.cut
            return
        key = packet.cookie, packet.what
        stream = self._streams.add(packet.netns, packet.cgroup, key, packet.sequence, packet.data)
        yield from messages(stream)

    def _said(self, packet: Packet, message: bytes, cut: bool) -> None:
        read = dns.read(message, cut)
        if read is None:
            return
        key = packet.cookie, read.id
        if not read.response:
            if packet.pid:
                asker = packet.asker
                question = Question(read.name, read.kind, asker, packet.when)
                self._questions.put(packet.netns, asker, key, question)
            return
        asked = self._questions.get(key)
        asker = Asker(None, packet.cgroup)
        if asked and (asked.name, asked.kind) == (read.name, read.kind):
            self._questions.drop(key)
            if packet.when - asked.when <= WAITING:
                asker = asked.asker
        elif packet.protocol == TCP:
            return  # the middle of a stream looks like anything
        for ip, ttl in read.addresses:
            self._table.add(packet.netns, ip, read.name, asker, packet.when, ttl)

    def _greeted(self, packet: Packet) -> None:
        key = packet.cookie, packet.what
        stream = self._streams.add(packet.netns, packet.cgroup, key, packet.sequence, packet.data)
        hello = tls.read_hello(bytes(stream.data))
        if hello is not None:  # else the rest of it may come in the next packet
            self._streams.drop(key)
            self._hellos.put(packet.netns, packet.asker, packet.cookie, hello)
