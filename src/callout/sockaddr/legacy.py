"""Families of other networks: AF_AX25, AF_IPX, AF_X25 (``linux/ax25.h``, ``linux/ipx.h``, ``linux/x25.h``).

An AX.25 call sign is seven bytes, each shifted left by a bit: six characters, then the SSID (AX.25 2.2,
3.12).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from callout.sockaddr.family import family
from callout.sockaddr.notation import Notation, Style, padded_hex, plain_hex
from callout.sockaddr.quoting import quoted_hex, quoted_terminated
from callout.sockaddr.view import View

AX25: Final = 3
IPX: Final = 4
X25: Final = 9

_AX25_SIZE: Final = 16
_CALL_SIZE: Final = 7
_MAX_DIGIPEATERS: Final = 8
_SSID_BITS: Final = 0x1E
_CALL_CHARACTERS: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
# Would open or close the comment that a call sign is shown in.
_COMMENT_CHARACTERS: Final = frozenset(b"*/")


def _call_style(call: bytes) -> Style | None:
    """Return the style that a malformed call sign forces, bytes alone or with text; None if it is good."""
    characters = [byte >> 1 for byte in call[:-1]]
    if any(not 0x20 <= character <= 0x7E or character in _COMMENT_CHARACTERS for character in characters):
        return "raw"
    text = bytes(characters).rstrip(b" ")
    malformed = (
        any(byte & 1 for byte in call[:-1])
        or not _CALL_CHARACTERS.issuperset(text)
        or b" " in text
        or call[-1] & ~_SSID_BITS
        or (not text and call[-1])
    )
    return "verbose" if malformed else None


def _call_text(call: bytes) -> str:
    characters = bytes(byte >> 1 for byte in call[:-1]).rstrip(b" ").decode("latin-1")
    text = f"{characters}-{(call[-1] & _SSID_BITS) >> 1}"
    return "*" if text.startswith("-0") else text


def _notate_call(call: bytes, notation: Notation) -> str:
    forced = Notation(_call_style(call) or notation.style, notation.ifname)
    return forced.alternatives(f"{{ax25_call={quoted_hex(call)}}}", _call_text(call))


def _digipeaters(view: View) -> Iterable[bytes]:
    """Return the call signs of the digipeaters that are there, at most eight."""
    present = min((view.length - _AX25_SIZE) // _CALL_SIZE, _MAX_DIGIPEATERS)
    return (view.octets(_AX25_SIZE + _CALL_SIZE * index, _CALL_SIZE) for index in range(present))


def _notate_ax25(view: View, notation: Notation) -> str:
    declared = view.signed(12, 4)
    text = f"sax25_call={_notate_call(view.octets(2, _CALL_SIZE), notation)}, sax25_ndigis={declared}"
    if not declared and view.length == _AX25_SIZE:
        return text
    fields = [f"fsa_ax25={{{text}}}"]
    present = [_notate_call(call, notation) for call in _digipeaters(view)]
    wanted = min(max(declared, 0), _MAX_DIGIPEATERS)
    if wanted:
        calls = present[:wanted] + ["..."] * (wanted > len(present))
        fields.append(f"fsa_digipeater=[{', '.join(calls)}]")
    if view.length > _AX25_SIZE + _CALL_SIZE * len(present):
        fields.append("...")
    return ", ".join(fields)


def _describe_ax25(view: View) -> str | None:
    call = view.octets(2, _CALL_SIZE)
    return None if _call_style(call) else _call_text(call)


def _notate_ipx(view: View, notation: Notation) -> str:
    zero = view.number(15, 1)
    return (
        f"sipx_port={notation.port(view.octets(2, 2))}"
        f", sipx_network=htonl({plain_hex(view.network(4, 4))})"
        f", sipx_node=[{', '.join(padded_hex(byte, 1) for byte in view.octets(8, 6))}]"
        f", sipx_type={padded_hex(view.number(14, 1), 1)}"
    ) + (f", sipx_zero={zero:#x}" if zero else "")


def _describe_ipx(view: View) -> str:
    return f"{view.octets(4, 4).hex()}:{view.octets(8, 6).hex()}:{view.octets(2, 2).hex()}"


def _notate_x25(view: View, notation: Notation) -> str:
    return f"sx25_addr={{x25_addr={quoted_terminated(view.octets(2, 16))}}}"


def _describe_x25(view: View) -> str | None:
    return view.octets(2, 16).partition(b"\0")[0].decode("utf-8", "surrogateescape") or None


FAMILIES: Final = (
    family(AX25, _AX25_SIZE, _notate_ax25, _describe_ax25),
    family(IPX, 16, _notate_ipx, _describe_ipx),
    family(X25, 18, _notate_x25, _describe_x25),
)
