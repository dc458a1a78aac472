"""The root cause of failed attempts, in sentences, with the evidence and what to do next.

Without TARGET: the failed attempts of this host, grouped by cause and destination, worst first; live until Ctrl-C or
--for, or those of a file. With TARGET: the story of its latest failed attempt, step by step; live, it waits for one.

    callout why --for 30s                    what fails on this host within half a minute
    callout why --from trace.ndjson          what failed in a recording (needs no privileges)
    callout why nginx --groups --for 1m      all failures of nginx within a minute
    callout why nginx                        the next failure of processes with that name
    callout why 10.0.0.7:5432                the next failure of whoever calls that address and port
    callout why unix:/run/docker.sock        the same for a socket file
    callout why 1234 --from trace.parquet    the latest failure of process 1234 in a recording
    callout why db.example:5432 --probe      one attempt made now, layer by layer (sends a SYN; needs no privileges)
    callout why 10.0.0.7:80 --probe -p 1234  the same from the network namespace of process 1234

TARGET is a PID, a process name, HOST:PORT, HOST, unix:PATH, or the connect.id of an attempt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TextIO

from callout.cli import options
from callout.cli.streams import opened, say, screen
from callout.errors import CalloutError, NotPermittedError, UsageError

if TYPE_CHECKING:
    from callout.capture.steps import Steps
    from callout.pipeline import Source, Stop
    from callout.story.group import Group, Groups
    from callout.story.model import Story
    from callout.story.target import Target

WITHOUT = "without privileges: --from FILE explains what somebody else recorded (callout trace -w FILE)"

LOOKS = 64  # groups of a run that the host is asked about: each costs some tens of milliseconds


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("target", nargs="?", metavar="TARGET", help="whose failure: see above")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="attempts from a file (ndjson, arrow, parquet; - for standard input) instead of live ones",
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        type=options.duration,
        metavar="DURATION",
        help="watch that long: 10, 500ms, 2m, 1h (default: until Ctrl-C; with TARGET until it has failed); "
        "with --probe: wait that long for each address (default: 5s)",
    )
    parser.add_argument(
        "-g",
        "--groups",
        action="store_true",
        help="with TARGET: all its causes, grouped and counted, instead of one story",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="make one real attempt to HOST:PORT or unix:PATH (only then anything is sent) and look at each layer: "
        "name, route, rules, neighbour, answer, listener, policies; exit status 1 where nothing was reached",
    )
    parser.add_argument(
        "-p",
        "--netns",
        metavar="PID",
        help="with --probe: from the network namespace of this process (or the one at this path), with its policies, "
        "its files for names, and a socket file as it sees it",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "ndjson"),
        help="table (default on a terminal) or ndjson (default in a pipe)",
    )
    parser.add_argument("-w", "--write", metavar="FILE", help="to this file instead of standard output")
    parser.add_argument(
        "--ready-file", metavar="PATH", help="created once everything is attached, for scripts"
    )
    parser.add_argument(
        "--tier",
        choices=("trampoline", "kprobe", "tracepoint"),
        help="use this tier of programs instead of the best that loads",
    )


def run(args: argparse.Namespace) -> int:
    """Watches or reads, and tells."""
    from callout.story import Groups
    from callout.story.target import parse

    target = None if args.target is None else parse(args.target)
    if args.probe:
        from callout.cli.probing import run_probe

        return run_probe(args, target)
    if args.netns:
        raise UsageError("--netns goes with --probe", "live attempts are seen in all network namespaces")
    target = target and resolved(target)
    if args.source and (args.seconds or args.ready_file or args.tier):
        raise UsageError("--from reads a file: --for, --tier and --ready-file are for live attempts")
    if target and target.pid is not None and not args.source:
        options.check_process([target.pid])
    groups = Groups()
    with ExitStack() as stack:
        out = stack.enter_context(opened(args.write))
        watch(args, stack, target, groups)
        lines = told(args, target, groups, out)
        for line in lines:
            print(line, file=out)
    return 0


def watch(args: argparse.Namespace, stack: ExitStack, target: Target | None, groups: Groups) -> None:
    """Gathers failed attempts until there is a reason to stop."""
    from callout import pipeline
    from callout.capture.steps import Steps
    from callout.summary import Summary

    stop = pipeline.Stop()
    summary = Summary()
    steps = None if args.source else Steps()
    source = opened_source(args, stack, target, stop, steps)
    stop.on_signals()
    if args.seconds:
        stop.after(args.seconds)
    if target is not None and not args.source and not args.groups:
        stop.when(lambda: groups.failed > 0)
    looked = 0
    for batch in pipeline.flow(source, summary, stop):
        if len(batch):
            new = groups.add(row for row in batch.rows() if target is None or target.matches(row))
            if not args.source:
                for group in new[: max(0, LOOKS - looked)]:
                    look(group)
                looked += len(new)
    if steps is not None:
        for group in groups.worst_first():
            group.packets = steps.packets(group.latest)
    for line in summary.lines()[1:] if summary.lost else ():
        say(line)


def look(group: Group) -> None:
    """Asks this host about the first attempt of a group, while its processes and namespaces are still there."""
    from callout.host import looks, patience_of, prefix_of

    group.looks = looks(group.latest)
    group.schedule = patience_of(group.latest)
    group.prefix = prefix_of(group.latest)


def opened_source(
    args: argparse.Namespace, stack: ExitStack, target: Target | None, stop: Stop, steps: Steps | None
) -> Source:
    """A recording, or this host."""
    if args.source:
        from callout.capture.files import open_file

        return stack.enter_context(open_file(args.source, stop.now))
    from callout.capture import privileges
    from callout.capture.channels import STEP
    from callout.capture.kernel import KernelSource
    from callout.cli.places import create
    from callout.narrowing import Narrowing

    narrowing = Narrowing(outcome="failure") if target is None else target.narrowing()
    try:
        privileges.check()
    except NotPermittedError as error:
        raise NotPermittedError(error.message, f"{error.remedy}\n  {WITHOUT}") from error
    source = stack.enter_context(
        KernelSource(narrowing, args.tier, urgent=True, listeners={STEP: steps.add} if steps else None)
    )
    if args.ready_file:
        create(args.ready_file)
    if sys.stderr is not None and sys.stderr.isatty():
        whose = "failed attempts" if target is None else f"a failed attempt: {target.text}"
        ends = "" if args.seconds else " (Ctrl-C ends it)"
        say(f"callout: watching for {whose}{ends}")
    return source


def told(args: argparse.Namespace, target: Target | None, groups: Groups, out: TextIO) -> Iterator[str]:
    """The lines of the result. Raises CalloutError where a target has no failed attempt."""
    from callout.octets import encoder
    from callout.story import render

    to_json = encoder(blanks=True)
    terminal, columns, color = screen(out)
    table = args.output == "table" or (args.output is None and terminal)
    found = groups.worst_first()
    if target is None or args.groups:
        if not table:
            yield from (to_json(render.group_row(group)) for group in found)
            return
        if not found:
            say(f"callout: no attempt failed ({groups.others:,} did not, {groups.habits:,} client habits)")
        yield from render.group_lines(found, columns, color)
        return
    if not found:
        raise nothing(target, groups)
    story = latest(found)
    if table:
        yield from render.story_lines(story, columns, color)
        rest = groups.failed - 1
        if rest:
            yield f"\n  {rest:,} more like it or by the same: `callout why` without a target lists all causes"
    else:
        yield to_json(render.story_row(story))


def latest(groups: Iterable[Any]) -> Story:
    """The story of the latest attempt of all groups."""
    group = max(groups, key=lambda group: group.last or 0)
    story: Story = group.story()
    return story


def nothing(target: Target, groups: Groups) -> CalloutError:
    """Why there is no story."""
    if groups.others:
        return CalloutError(
            f"no attempt of {target.text} failed: {groups.others:,} succeeded or are still under way"
        )
    return CalloutError(
        f"no failed attempt of {target.text} was seen",
        "make it fail while this runs, or record it: callout trace -w FILE, then callout why --from FILE",
    )


def resolved(target: Target) -> Target:
    """A target with the addresses of its host's name. A name that cannot be resolved may still be in the rows."""
    import socket
    from dataclasses import replace

    if target.host is None or target.addresses:
        return target
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError:
        return target
    return replace(target, addresses=frozenset(str(entry[4][0]) for entry in found))
