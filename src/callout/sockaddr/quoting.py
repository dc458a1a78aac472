r"""Bytes as C string literals: printable ASCII stands for itself, the rest is escaped, as short as is clear.

The notation is strace's: ``\t \n \v \f \r \" \\`` by letter, any other byte in octal without leading zeros,
but with all three digits when the next byte is an octal digit (``"\0007"`` is NUL and 7; ``"\07"`` would be
BEL).
"""

from __future__ import annotations

from typing import Final

_LETTERS: Final = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in _LETTERS)
_OCTAL_DIGITS: Final = frozenset(b"01234567")


def _escapes(octal: str) -> tuple[str, ...]:
    shown = (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:{octal}}" for byte in range(256))
    return tuple(_LETTERS.get(byte, text) for byte, text in enumerate(shown))


_SHORT: Final = _escapes("o")
_PADDED: Final = _escapes("03o")


def quoted(data: bytes) -> str:
    """Return all of ``data`` as a double-quoted C string."""
    if not data.translate(None, _PLAIN):  # nothing is left to escape
        return f'"{data.decode("ascii")}"'
    following = [*data[1:], None]
    escaped = [
        (_PADDED if after in _OCTAL_DIGITS else _SHORT)[byte]
        for byte, after in zip(data, following, strict=True)
    ]
    return '"' + "".join(escaped) + '"'


def quoted_to_nul(data: bytes) -> str:
    """Return ``data`` up to its first NUL, or all of it when there is none, as a C string."""
    return quoted(data.partition(b"\0")[0])


def quoted_terminated(data: bytes) -> str:
    """Return ``data`` up to its first NUL as a C string; without a NUL, the last byte gives way to ``...``.

    For fields that the kernel requires to be terminated: the dots say that this one is not.
    """
    text, nul, _ = data.partition(b"\0")
    return quoted(text) if nul else quoted(text[:-1]) + "..."


def quoted_hex(data: bytes) -> str:
    """Return ``data`` as a C string of ``\\x..`` escapes only."""
    return '"' + "".join([f"\\x{byte:02x}" for byte in data]) + '"'
