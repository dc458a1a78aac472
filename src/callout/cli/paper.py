"""Pages of the reference on a terminal: Markdown, tables and outcomes as text of a given width.

Rule of this file: pure; a width comes in, lines go out. Prose is at most READABLE columns wide; a table that does not
fit is wrapped within its columns, and where even that does not fit each row becomes a block of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from callout.reference.book import Book
from callout.reference.page import KINDS, WHEN, Outcome, Page
from callout.reference.view import Links, Outcomes, Prose, Section, Table, view
from callout.terminal import width as columns

READABLE = 92
INDENT = 4
GAP = 2
NARROWEST = 9  # columns that a wrapped cell has at least
SGR = {"strong": "1", "code": "1", "em": "4", "dim": "2", "head": "1"}
MARKED = re.compile("[\ue000-\ue00f]")
MARKS = {style: chr(0xE000 + number) for number, style in enumerate(SGR)}
END = "\ue00f"


class Paper:
    """Writes pages; ``styled``: with escape sequences for a terminal."""

    def __init__(self, room: int = 80, styled: bool = False) -> None:
        self.room = max(room, 40)
        self.styled = styled
        self.markdown = MarkdownIt("commonmark").enable("table")

    def page(self, book: Book, page: Page) -> str:
        """One page, without a blank line at its end."""
        title = [mark(word, "head") for word in (page.title or page.name).split()]
        lines = self.wrapped([*title, "·", *KINDS[page.kind][1].split()], 0)
        if page.summary:
            lines += ["", *self.prose(sentence(page.summary), INDENT)]
        for section in view(book, page):
            lines += ["", *self.section(section)]
        return self.finish(lines)

    def narrowed(self, book: Book, title: str, outcomes: Sequence[Outcome]) -> str:
        """What applies to several topics at once."""
        lines = [mark(title, "head"), ""]
        if outcomes:
            lines += self.section(Section("", (Outcomes(tuple(outcomes)),)))
        else:
            lines += self.prose("The reference knows nothing that applies to all of these.", INDENT)
        return self.finish(lines)

    def index(self, book: Book) -> str:
        """All topics by kind; of scenarios only how many, since `callout lab list` has them."""
        lines = self.prose(
            "`callout explain TOPIC` explains any of these; two or more topics: what applies to all."
        )
        for kind, pages in book.kinds().items():
            lines += ["", mark(KINDS[kind][0], "head"), ""]
            if kind == "scenario":
                lines += self.prose(f"{len(pages)} of them: `callout lab list`", INDENT)
            else:
                lines += self.wrapped([page.name for page in pages], INDENT, "  ")
        return self.finish(lines)

    def finish(self, lines: Iterable[str]) -> str:
        """Lines as text, with escape sequences for the marks or without any."""
        text = "\n".join(line.rstrip() for line in lines) + "\n"
        if not self.styled:
            return MARKED.sub("", text)
        sgr = {MARKS[style]: f"\x1b[{code}m" for style, code in SGR.items()} | {END: "\x1b[0m"}
        return MARKED.sub(lambda match: sgr[match[0]], text)

    def section(self, section: Section) -> list[str]:
        """A heading and what stands below it."""
        lines = [mark(section.title, "head"), ""] if section.title else []
        for number, block in enumerate(section.blocks):
            if number:
                lines.append("")
            if isinstance(block, Prose):
                lines += self.prose(block.text, INDENT)
            elif isinstance(block, Table):
                lines += self.table(block, INDENT)
            elif isinstance(block, Outcomes):
                lines += self.outcomes(block.items)
            elif isinstance(block, Links):
                names = dict.fromkeys(f"{page.name}," for page in block.pages)
                lines += self.wrapped(list(names), INDENT, " ", last=-1)
        return lines

    def outcomes(self, items: Sequence[Outcome]) -> Iterator[str]:
        """Each outcome: what becomes of the attempt, then under which circumstances, and what to do."""
        for number, item in enumerate(items):
            if number:
                yield ""
            words = [mark(item.errno, "code"), mark(item.verdict, "" if item.errno else "code"), item.cause]
            words += [", ".join(item.families), ", ".join(item.types), WHEN[item.when]]
            yield from self.wrapped(" · ".join(filter(None, words)).split(" "), INDENT)
            yield from self.prose(sentence(item.says), INDENT + 4)
            if item.remedy:
                yield from self.prose(f"*To do:* {sentence(item.remedy)}", INDENT + 4)
            shown = "shown by " + ", ".join(item.scenarios)
            yield from self.wrapped([mark(word, "dim") for word in shown.split()], INDENT + 4)

    def prose(self, text: str, indent: int = 0) -> list[str]:
        """Markdown, wrapped."""
        lines: list[str] = []
        for block in self._blocks(self.markdown.parse(text), indent):
            if lines:
                lines.append("")
            lines += block
        return lines

    def _blocks(self, tokens: Sequence[Token], indent: int) -> Iterator[list[str]]:
        at = 0
        while at < len(tokens):
            token = tokens[at]
            end = closing(tokens, at)
            if token.type == "paragraph_open":
                yield self.wrapped(words(tokens[at + 1]), indent)
            elif token.type in ("fence", "code_block"):
                yield [" " * (indent + 2) + line for line in token.content.rstrip("\n").split("\n")]
            elif token.type == "table_open":
                yield self.table(read_table(tokens[at : end + 1]), indent)
            elif token.type in ("bullet_list_open", "ordered_list_open"):
                yield list(self._items(tokens[at + 1 : end], indent, token.type[0] == "o"))
            elif token.type.endswith("_open"):
                yield from self._blocks(tokens[at + 1 : end], indent)
            at = end + 1

    def _items(self, tokens: Sequence[Token], indent: int, numbered: bool) -> Iterator[str]:
        at = count = 0
        while at < len(tokens):
            end = closing(tokens, at)
            count += 1
            bullet = f"{count}. " if numbered else "- "
            inner = [
                line for block in self._blocks(tokens[at + 1 : end], indent + len(bullet)) for line in block
            ]
            yield " " * indent + bullet + inner[0].lstrip(" ")
            yield from inner[1:]
            at = end + 1

    def wrapped(
        self, words: Sequence[str], indent: int, between: str = " ", last: int | None = None
    ) -> list[str]:
        """Words in lines; ``last`` cuts the end of the last word, such as its comma."""
        words = [*words[:-1], words[-1][:last]] if words else []
        return wrap(words, min(self.room, READABLE), " " * indent, between)

    def table(self, table: Table, indent: int) -> list[str]:
        """Columns side by side where they fit, if need be wrapped; else a block for each row."""
        cells = [[self._cell(cell) for cell in row] for row in table.rows]
        head = [[mark(cell, "dim")] for cell in table.head]
        rows = [head, *cells] if table.head else cells
        room = self.room - indent - GAP * (len(rows[0]) - 1)
        natural = [max(columns_of(" ".join(row[i])) for row in rows) for i in range(len(rows[0]))]
        least = [
            min(
                natural[i], max(NARROWEST, max(columns_of(word) for row in rows for word in (row[i] or [""])))
            )
            for i in range(len(rows[0]))
        ]
        if sum(least) > room or len(table.head) > 8:
            return list(self._records(table.head, cells, indent))
        sizes = shares(natural, least, room)
        return [line for row in rows for line in side_by_side(row, sizes, indent)]

    def _cell(self, text: str) -> list[str]:
        inline = self.markdown.parseInline(text)
        return words(inline[0]) if text else []

    def _records(
        self, head: Sequence[str], rows: Iterable[Sequence[list[str]]], indent: int
    ) -> Iterator[str]:
        for number, (first, *rest) in enumerate(rows):
            if number:
                yield ""
            yield from self.wrapped([mark(word, "code") for word in first], indent)
            names = [[mark(f"{name}:", "dim")] for name in head[1:]] or [[] for _ in rest]
            pairs = [[*name, *cell] for name, cell in zip(names, rest, strict=True) if cell]
            if all(len(pair) == 2 for pair in pairs):
                short = ["\u00a0".join(pair) for pair in pairs]
                yield from (line.replace("\u00a0", " ") for line in self.wrapped(short, indent + 4, "  "))
            else:
                for pair in pairs:
                    yield from self.wrapped(pair, indent + 4)


def sentence(text: str) -> str:
    """With a full stop, if it has none, and a capital where it begins with a plain word."""
    text = text[0].upper() + text[1:] if re.match(r"[a-z]+[ ,]", text) else text
    return text if text.endswith((".", "?", "!", ":")) else text + "."


def mark(text: str, style: str) -> str:
    """Text in a style, as private characters that take no room."""
    return f"{MARKS[style]}{text}{END}" if text and style else text


def columns_of(text: str) -> int:
    """Columns that text takes, marks left out."""
    return columns(MARKED.sub("", text))


def words(inline: Token) -> list[str]:
    """The words of a piece of Markdown, each with its own marks, so that lines can break between any two."""
    text, styles = "", [""]
    for token in inline.children or ():
        if token.type in ("strong_open", "em_open"):
            styles.append(token.type.removesuffix("_open"))
        elif token.type in ("strong_close", "em_close"):
            styles.pop()
        elif token.type in ("softbreak", "hardbreak"):
            text += " "
        else:
            style = "code" if token.type == "code_inline" else styles[-1]
            text += " ".join(mark(word, style) for word in token.content.split(" "))
    return text.split()


def wrap(words: Iterable[str], room: int, margin: str, between: str = " ") -> list[str]:
    """Words in lines of at most ``room`` columns; a longer word has a line of its own."""
    lines, line, used = [], "", 0
    for word in words:
        size = columns_of(word)
        if line and len(margin) + used + len(between) + size > room:
            lines.append(margin + line)
            line, used = "", 0
        line, used = (line + between + word, used + len(between) + size) if line else (word, size)
    return [*lines, margin + line] if line else lines


def shares(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Width of each column: what it needs, or its part of what the narrow ones leave."""
    sizes = list(least)
    spare = room - sum(sizes)
    while spare > 0 and (wanting := [i for i, size in enumerate(sizes) if size < natural[i]]):
        for i in wanting:
            if spare:
                sizes[i] += 1
                spare -= 1
    return sizes


def side_by_side(cells: Sequence[list[str]], sizes: Sequence[int], indent: int) -> Iterator[str]:
    """One row: its cells wrapped within their columns."""
    stacks = [wrap(cell, size, "") or [""] for cell, size in zip(cells, sizes, strict=True)]
    for number in range(max(len(stack) for stack in stacks)):
        line = " " * indent
        for stack, size in zip(stacks, sizes, strict=True):
            text = stack[number] if number < len(stack) else ""
            line += text + " " * (size - columns_of(text) + GAP)
        yield line.rstrip()


def closing(tokens: Sequence[Token], at: int) -> int:
    """Where what opens at ``at`` ends; itself for what does not open anything."""
    depth = 0
    for end in range(at, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return end
    return at


def read_table(tokens: Sequence[Token]) -> Table:
    """A Markdown table; the words of its cells are parsed again."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token.content)
    return Table(tuple(rows[0]), tuple(tuple(row) for row in rows[1:]))
