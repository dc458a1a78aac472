"""`callout why --probe`: what it was asked, and what it found, in lines.

Rule of this file: it checks what was asked before anything is sent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from callout.cli import options
from callout.cli.streams import opened, say, screen
from callout.errors import UsageError

if TYPE_CHECKING:
    from callout.probing import Probe
    from callout.story.target import Target

PATIENCE = 5.0  # seconds for each address


def run_probe(args: argparse.Namespace, target: Target | None) -> int:
    """Probes and prints; 0 where something was reached, else 1."""
    if args.source or args.ready_file or args.tier:
        raise UsageError(
            "--probe makes an attempt of its own: --from, --tier and --ready-file have no part in it"
        )
    if target is None or not (target.path or (target.host and target.port)):
        raise UsageError(
            "--probe needs HOST:PORT or unix:PATH", "for instance: callout why 10.0.0.7:5432 --probe"
        )
    space, pid = namespace(args.netns)
    from callout.probing import probe

    with opened(args.write) as out:
        found = probe(target.host, target.port, target.path, args.seconds or PATIENCE, space, pid)
        terminal, columns, color = screen(out)
        if args.output == "table" or (args.output is None and terminal):
            for line in lines(found, columns, color):
                print(line, file=out)
        else:
            print(json.dumps(as_object(found)), file=out)
    return 0 if found.established else 1


def namespace(text: str | None) -> tuple[str, int | None]:
    """Path of a network namespace, and the process it was named by. Raises UsageError."""
    from callout.host import netns

    if text is None:
        return netns.OWN, None
    if text.isascii() and text.isdigit():
        options.check_process([int(text)])
        return f"/proc/{text}/ns/net", int(text)
    named = text if "/" in text else f"{netns.NAMED}/{text}"
    if netns.inode(named) is None:
        raise UsageError(
            f"there is no network namespace {text}", "give a PID, or a name that `ip netns` lists"
        )
    return named, None


def lines(found: Probe, columns: int, color: bool) -> Iterator[str]:
    """What was found, for people."""
    from callout.story.render import story_lines, wrapped
    from callout.terminal import duration, escape, paint

    if found.names is not None:
        took = duration(int(found.names.took * 1e9))
        if found.names.error:
            yield paint(f"{escape(found.names.host)}: {escape(found.names.error)}", "loud", color)
            yield from wrapped(f"asked for {took}: {found.names.told}", columns, "  ")
        else:
            known = ", ".join(found.names.addresses)
            yield from wrapped(f"{found.names.host} → {known} after {took} ({found.names.told})", columns, "")
    for reach in found.reaches:
        yield ""
        yield from story_lines(reach.story, columns, color)
    for text in found.unseen:
        say(f"callout: not seen: {text}")


def as_object(found: Probe) -> dict[str, object]:
    """What was found, for programs."""
    from callout.story.render import story_row

    names = found.names
    return {
        "target": found.target,
        "established": found.established,
        "names": None
        if names is None
        else {
            "host": names.host,
            "addresses": list(names.addresses),
            "took": int(names.took * 1e9),
            "error": names.error,
            "from": names.told,
        },
        "attempts": [story_row(reach.story) for reach in found.reaches],
        "unseen": found.unseen,
    }
