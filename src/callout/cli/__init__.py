"""The command line: one module per verb, each with ``prepare(parser)`` and ``run(args) -> int``.

Rule of this file: it parses, dispatches, and turns errors into one clear line and an exit status. Verbs
import what is heavy when they run, so that ``callout --help`` starts at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from callout import __version__
from callout.cli import doctor, explain, trace
from callout.errors import CalloutError, UsageError

COMMANDS = (trace, explain, doctor)


class Parser(argparse.ArgumentParser):
    """argparse with our exit status and one-line errors that name the remedy."""

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
        args = parser().parse_args(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except CalloutError as error:
        print(f"callout: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # the reader went away (`| head`): nobody is left to tell, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
