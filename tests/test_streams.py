"""Pieces of streams: in any order, twice, overlapping, with numbers that wrap around."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from callout.enrich.streams import MOST, Stream, Streams, messages

WORDS = [b"first", b"the second one", b"", b"x" * 300]
DATA = b"".join(len(word).to_bytes(2) + word for word in WORDS)


def test_messages_come_when_they_are_complete() -> None:
    stream = Stream(5)
    seen = []
    for place, byte in enumerate(DATA):
        stream.add(5 + place, bytes([byte]))
        seen += [message for message, cut in messages(stream) if not cut]
    assert seen == WORDS
    assert not stream.data


@given(
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(1, len(DATA) - 1), max_size=8, unique=True),
    st.randoms(use_true_random=False),
    st.integers(0, 20),
)
def test_in_any_order(start: int, cuts: list[int], random: object, overlap: int) -> None:
    edges = [0, *sorted(cuts), len(DATA)]
    pieces = [(a, DATA[a : b + overlap]) for a, b in pairwise(edges)]
    pieces *= 2
    first, rest = pieces[0], pieces[1:]
    random.shuffle(rest)  # type: ignore[attr-defined]
    stream = Stream(start)
    for place, data in [first, *rest]:
        stream.add((start + place) & 0xFFFFFFFF, data)
    assert [message for message, _ in messages(stream)] == WORDS


def test_a_gap_is_waited_for_with_bounded_patience() -> None:
    stream = Stream(0)
    for place in range(10, 100_000, 10):
        stream.add(place, b"x" * 10)
    assert not stream.data
    assert len(stream._early) <= 16
    stream.add(0, b"y" * 10)
    assert bytes(stream.data) == b"y" * 10 + b"x" * 160


def test_what_does_not_fit_is_cut_off_once() -> None:
    stream = Stream(0)
    data = (60000).to_bytes(2) + b"y" * 60000
    for place in range(0, len(data), 4000):
        stream.add(place, data[place : place + 4000])
        for message, cut in messages(stream):
            assert (message, cut) == (b"y" * (MOST - 2), True)
    assert stream.full
    assert list(messages(stream)) == []


def test_streams_are_bounded_by_owner() -> None:
    streams = Streams()
    streams.add("net", "quiet", "mine", 0, b"a")
    for number in range(10_000):
        streams.add("net", "flood", number, 0, b"z" * 1000)
    assert len(streams) == 65
    assert bytes(streams.add("net", "quiet", "mine", 1, b"b").data) == b"ab"
    assert streams.memory().bytes < 200_000
    streams.drop("mine")
    assert len(streams) == 64
