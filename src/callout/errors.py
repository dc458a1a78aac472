"""The errors callout raises on purpose.

Rule of this file: a class exists only where a caller acts differently, and the difference is its exit status.
Every message says what happened; ``remedy`` says what to do next.
"""

from __future__ import annotations


class CalloutError(Exception):
    """Something callout cannot do. ``exit_status`` is that of the command; ``remedy`` may be empty."""

    exit_status = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(CalloutError):
    """What was asked for makes no sense: an unknown option, a filter that does not parse. Exit status 2."""

    exit_status = 2


class NotPermittedError(CalloutError):
    """This host or user does not allow it; the remedy names the missing right or feature. Exit status 3."""

    exit_status = 3


class InputError(CalloutError):
    """A file cannot be used: message names file, line and column as far as they are known. Exit status 4."""

    exit_status = 4
