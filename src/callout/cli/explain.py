"""The reference: what an address, an error or a cause means.

`callout explain --sockaddr HEX` decodes the bytes of a socket address as strace prints them.
"""

from __future__ import annotations

import argparse
import re

from callout.errors import UsageError

STYLES = ("abbrev", "raw", "verbose")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "--sockaddr",
        metavar="HEX",
        required=True,
        help="bytes of a socket address: 0200005..., 02:00:..., or \\x02\\x00...",
    )
    parser.add_argument(
        "--addrlen", type=int, metavar="N", help="the length that the call was given (default: all bytes)"
    )
    parser.add_argument(
        "-X",
        "--style",
        choices=STYLES,
        default="abbrev",
        help="how constants are printed, as strace -X: %(choices)s",
    )


def run(args: argparse.Namespace) -> int:
    """Prints one decoded address."""
    from callout.sockaddr import decode_sockaddr

    print(decode_sockaddr(read_hex(args.sockaddr), args.addrlen, args.style))
    return 0


def read_hex(text: str) -> bytes:
    r"""Bytes from hex digits; blanks, colons, commas, `0x` and `\x` do not matter. Raises UsageError."""
    digits = re.sub(r"\\x|0x|[\s:,]", "", text)
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise UsageError(
            f"--sockaddr: {wrong[0]!r} is not a hexadecimal digit",
            "give bytes such as 02 00 00 50 7f 00 00 01",
        )
    if len(digits) % 2:
        raise UsageError(
            f"--sockaddr: {len(digits)} hexadecimal digits do not make whole bytes", "give two digits a byte"
        )
    return bytes.fromhex(digits)
