"""A place in the text of an expression: blanks, tokens, quoted strings, and saying what is wrong there.

Tokens are taken by what the grammar wants next, not split beforehand: `10.0.0.0/8`, `-e` and `<` are words on
the right of an operator and something else elsewhere.
"""

from __future__ import annotations

import re
from typing import NoReturn

from callout.expression.problem import ExpressionError

DEPTH = 100  # nested parentheses and transformers; the same limit as Falco's parser

_BLANKS = re.compile(r"[ \t\b\r\n]*")
_QUOTED = re.compile(r"""(["'])(.*?)(?<!\\)\1""", re.DOTALL)  # only the one character before a quote counts
_ESCAPE = re.compile(r"((?:\\x[0-9a-fA-F]{2})+)|\\(.)", re.DOTALL)
_ESCAPES = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "\\": "\\",
    "/": "/",
    " ": "\\",  # as libsinsp's unescape_str does: the backslash stays and the blank goes
}


class Scanner:
    """Text and the place reached in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def blank(self) -> int:
        """Skip blanks; return the place after them."""
        if match := _BLANKS.match(self.text, self.at):
            self.at = match.end()
        return self.at

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Take what matches `pattern` right here, if it does."""
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def symbol(self, symbol: str) -> bool:
        """Take `symbol` after blanks, if it is there."""
        found = self.text.startswith(symbol, self.blank())
        self.at += len(symbol) if found else 0
        return found

    def expect(self, symbol: str, why: str) -> None:
        """Take `symbol` after blanks; it must be there."""
        if not self.symbol(symbol):
            self.fail(f"expected '{symbol}' {why}, {self.seen()}")

    def seen(self) -> str:
        """What stands here instead, in words."""
        rest = self.text[self.at :].split(maxsplit=1)
        return f"found '{rest[0][:40]}'" if rest else "but the expression ends here"

    def deeper(self) -> None:
        """Enter a parenthesis, which has just been taken."""
        self.depth += 1
        if self.depth > DEPTH:
            self.fail(f"nested more than {DEPTH} deep", self.at - 1)

    def quoted(self) -> str:
        """Take a quoted string and return its value; a quote stands here."""
        at = self.at
        match = self.take(_QUOTED)
        if not match:
            remedy = r"a quote after a backslash does not close; write \x5c for that backslash"
            self.fail("this quote is never closed", at, remedy)

        def plain(escape: re.Match[str]) -> str:
            if escape[1]:
                return bytes.fromhex(escape[1].replace("\\x", "")).decode("utf-8", "surrogateescape")
            if escape[2] == match[1]:
                return escape[2]
            if escape[2] not in _ESCAPES:
                place = at + 1 + escape.start()
                self.fail(f"unknown escape '{escape[0]}'", place, r"a backslash itself is \\")
            return _ESCAPES[escape[2]]

        return _ESCAPE.sub(plain, match[2])

    def fail(self, message: str, at: int | None = None, remedy: str = "") -> NoReturn:
        """Raise ExpressionError about the place `at`, or here."""
        raise ExpressionError(message, self.text, (self.at if at is None else at) + 1, remedy) from None
