"""Standard output and standard error, whatever became of them: closed, full, or nobody reads them any more.

Rule of this file: a message that cannot be told never stops what is being done.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from callout.errors import CalloutError, UsageError


def say(text: str) -> None:
    """Prints a line to standard error; nowhere where that is closed, full or gone."""
    if sys.stderr is None:  # print() would take standard output instead
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(2)


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def is_colored() -> bool:
    """Whether standard output is a terminal whose user wants colour (https://no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def screen(out: TextIO) -> tuple[bool, int, bool]:
    """Whether what goes there goes to a terminal, its columns (80 where it does not), and whether in colour."""
    terminal = out is sys.stdout and is_terminal()
    return terminal, shutil.get_terminal_size((80, 24)).columns if terminal else 80, terminal and is_colored()


def opened(path: str | None) -> AbstractContextManager[TextIO]:
    """Where a result goes (None and `-`: standard output), before anything starts. Raises UsageError."""
    if path in (None, "-"):
        if sys.stdout is None:
            raise UsageError("standard output is closed", "use -w FILE")
        return nullcontext(sys.stdout)
    try:
        return open(path, "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "give another place") from error


def flush_output() -> None:
    """Writes what standard output still holds. Raises BrokenPipeError; CalloutError for other failures."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> CalloutError:
    """That standard output could not be written."""
    return CalloutError(f"cannot write standard output: {error.strerror}")


def discard(descriptor: int) -> None:
    """Makes a descriptor one of /dev/null: what is still buffered for it goes nowhere, and closing it can
    neither fail nor wait.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
