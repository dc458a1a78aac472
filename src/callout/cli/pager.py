"""Long text on a terminal goes through the user's pager, as with man(1) and git(1).

Rule of this file: only where both output and keyboard are a terminal, and only what does not fit on one screen.
``PAGER`` empty or ``cat`` means none.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from callout.cli.streams import is_terminal

LESS = "FRX"  # quit where it fits, keep colours, leave the text on the screen: what git(1) gives less(1)


def show(text: str) -> None:
    """Prints ``text``, through a pager where that helps. A pager that cannot be started is not missed."""
    if is_watched() and text.count("\n") >= shutil.get_terminal_size().lines and (command := pager()):
        try:
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, env={"LESS": LESS, **os.environ}, text=True, encoding="utf-8"
            ) as reader:
                feed(reader, text)
            return
        except OSError:
            pass  # as without a pager
    print(text, end="")


def is_watched() -> bool:
    """Whether somebody can read and turn the pages."""
    return is_terminal() and sys.stdin is not None and sys.stdin.isatty()


def pager() -> list[str]:
    """The pager as words; none where the user wants none or there is none."""
    wanted = os.environ.get("PAGER")
    if wanted is None:
        return ["less"] if shutil.which("less") else []
    command = shlex.split(wanted)
    return [] if command == ["cat"] else command


def feed(reader: subprocess.Popen[str], text: str) -> None:
    """Gives a pager the text, and waits until the user has read; Ctrl-C is the pager's."""
    try:
        reader.communicate(text)
    except KeyboardInterrupt:
        reader.wait()
