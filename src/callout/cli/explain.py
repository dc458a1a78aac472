"""The reference: connect(2), a way into the kernel, a verdict, a cause, a client habit, a field.

`callout explain` lists all topics. `callout explain --sockaddr HEX` decodes the bytes of a socket address as strace
prints them.
"""

from __future__ import annotations

import argparse
import re

from callout.errors import UsageError

STYLES = ("abbrev", "raw", "verbose")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="what to explain, e.g. connect, refused")
    parser.add_argument(
        "--sockaddr",
        metavar="HEX",
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
    """Prints a page, the list of all, or one decoded address."""
    if args.sockaddr is None:
        if args.addrlen is not None:
            raise UsageError("--addrlen goes with --sockaddr")
        print(read_topic(args.topic), end="")
        return 0
    if args.topic is not None:
        raise UsageError("give a topic or --sockaddr, not both")
    from callout.sockaddr import decode_sockaddr

    print(decode_sockaddr(read_hex(args.sockaddr), args.addrlen, args.style))
    return 0


def read_topic(topic: str | None) -> str:
    """The page of a topic; the list of all without one. Raises UsageError, with the nearest topics."""
    from callout import topics

    if topic is None:
        return topics.index()
    page = topics.page(topic)
    if page is None:
        near = " or ".join(topics.nearest(topic))
        remedy = f"did you mean {near}?" if near else "`callout explain` lists all topics"
        raise UsageError(f"there is no topic {topic!r}", remedy)
    return page


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
