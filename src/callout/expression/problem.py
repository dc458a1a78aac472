"""What is wrong with an expression: one error that points at the place and says what to write instead."""

from __future__ import annotations

_WINDOW = 72  # characters shown of a long line: conditions of rules are often one line of a thousand


class ExpressionError(ValueError):
    """An expression cannot be used as written.

    `message` says what is wrong; `text` is the whole expression; `column` is the place, counted in characters
    from 1 over the whole text (line breaks count as one); `remedy` says what to write instead, or is empty.
    """

    def __init__(self, message: str, text: str, column: int, remedy: str = "") -> None:
        """Keep the four parts; all of them are `args`, so the error survives pickling."""
        super().__init__(message, text, column, remedy)
        self.message, self.text, self.column, self.remedy = message, text, column, remedy

    def __str__(self) -> str:
        """Render message, the line with a caret under the place, and the remedy, on separate lines."""
        start = self.text.rfind("\n", 0, self.column - 1) + 1
        line = self.text[start:].split("\n", 1)[0]
        at = self.column - 1 - start
        shift = max(0, at - _WINDOW // 2) if len(line) > _WINDOW else 0
        shown = line[shift : shift + _WINDOW]
        before, after = "…" if shift else "", "…" if shift + _WINDOW < len(line) else ""
        shown = before + "".join(c if c.isprintable() else " " for c in shown) + after
        where = f"column {self.column}"
        if "\n" in self.text:
            where = f"line {self.text.count(chr(10), 0, start) + 1}, column {at + 1}"
        lines = [f"{self.message} ({where})", f"  {shown}", "  " + " " * (at - shift + len(before)) + "^"]
        return "\n".join([*lines, self.remedy] if self.remedy else lines)
