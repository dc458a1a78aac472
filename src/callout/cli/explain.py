"""The reference: connect(2), an errno, an address family, a cause, a hook, a field.

`callout explain` lists all topics; `callout explain ECONNREFUSED AF_UNIX` tells what applies to both. Numbers are
topics too: 111 is an error, 42 a system call. `-o ndjson` gives the data, one page or outcome a line (without a topic
all pages); `--html DIR` writes the whole reference as a web site that needs no server.

`callout explain --sockaddr HEX` decodes the bytes of a socket address as strace prints them. `callout explain
--seccomp-profile FILE` tells what a container runtime's profile lets through.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.reference import Book, Outcome, Page

STYLES = ("abbrev", "raw", "verbose")
FORMATS = ("text", "ndjson")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "topic", nargs="*", metavar="TOPIC", help="what to explain, e.g. connect, refused, AF_UNIX"
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        default=FORMATS[0],
        metavar="FORMAT",
        help="text (default) or ndjson",
    )
    parser.add_argument("--html", type=Path, metavar="DIR", help="write all of it as a web site into DIR")
    parser.add_argument(
        "--sockaddr",
        metavar="HEX",
        help="bytes of a socket address: 0200005..., 02:00:..., or \\x02\\x00...",
    )
    parser.add_argument(
        "--addrlen", type=int, metavar="N", help="the length that the call was given (default: all bytes)"
    )
    parser.add_argument(
        "--seccomp-profile",
        metavar="FILE",
        help="what a Docker, Podman or OCI seccomp profile does to connect(2) and its relatives",
    )
    parser.add_argument(
        "-X",
        "--style",
        choices=STYLES,
        default="abbrev",
        help="how constants are printed, as strace -X: %(choices)s",
    )


def run(args: argparse.Namespace) -> int:
    """Prints a page, the list of all, or one decoded address; or writes the site."""
    if args.seccomp_profile is not None:
        if args.topic or args.sockaddr is not None:
            raise UsageError("give --seccomp-profile alone, without a topic or --sockaddr")
        from callout.cli import pager, seccomp_profile
        from callout.cli.streams import is_colored

        pager.show(seccomp_profile.explain(args.seccomp_profile, args.output, columns(), is_colored()))
        return 0
    if args.sockaddr is None:
        if args.addrlen is not None:
            raise UsageError("--addrlen goes with --sockaddr")
        if args.html is not None:
            return write_site(args)
        from callout.cli import pager

        pager.show(read_topics(args.topic, args.output))
        return 0
    if args.topic or args.html is not None:
        raise UsageError(
            "give a topic or --sockaddr, not both" if args.topic else "give --html or --sockaddr, not both"
        )
    from callout.sockaddr import decode_sockaddr

    print(decode_sockaddr(read_hex(args.sockaddr), args.addrlen, args.style))
    return 0


def write_site(args: argparse.Namespace) -> int:
    """The whole reference as a web site."""
    if args.topic:
        raise UsageError("give topics or --html, not both")
    from callout import site
    from callout.cli.streams import say

    count = site.write(whole(), args.html)
    say(f"{count} pages; begin with {args.html / 'index.html'}")
    return 0


def whole() -> Book:
    """The reference with the laboratory's scenarios."""
    from callout import reference
    from callout.cli.scenes import scenes

    return reference.book(scenes())


def read_topics(words: Sequence[str], output: str = FORMATS[0]) -> str:
    """What is known of some topics: a page, or what applies to all of them; the list of all without any."""
    book = whole()
    topics = [find(book, word) for word in words]
    if output == "ndjson":
        return "".join(data(book, topics))
    from callout.cli.paper import Paper
    from callout.cli.streams import is_colored

    paper = Paper(columns(), is_colored())
    if not topics:
        return paper.index(book)
    if len(topics) == 1:
        return "\n".join(paper.page(book, page) for page in topics[0])
    names = " and ".join(dict.fromkeys(pages[0].name for pages in topics))
    return paper.narrowed(book, f"{names}: what applies to all", common(book, topics))


def columns() -> int:
    """The width of the terminal; 80 where there is none."""
    from callout.cli.streams import is_terminal

    return shutil.get_terminal_size((80, 24)).columns if is_terminal() else 80


def find(book: Book, word: str) -> list[Page]:
    """The pages of a topic. Raises UsageError, with the nearest topics."""
    pages = book.find(word)
    if not pages:
        near = " or ".join(book.nearest(word))
        remedy = f"did you mean {near}?" if near else "`callout explain` lists all topics"
        raise UsageError(f"there is no topic {word!r}", remedy)
    return pages


def common(book: Book, topics: Sequence[Sequence[Page]]) -> list[Outcome]:
    """The outcomes that have to do with every topic, whichever page of its name that is."""
    return [
        outcome
        for outcome in book.outcomes
        if all(any(book.applies(outcome, page) for page in pages) for pages in topics)
    ]


def data(book: Book, topics: Sequence[Sequence[Page]]) -> Iterator[str]:
    """The same as data, one JSON object a line."""
    from callout.reference.data import line, outcome_line

    if len(topics) > 1:
        yield from map(outcome_line, common(book, topics))
    else:
        yield from (line(book, page) for page in (topics[0] if topics else book.listed()))


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
