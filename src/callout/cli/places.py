"""Files that a run makes beside its rows: checked before it starts, made in one step.

Rule of this file: a run that does not start touches nothing; a file is there as a whole or not at all; what
stands in the way of the run's own files is found out first.
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from callout.errors import CalloutError, UsageError

if TYPE_CHECKING:
    from callout.capture.files import FileSource

STDOUT = 1
ELSEWHERE = "give a file in a directory that you may write to"


def check_places(args: argparse.Namespace, source: FileSource | None = None) -> None:
    """Checks the files that this run will make, before any of them is touched; removes an old ready file, so
    that nobody takes it for this run's. Raises UsageError where one cannot be made or would replace another.
    """
    places: dict[str, str] = {}
    for option, path in (("-w", args.write), ("--summary", args.summary), ("--ready-file", args.ready_file)):
        stdout = option == "-w" and path in (None, "-") and sys.stdout is not None
        place = STDOUT if stdout else path
        if source is not None and place is not None and source.is_file(place):
            what = "standard output" if stdout else f"{option} {path}"
            raise UsageError(f"{what} is the very file that --from reads", "write to another, then rename it")
        if path is None or stdout:
            continue
        real = os.path.realpath(path)
        if real in places and not is_special(path):
            raise UsageError(f"{option} {path} is also the file of {places[real]}", "give each its own file")
        places[real] = option
    for path in (args.summary, args.ready_file):
        if path is not None:
            _try(path)
    if args.ready_file is not None and not is_special(args.ready_file):
        with suppress(FileNotFoundError):
            os.unlink(args.ready_file)


def _try(path: str) -> None:
    """Raises UsageError where ``create`` could not make a file; leaves nothing behind."""
    try:
        if is_special(path):
            if not os.access(path, os.W_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            return
        if os.path.isdir(path):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary = _temporary(path)
        with open(temporary, "xb"):
            os.unlink(temporary)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", ELSEWHERE) from error


def create(path: str, text: str = "") -> None:
    """Creates a small file (ready file, summary) in one step, so that a reader never sees half of it.

    A pipe or device is written to, never replaced; so is /dev/stderr. Raises CalloutError.
    """
    try:
        if is_special(path):
            with open_special(path) as stream:
                stream.write(text.encode())
            return
        temporary = _temporary(path)
        file = open(temporary, "x", encoding="utf-8")  # noqa: SIM115 - one that is not ours must stay
        try:
            with file:
                file.write(text)
            os.replace(temporary, os.path.realpath(path))
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CalloutError(f"cannot write {path}: {error.strerror}") from error


def _temporary(path: str) -> str:
    """Beside the file that will be replaced, also where ``path`` is a symbolic link to it."""
    return f"{os.path.realpath(path)}.{os.getpid()}"


def is_special(path: str) -> bool:
    """A pipe, socket or device, or a name of something that is open already."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _descriptor(path) is not None


def open_special(path: str) -> BinaryIO:
    """Opens it for writing where it stands. Opening /dev/stderr again would begin at 0 (proc_pid_fd(5))."""
    descriptor = _descriptor(path)
    return open(path if descriptor is None else os.dup(descriptor), "wb")


def _descriptor(path: str) -> int | None:
    """The descriptor of ours that a path such as /dev/stderr or /dev/fd/3 stands for."""
    while os.path.realpath(os.path.dirname(path)) != f"/proc/{os.getpid()}/fd":
        if not os.path.islink(path):
            return None
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return int(os.path.basename(path))
