"""Text that processes choose never acts on a terminal, and fits the room it is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.terminal import cut, duration, escape, pad, paint, width

ANY_TEXT = st.text(st.characters())  # surrogates included


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("curl", "curl"),
        ("données 名前", "données 名前"),
        ("\x1b[31mred\a\r\n", "\\x1b[31mred\\x07\\x0d\\x0a"),
        (b"\xffname\x80".decode("utf-8", "surrogateescape"), "\\xffname\\x80"),
        ("\x7f\x85\x9b31m", "\\x7f\\u0085\\u009b31m"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\u2066a\u2069\u200b\ufeff\u2028", "\\u2066a\\u2069\\u200b\\ufeff\\u2028"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
        ("already \\x1b", "already \\x1b"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(ANY_TEXT)
def test_escaped_text_prints_encodes_and_stays(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable()
    assert escaped.encode().decode() == escaped
    assert escape(escaped) == escaped


@pytest.mark.parametrize(("text", "columns"), [("", 0), ("abc", 3), ("名前", 4), ("e\u0301", 1), ("é", 1)])
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("/run/app.sock", 13, "/run/app.sock"),
        ("/run/app.sock", 9, "/run…sock"),
        ("/run/app.sock", 8, "/run…ock"),
        ("名前名前", 5, "名…前"),
        ("名前名前", 4, "名…"),
        ("abc", 1, "…"),
    ],
)
def test_cut(text: str, room: int, expected: str) -> None:
    assert cut(text, room) == expected


@given(ANY_TEXT.map(escape), st.integers(1, 30))
def test_cut_fits(text: str, room: int) -> None:
    assert width(cut(text, room)) <= room


def test_pad_counts_columns() -> None:
    assert pad("名", 4) + "|" == "名  |"
    assert pad("long", 2) == "long"


def test_paint() -> None:
    assert paint("no", "red") == "\x1b[31mno\x1b[0m"
    assert paint("no", "red", on=False) == "no"
    assert paint("no", "") == "no"


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (1_000, "1.00µs"),
        (9_994, "9.99µs"),
        (9_996, "10.0µs"),
        (12_345_678, "12.3ms"),
        (123_456_789, "123ms"),
        (999_600_000, "1.00s"),
        (59_900_000_000, "59.9s"),
        (99_960_000_000, "1m40s"),
        (125_000_000_000, "2m05s"),
        (7_384_000_000_000, "2h03m"),
    ],
)
def test_duration(ns: int, expected: str) -> None:
    assert duration(ns) == expected
