r"""Text on its way to a terminal: harmless, measured in columns, cut, coloured.

Rule of this file: pure, and without imports that take time. Text that other processes chose (names, paths,
domains) passes ``escape`` before anything else is done to it; only ``paint`` makes escape sequences.
"""

from __future__ import annotations

import unicodedata

COLORS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "dim": "2",
    "loud": "1;31",
}  # SGR numbers, ECMA-48 8.3.117


def escape(text: str) -> str:
    r"""``text`` without anything that a terminal would act upon or that hides or reorders other text.

    Control characters become ``\x1b``, bytes that are not UTF-8 (surrogates of PEP 383) ``\xff``, everything
    else that does not print (bidirectional controls, zero-width and line separators, unassigned) ``\u202e``.
    Backslashes stay, so that text which is escaped already stays as it is.
    """
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _escaped(ord(char)) for char in text])


def _escaped(point: int) -> str:
    if point < 0x80:
        return f"\\x{point:02x}"
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def width(text: str) -> int:
    """Columns that printable ``text`` takes: two for wide characters (UAX #11), none for combining marks."""
    if text.isascii():
        return len(text)
    return sum([_columns(char) for char in text])


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def cut(text: str, room: int) -> str:
    """``text`` in at most ``room`` (at least 1) columns: the middle gives way to an ellipsis."""
    if width(text) <= room:
        return text
    tail = (room - 1) // 2
    return _head(text, room - 1 - tail) + "…" + _head(text[::-1], tail)[::-1]


def _head(text: str, room: int) -> str:
    for end, char in enumerate(text):
        room -= _columns(char)
        if room < 0:
            return text[:end]
    return text


def pad(text: str, columns: int) -> str:
    """``text`` followed by blanks up to ``columns``."""
    return text + " " * (columns - width(text))


def paint(text: str, color: str, on: bool = True) -> str:
    """``text`` in one of COLORS, or as it is where ``color`` is empty or ``on`` is False."""
    return f"\x1b[{COLORS[color]}m{text}\x1b[0m" if on and color and text else text


def duration(ns: int) -> str:
    """Nanoseconds in three digits or so: ``870ns``, ``12.3ms``, ``2.05s``, ``2m05s``."""
    if ns < 1_000:
        return f"{ns}ns"
    for unit, size in (("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        value = ns / size
        for digits, end in ((2, 9.995), (1, 99.95), (0, 999.5)):
            if value < end and (digits != 0 or unit != "s"):
                return f"{value:.{digits}f}{unit}"
    seconds = round(ns / 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
