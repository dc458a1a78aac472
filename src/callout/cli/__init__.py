"""The command line: one module per verb, each with ``prepare(parser)`` and ``run(args) -> int``.

Rule of this file: it parses, dispatches, and turns errors into one clear line and an exit status. Verbs
import what is heavy when they run, so that ``callout --help`` starts at once.
"""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from callout import __version__
from callout.cli import doctor, explain, lab, trace, why
from callout.cli.streams import discard, flush_output, say, unwritten
from callout.errors import CalloutError, UsageError

COMMANDS = (trace, why, explain, lab, doctor)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what only writing can lead to


class Parser(argparse.ArgumentParser):
    """argparse with our exit status, one-line errors that name the remedy, and numbers below 0 as values."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, which takes the `-5` of `--for -5` for an option once there is one like `-4`."""
        words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(self.gathered(self.joined(words)), namespace)

    def gathered(self, words: list[str]) -> list[str]:
        """The words with those that are no options first, where a verb says that it takes them anywhere: argparse
        takes only the first ones for an argument of any number.
        """
        if not self.get_default("anywhere"):
            return words
        plain: list[str] = []
        options: list[str] = []
        takes = {name for action in self._actions if action.nargs is None for name in action.option_strings}
        left = iter(words)
        for word in left:
            if word == "--":
                plain += left
            elif word.startswith("-") and word != "-":
                options.append(word)
                options += (
                    [value for value in [next(left, None)] if value is not None] if word in takes else []
                )
            else:
                plain.append(word)
        return [*options, "--", *plain]

    def joined(self, words: list[str]) -> list[str]:
        """The words, with a number below 0 joined to the option before it where that one reads numbers."""
        joined: list[str] = []
        for i, word in enumerate(words):
            if word == "--":
                return joined + words[i:]
            if joined and re.match(r"-\.?[0-9]", word) and self._reads_numbers(joined[-1]):
                joined[-1] += f"={word}" if joined[-1].startswith("--") else word
            else:
                joined.append(word)
        return joined

    def _reads_numbers(self, word: str) -> bool:
        """Whether a word is an option, also a shortened one, whose next word is its value, read by a type."""
        return any(
            option == word or (len(word) > 2 and word.startswith("--") and option.startswith(word))
            for action in self._actions
            if action.type is not None and action.nargs is None
            for option in action.option_strings
        )

    def error(self, message: str) -> NoReturn:
        """Raises instead of exiting, so that all errors take one way out."""
        raise UsageError(message, f"`{self.prog} --help` lists what there is")


def parser() -> argparse.ArgumentParser:
    """The whole command line; docs are generated from it."""
    top = Parser(
        prog="callout", description="Every call out of this host, called out: see and explain connect(2)."
    )
    top.add_argument("--version", action="version", version=f"callout {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        text = (command.__doc__ or "").strip().split("\n\n")
        verb = verbs.add_parser(
            name,
            help=text[0].rstrip("."),
            description="\n\n".join(text),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.prepare(verb)
        verb.set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit status; never a traceback for what a user can cause."""
    try:
        try:
            return run(arguments)
        except OSError as error:
            # a verb that prints; those that write rows name the place themselves
            if error.errno in FULL and error.filename is None:
                raise unwritten(error) from error
            raise
    except CalloutError as error:
        say(f"callout: {error}")
        if is_stuck():
            discard(1)
        return error.exit_status
    except BrokenPipeError:
        discard(1)  # the reader went away (`| head`): nobody is left to tell, also not at exit
        return 0
    except KeyboardInterrupt:
        if sys.stdout is not None:
            discard(1)  # what is still buffered may be what could not be written
        return 130


def run(arguments: Sequence[str] | None) -> int:
    """Parses, runs the verb, and sees that all of its output is written."""
    try:
        args = parser().parse_args(arguments)
        status: int = args.run(args)
    except SystemExit as done:  # --help and --version
        status = int(done.code or 0)
    flush_output()
    return status


def is_stuck() -> bool:
    """Whether standard output holds what cannot be written: at exit Python would complain about it."""
    try:
        flush_output()
    except (CalloutError, BrokenPipeError):
        return True
    return False
