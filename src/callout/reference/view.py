"""A page as its reader gets it: sections of prose, tables and outcomes, those from tables and other pages included.

Rule of this file: what stands where, once for all faces; how it looks is theirs. A line ``{{ NAME }}`` alone in a
page's text stands for a table: one of ``tables.TABLES``, or ``arguments ENTRY``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from callout import cause, origin
from callout.reference import tables
from callout.reference.book import Book, Scene
from callout.reference.page import Outcome, Page
from callout.verdict import VERDICTS

HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
DIRECTIVE = re.compile(r"^\{\{ (.+) \}\}$", re.MULTILINE)
TAGS = {
    "K": "read from kernel memory",
    "U": "read from user memory",
    "TOCTOU": "can change between this reading and its use",
    "OPT": "not always there",
}
NAMING = ("numbers", "families")  # tables whose first column names pages
SEEN = {"": "", "call": "where the call was seen", "socket": "where only its socket was seen"}


@dataclass(frozen=True)
class Prose:
    """Markdown without headings."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells are Markdown within a line."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Outcomes:
    """Statements of behaviour."""

    items: tuple[Outcome, ...]


@dataclass(frozen=True)
class Links:
    """Names of other pages, by kind and name."""

    pages: tuple[Page, ...]


Block = Prose | Table | Outcomes | Links


@dataclass(frozen=True)
class Section:
    """``title`` is empty for what comes before the first heading."""

    title: str
    blocks: tuple[Block, ...]


def view(book: Book, page: Page) -> list[Section]:
    """Everything that a reader of the page gets, in order."""
    return [section for section in _sections(book, page) if section.blocks]


def _sections(book: Book, page: Page) -> Iterator[Section]:
    if page.facts:
        yield Section("", (Table((), tuple((key, value) for key, value in page.facts.items())),))
    yield from written(page.body)
    yield from of_kind(book, page)
    if stated := book.says(page):
        yield Section("What happens", (Outcomes(tuple(stated)),))
    if page.misstated:
        rows = tuple((entry.said, entry.truth) for entry in page.misstated)
        yield Section("Often misstated", (Table(("one reads", "it is so"), rows),))
    yield Section("Scenarios", links(book, (f"scenario/{name}" for name in page.scenarios)))
    yield Section("See also", links(book, see(book, page)))
    if page.sources:
        yield Section("Sources", (Prose("; ".join(page.sources)),))


def see(book: Book, page: Page) -> Iterator[str]:
    """Places of the pages to go on with: those named, and for a scenario those that refer to it."""
    for name in page.see:
        yield from (found.place for found in book.find(name) if found.place != page.place)
    if page.kind == "scenario":
        yield from (other.place for other in book.mentions(page.name))


def links(book: Book, places: Iterable[str]) -> tuple[Links, ...]:
    """The pages at some places; nothing for none. Those that do not exist are the tests' business."""
    found = tuple(book.pages[place] for place in dict.fromkeys(places) if place in book.pages)
    return (Links(found),) if found else ()


def written(body: str) -> Iterator[Section]:
    """The sections of a page's text."""
    lead, *rest = HEADING.split(body)
    for title, text in [("", lead), *zip(rest[::2], rest[1::2], strict=True)]:
        yield Section(title, tuple(blocks(text)))


def blocks(text: str) -> Iterator[Block]:
    """Prose, and the tables that a text asks for."""
    for number, part in enumerate(DIRECTIVE.split(text)):
        if number % 2:
            yield from directive(part)
        elif part.strip():
            yield Prose(part.strip())


def directive(words: str) -> Iterator[Block]:
    """What ``{{ words }}`` stands for. Raises ValueError for anything else."""
    name, _, of = words.partition(" ")
    if name == "arguments":
        yield from arguments(of)
    elif name in tables.TABLES and not of:
        head, *rows = tables.table(name)
        kept = [number for number, column in enumerate(head) if column != "aliases"]
        shown, *below = (tuple(row[i] for i in kept) for row in [head, *rows])
        if name in NAMING:
            below = [(f"`{first}`", *rest) for first, *rest in below]
        yield Table(shown, tuple(below))
    else:
        raise ValueError(f"there is no table {words!r}")


def of_kind(book: Book, page: Page) -> Iterator[Section]:
    """What only pages of this kind have."""
    if page.kind == "entry":
        yield Section("Arguments, as callout reads them", tuple(arguments(page.name)))
    elif page.kind == "field":
        if rows := values(page.name):
            yield Section("Its values", (Table(("value", "meaning"), rows),))
    elif page.kind == "cause" and (steps := tables.next_steps().get(page.name)):
        rows = tuple((f"`{command}`", purpose) for command, purpose in steps)
        yield Section("Commands that tell more", (Table(("command", "to"), rows),))
    elif page.kind == "pattern":
        text = "The table only counts such rows, unless --all is given; all other outputs have them."
        yield Section("In callout", (Prose(text),))
    elif page.kind == "scenario":
        yield from scene(book.scenes[page.name])


def arguments(entry: str) -> Iterator[Block]:
    """The arguments of a way in: where they come from and whether they can change."""
    for seen, told in SEEN.items():
        facts = [fact for fact in origin.facts() if fact.entry == entry and fact.seen == seen]
        if facts:
            if told:
                yield Prose(f"{told.capitalize()}:")
            yield Table(
                ("argument", "tags", "why"),
                tuple((f"`{fact.argument}`", " ".join(fact.tags), fact.why) for fact in facts),
            )
    used = [tag for tag in TAGS if any(tag in f.tags for f in origin.facts() if f.entry == entry)]
    if used:
        yield Prose("; ".join(f"**{tag}** {TAGS[tag]}" for tag in used) + ".")


def values(field: str) -> tuple[tuple[str, str], ...]:
    """The words that a field can hold, with what they mean."""
    words: dict[str, Iterable[tuple[str, str]]] = {
        "connect.verdict": VERDICTS.items(),
        "connect.cause": cause.meanings().items(),
        "connect.pattern": ((name, meaning) for name, (meaning, _) in tables.patterns().items()),
        "connect.entry": ((name, "") for name in dict.fromkeys(fact.entry for fact in origin.facts())),
    }
    return tuple((f"`{name}`", meaning) for name, meaning in words.get(field, ()))


def scene(scene: Scene) -> Iterator[Section]:
    """What a scenario comes to, and how to run it."""
    rows = []
    for seen in scene.attempts:
        returned = "-" if seen.returned is None else str(seen.returned)
        words = (f"`{word}`" if word else "-" for word in (seen.verdict, seen.errno, seen.cause))
        rows.append((returned, *words))
    yield Section("Its attempts", (Table(("returned", "verdict", "error in the end", "cause"), tuple(rows)),))
    text = f"    callout lab run {scene.name}\n"
    if scene.needs:
        text += "\nIt needs of the machine: " + ", ".join(scene.needs) + "."
    yield Section("Run it", (Prose(text),))
