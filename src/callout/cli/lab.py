"""Makes each documented behaviour happen for real, in a private network namespace, and shows it.

`callout lab list [WORD...]` lists the scenarios that have all the words in their line. `callout lab run NAME...` runs
some (names may be patterns such as 'tcp_*'; `run` may be left out), `callout lab run --all` all: each with the call
in C and in Python, the line that strace shows, callout's own row, and what it means. `callout lab check [NAME...]`
compares the row that each scenario claims with the one that was seen; exit status 1 if they differ.

As root each attempt is traced. Without, user namespaces are enough to make the attempts, and what became of them is
told by the process that made them.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from callout.cli.streams import is_colored, is_terminal, say
from callout.errors import NotPermittedError, UsageError

if TYPE_CHECKING:
    from callout.cli.lab_screen import Screen
    from callout.lab import Scenario

FORMATS = ("table", "ndjson")
VERBS = ("list", "run", "check")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.set_defaults(anywhere=True)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="list|run|check|NAME",
        help="what to do, and names of scenarios (patterns such as 'tcp_*' too); for list, words to look for",
    )
    parser.add_argument("--all", action="store_true", help="run all scenarios")
    parser.add_argument(
        "--pause", action="store_true", help="for run: step by step, going on when Enter is pressed"
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)} (table on a terminal, ndjson in a pipe)",
    )
    parser.add_argument("--tier", metavar="TIER", help="trampoline, kprobe, tracepoint (default: the best)")


def run(args: argparse.Namespace) -> int:
    """Lists, runs or checks."""
    verb, words = (
        (args.words[0], args.words[1:]) if args.words[:1] and args.words[0] in VERBS else ("", args.words)
    )
    verb = verb or ("run" if words or args.all else "list")
    if args.pause and verb != "run":
        raise UsageError(f"--pause goes with run, not with {verb}")
    if args.all and verb == "list":
        raise UsageError("--all goes with run and check", "`callout lab list` lists all")
    if args.all and words:
        raise UsageError("give names or --all, not both")
    lines = (args.output or ("table" if is_terminal() else "ndjson")) == "ndjson"
    if verb == "list":
        return listed(words, lines)
    if verb == "run" and not words and not args.all:
        raise UsageError("which scenarios?", "give names, or --all; `callout lab list` lists them")
    chosen = matching(words)
    before = signal.signal(signal.SIGTERM, ended)
    try:
        if args.pause:
            return stepped(chosen, args.tier, lines)
        return checked(chosen, args.tier, lines) if verb == "check" else shown(chosen, args.tier, lines)
    finally:
        signal.signal(signal.SIGTERM, before)


def ended(number: int, frame: object) -> None:
    """Ends in good order, so that the laboratory's process and cgroup go too."""
    sys.exit(128 + number)


def matching(words: Sequence[str]) -> tuple[Scenario, ...]:
    """Scenarios by names or patterns, in their order; none: all. Raises UsageError for one that finds nothing."""
    from callout.lab import SCENARIOS, named

    names = [scenario.name for scenario in SCENARIOS]
    found: set[str] = set()
    for word in words:
        some = fnmatch.filter(names, word)
        if not some:
            near = difflib.get_close_matches(word, names, 3, 0.5)
            remedy = f"did you mean {' or '.join(near)}?" if near else "`callout lab list` lists them"
            raise UsageError(f"there is no scenario {word!r}", remedy)
        found.update(some)
    return named(sorted(found))


def screen() -> Screen:
    """Standard output as this terminal, if it is one, takes it."""
    from callout.cli.lab_screen import Screen

    terminal = is_terminal()
    width = shutil.get_terminal_size((80, 24)).columns if terminal else 200
    color = terminal and is_colored()
    return Screen(width, color)


def listed(words: Sequence[str], lines: bool) -> int:
    """Prints the scenarios that have all the words."""
    from callout.cli import lab_data

    rows = [row for row in lab_data.rows() if lab_data.has(row, words)]
    if not rows:
        raise UsageError(
            f"no scenario has {' and '.join(map(repr, words))}", "`callout lab list` lists them all"
        )
    sys.stdout.write("".join(map(lab_data.to_line, rows)) if lines else screen().listing(rows))
    return 0


def untraced() -> str:
    """Why nothing can be traced here; empty where it can be tried."""
    from callout.capture import privileges

    try:
        privileges.check()
    except NotPermittedError as error:
        return error.message
    return ""


def without_rows(reason: str) -> None:
    """Says once that there are no rows of callout's own, and why."""
    say(f"callout: not traced: {reason}; what happened is told by the process that made the attempts")


def shown(scenarios: Sequence[Scenario], tier: str | None, lines: bool) -> int:
    """Runs scenarios and prints what happened, in their order."""
    from callout import laboratory
    from callout.cli import lab_data

    done = laboratory.run(scenarios, tier, untraced())
    if done.untraced:
        without_rows(done.untraced)
    for scenario in scenarios:
        told = lab_data.told(scenario, done)
        sys.stdout.write(lab_data.to_line(told) if lines else screen().page(scenario, done))
    return 0


def checked(scenarios: Sequence[Scenario], tier: str | None, lines: bool) -> int:
    """Runs scenarios and prints where a row is not as claimed. Returns 1 if one is not."""
    from callout import laboratory
    from callout.cli import lab_data

    done = laboratory.run(scenarios, tier, untraced())
    if done.untraced:
        without_rows(done.untraced)
    found = [lab_data.compared(scenario, done) for scenario in scenarios]
    sys.stdout.write("".join(map(lab_data.to_line, found)) if lines else screen().differences(found, done))
    return 1 if any(one["result"] in lab_data.BROKEN for one in found) else 0


def stepped(scenarios: Sequence[Scenario], tier: str | None, lines: bool) -> int:
    """Goes through scenarios step by step."""
    from callout.cli.lab_steps import walk

    if lines:
        raise UsageError(
            "--pause is for people", "leave -o ndjson away, and let standard output be a terminal"
        )
    if not sys.stdin.isatty():
        raise UsageError("--pause waits for Enter, but standard input is no terminal", "leave --pause away")
    return walk(scenarios, tier, untraced(), screen())
