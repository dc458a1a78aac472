r"""Text that processes chose (names, arguments, paths) is bytes: one way to write any of them as text that every
program can read, and the way back.

Rule of this file: pure, exact and unambiguous in both directions, for any bytes at all.

JSON, Arrow and most programs have only text that is valid Unicode. So a byte that is not part of UTF-8, and a NUL,
which many programs cannot keep in text, is written as the character U+EF00 plus the byte: 0xff is U+EFFF, ``"\uefff"``
in NDJSON. Those characters are of Unicode's private use area: by themselves they mean nothing. Should a text have them
already, each of their bytes is written in the same way, so nothing is ever taken for something else. All other text is
itself, backslashes included.

Inside of this program, and in the rows that Python programs get from a batch, text has the form that Python gives to
file names (PEP 383): a byte that is not UTF-8 is a lone surrogate, U+DC00 plus it, which ``os.fsencode`` turns back.
``outward`` leads from that form to the one of all outputs, ``inward`` back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

BASE, LONE = 0xEF00, 0xDC00

_UNWRITABLE = re.compile("[\0\ud800-\udfff\uef00-\uefff]")
_WRITTEN = re.compile("[\ud800-\udfff\uef00-\uefff]")
_SIGN = re.compile(r"\\u(?:0000|d|ef)")  # stands in JSON of ASCII wherever there is something to write


def bytes_to_text(data: bytes) -> str:
    """Any bytes as text that is valid Unicode, as all outputs have them."""
    return outward(data.decode("utf-8", "surrogateescape"))


def text_to_bytes(text: str) -> bytes:
    """The bytes of a text from one of callout's outputs: the inverse of ``bytes_to_text``.

    Defined for any text: a lone surrogate that stands for no byte is what UTF-8 would make of it.
    """
    return (_WRITTEN.sub(_read, text) if _WRITTEN.search(text) else text).encode("utf-8", "surrogateescape")


def outward(text: str) -> str:
    """Text in the form of PEP 383 as the outputs have it."""
    return _UNWRITABLE.sub(_write, text) if _UNWRITABLE.search(text) else text


def inward(text: str) -> str:
    """Text from outside in the form of PEP 383: the inverse of ``outward``, for any text."""
    return text_to_bytes(text).decode("utf-8", "surrogateescape") if _WRITTEN.search(text) else text


def _write(found: re.Match[str]) -> str:
    return "".join([chr(BASE + byte) for byte in _bytes(found[0])])


def _read(found: re.Match[str]) -> str:
    point = ord(found[0])
    octets = bytes([point - BASE]) if point >= BASE else _bytes(found[0])
    return "".join([chr(byte if byte < 0x80 else LONE + byte) for byte in octets])


def _bytes(char: str) -> bytes:
    is_byte = LONE + 0x80 <= ord(char) <= LONE + 0xFF
    return char.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")


# --- JSON


def converted(value: Any, change: Callable[[str], str]) -> Any:
    """A value of JSON with all its text changed, names of members included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {converted(name, change): converted(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [converted(item, change) for item in value]
    return value


def encoder(default: Callable[[Any], Any] | None = None, blanks: bool = False) -> Callable[[Any], str]:
    """A function that writes values as JSON, in ASCII, their text as ``outward`` does.

    ``default``: as for ``json.dumps``. ``blanks``: behind commas and colons. What is made raises TypeError for what has
    no JSON form, ValueError for NaN and infinities.
    """
    separators = (", ", ": ") if blanks else (",", ":")
    encode = json.JSONEncoder(separators=separators, allow_nan=False, default=default).encode

    def made(value: Any) -> str:
        text = encode(value)
        return encode(converted(value, outward)) if _SIGN.search(text) else text

    return made


to_json = encoder()


def from_json(text: str | bytes) -> Any:
    """The value that ``to_json`` wrote, or others. Raises json.JSONDecodeError."""
    return converted(json.loads(text), inward)
