"""Any bytes as valid text, and back: exact, unambiguous, and the text itself where it is text."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import callout
from callout.octets import bytes_to_text, encoder, from_json, inward, outward, text_to_bytes, to_json

# bytes that are likely to be mistaken for something: what we write, parts of it, surrogates, NUL, backslashes
PIECES = st.sampled_from(
    [
        *(b"", b"a", b"\0", b"\\xff", b"\xff", b"\x80", b"\xed\xb3\xbf", b"\xee", b"\xee\xbe", b"\xbf", b"\x1b[31m"),
        *(text.encode() for text in ("é", "\uefff", "\uef00", "😀")),
    ]
)  # fmt: skip
ANY = st.binary(max_size=24) | st.lists(PIECES, max_size=8).map(b"".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY.map(os.fsdecode),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY.map(os.fsdecode), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("né 名 😀 \\xff \x1b".encode(), "né 名 😀 \\xff \x1b"),
        (b"\xff", "\uefff"),
        (b"a\0b", "a\uef00b"),
        ("\uefff".encode(), "\uefee\uefbf\uefbf"),
        (b"caf\xe9", "caf\uefe9"),
    ],
)
def test_what_is_written(data: bytes, text: str) -> None:
    assert bytes_to_text(data) == text
    assert text_to_bytes(text) == data
    assert (callout.bytes_to_text(data), callout.text_to_bytes(text)) == (text, data)


@given(ANY)
def test_any_bytes_are_valid_text_and_come_back(data: bytes) -> None:
    text = bytes_to_text(data)
    assert text.encode("utf-8", "strict").decode() == text
    assert "\0" not in text
    assert text_to_bytes(text) == data


@given(ANY, ANY)
def test_no_two_are_the_same(one: bytes, other: bytes) -> None:
    assert (bytes_to_text(one) == bytes_to_text(other)) == (one == other)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_is_itself(text: str) -> None:
    if not any(0xEF00 <= ord(char) <= 0xEFFF for char in text):
        assert bytes_to_text(text.encode()) == text


@given(ANY)
def test_between_inside_and_outside(data: bytes) -> None:
    inside = os.fsdecode(data)
    assert outward(inside) == bytes_to_text(data)
    assert inward(outward(inside)) == inside


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Z", "C"))))
def test_text_of_others_has_a_form_inside(text: str) -> None:
    inside = inward(text)
    assert os.fsencode(inside) == text_to_bytes(text)
    assert inward(outward(inside)) == inside


@given(VALUES)
def test_values_in_json(value: object) -> None:
    text = to_json(value)
    assert text.isascii()
    json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "strict")
    assert from_json(text) == value


def test_values_without_a_form() -> None:
    with pytest.raises(TypeError, match="bytes"):
        to_json(b"")
    with pytest.raises(ValueError, match="Out of range"):
        to_json(float("nan"))
    assert encoder(default=lambda value: value.decode(), blanks=True)([b"x", {"a": 1}]) == '["x", {"a": 1}]'
