"""Pieces of TCP streams, put together again: only the beginning of each, only so much.

Rule of this file: pure and bounded. What a stream says is told from its first byte on and without gaps; pieces may
come twice or in the wrong order, as TCP sends them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from callout.enrich.fair import Fair, Limits
from callout.footprint import Table

LIMITS = Limits(owner=64, group=256, total=512)  # streams of a cgroup, of a network namespace, in all
MOST = 16384  # bytes kept of a stream
AHEAD = 16  # pieces kept that came too early
HALF = 1 << 31
ENTRY = 1000  # bytes of a stream without its data


class Stream:
    """The bytes of one direction, as far as they have come."""

    def __init__(self, sequence: int) -> None:
        self.data = bytearray()
        self.full = False  # what came after did not fit: there is a gap
        self._next = sequence
        self._early: dict[int, bytes] = {}
        self._ahead = 0  # bytes in it

    def size(self) -> int:
        """Bytes that are kept."""
        return len(self.data) + self._ahead

    def add(self, sequence: int, data: bytes) -> None:
        """A piece that begins with the TCP sequence number ``sequence``."""
        room = len(self._early) < AHEAD and self._ahead + len(data) <= MOST
        if room or (self._next - sequence) & 0xFFFFFFFF < HALF:
            self._ahead += len(data) - len(self._early.get(sequence, b""))
            self._early[sequence] = data
        while self._early:
            sequence = min(self._early, key=lambda number: (number - self._next + HALF) & 0xFFFFFFFF)
            overlap = (self._next - sequence) & 0xFFFFFFFF
            if overlap >= HALF:
                return  # it begins after what has come
            piece = self._early.pop(sequence)
            self._ahead -= len(piece)
            fresh = piece[overlap:]
            self.data += fresh[: max(0, MOST - len(self.data))]
            self._next = (self._next + len(fresh)) & 0xFFFFFFFF


class Streams:
    """Streams by whatever names them."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._streams: Fair[Hashable, Stream] = Fair(limits)
        self._most = limits.total

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, group: Hashable, owner: Hashable, key: Hashable, sequence: int, data: bytes) -> Stream:
        """The stream with this piece."""
        stream = self._streams.get(key) or Stream(sequence)
        self._streams.put(group, owner, key, stream)
        stream.add(sequence, data)
        return stream

    def drop(self, key: Hashable) -> None:
        """Forgets a stream."""
        self._streams.drop(key)

    def memory(self) -> Table:
        """What is kept, about."""
        streams = [stream for key in self._streams if (stream := self._streams.get(key))]
        used = sum(ENTRY + stream.size() for stream in streams)
        return Table("names: TCP streams", len(streams), self._most, used, self._most * (ENTRY + 2 * MOST))


def messages(stream: Stream) -> Iterator[tuple[bytes, bool]]:
    """Takes the DNS messages from the beginning of a stream (RFC 1035, 4.2.2): each, and whether it is cut off where
    the stream has no more room; after such a one there is nothing more.
    """
    while len(stream.data) >= 2:
        size = int.from_bytes(stream.data[:2])
        if len(stream.data) < 2 + size:
            if len(stream.data) == MOST and not stream.full:
                stream.full = True
                yield bytes(stream.data[2:]), True
            return
        message = bytes(stream.data[2 : 2 + size])
        if not stream.full:
            del stream.data[: 2 + size]
        yield message, False
