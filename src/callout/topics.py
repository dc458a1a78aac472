"""The reference as pages of text: connect(2), its ways in, verdicts, causes, client habits and fields.

Rule of this file: pure, and every word of the output has its page; what is said stands in the tables that the
rest of the program uses. Nothing here takes time to import.
"""

from __future__ import annotations

import csv
import difflib
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

from callout import cause, origin
from callout.schema import FIELDS, Field
from callout.verdict import BY_ERRNO, SUCCESS, VERDICTS, errno_name

WIDTH = 80
TAGS = {
    "K": "read from kernel memory",
    "U": "read from user memory",
    "TOCTOU": "can change between this reading and its use",
    "OPT": "not always there",
}
SEEN = {"": "", "call": ", where the call was seen", "socket": ", where only its socket was seen"}


def reference(name: str) -> str:
    """A file that came with the package."""
    return files("callout").joinpath(f"reference/{name}").read_text(encoding="utf-8")


@cache
def patterns() -> dict[str, tuple[str, str]]:
    """Client habits that are no failures: meaning and shape."""
    return {
        row["pattern"]: (row["meaning"], row["shape"])
        for row in csv.DictReader(reference("patterns.csv").splitlines())
    }


def entries() -> list[str]:
    """Ways into the kernel, as in `connect.entry`."""
    return list(dict.fromkeys(fact.entry for fact in origin.facts()))


def kinds() -> dict[str, list[str]]:
    """All topics by kind."""
    return {
        "system call": ["connect"],
        "ways in (connect.entry)": [name for name in entries() if name != "connect"],
        "verdicts": list(VERDICTS),
        "causes": list(cause.meanings()),
        "client habits": list(patterns()),
        "fields": list(FIELDS),
    }


def page(topic: str) -> str | None:
    """Everything about a topic; None if there is no such topic."""
    sections = list(sections_of(topic))
    return "\n\n".join(sections) + "\n" if sections else None


def sections_of(topic: str) -> Iterator[str]:
    """One section for each kind of thing that has this name."""
    if topic == "connect":
        yield wrapped(reference("connect.txt"))
        yield way(topic)
        yield wrapped(reference("connect_end.txt"))
    elif topic in entries():
        yield f"{topic}: a way into the kernel (connect.entry)"
        yield way(topic)
    if topic in VERDICTS:
        outcome = "success" if topic in SUCCESS else "unknown" if topic == "pending" else "failure"
        yield f"{topic}: a verdict (connect.verdict), {outcome}\n\n{wrapped(VERDICTS[topic], 2)}"
        names = sorted({errno_name(number) for number, verdict in BY_ERRNO.items() if verdict == topic})
        if names:
            yield "Errors that have this verdict\n\n" + wrapped(", ".join(name for name in names), 2)
    if topic in cause.meanings():
        yield f"{topic}: a cause (connect.cause)\n\n{wrapped(cause.meanings()[topic], 2)}"
    if topic in patterns():
        meaning, shape = patterns()[topic]
        yield f"{topic}: a client habit that is no failure (connect.pattern)\n\n{wrapped(meaning, 2)}"
        yield f"How it looks\n\n{wrapped(shape, 2)}"
        yield wrapped("The table only counts such rows, unless --all is given; all other outputs have them.")
    if topic in FIELDS:
        yield from field(FIELDS[topic])


def field(f: Field) -> Iterator[str]:
    """A field of the schema, and the words that it can hold."""
    unit = f", in {f.unit}" if f.unit else ""
    yield f"{f.name}: a field ({f.type}{unit})\n\n{wrapped(f.doc.replace('`', ''), 2)}"
    words: dict[str, Iterable[tuple[str, str]]] = {
        "connect.verdict": VERDICTS.items(),
        "connect.cause": cause.meanings().items(),
        "connect.pattern": ((name, meaning) for name, (meaning, _) in patterns().items()),
        "connect.entry": ((name, "") for name in entries()),
    }
    if f.name in words:
        yield "Its values\n\n" + table(words[f.name])
    if f.name == origin.COLUMN:
        yield wrapped("Only with --verbose, in ndjson, arrow and parquet. Each way in has a page of its own:")
        yield table((f"callout explain {name}", "") for name in entries())


def way(entry: str) -> str:
    """The arguments of a way in: where they come from and whether they can change."""
    blocks = []
    for seen, told in SEEN.items():
        found = [fact for fact in origin.facts() if fact.entry == entry and fact.seen == seen]
        if found:
            rows = [(f"{f.argument:8} {' '.join(f.tags)}", f.why) for f in found]
            blocks.append(f"Arguments, as callout reads them{told}\n\n" + table(rows))
    used = [tag for tag in TAGS if any(tag in f.tags for f in origin.facts() if f.entry == entry)]
    blocks.append(table((tag, TAGS[tag]) for tag in used))
    return "\n\n".join(blocks)


def index() -> str:
    """All topics."""
    return "\n\n".join(f"{kind}\n\n{wrapped('  '.join(names), 2)}" for kind, names in kinds().items()) + "\n"


def nearest(topic: str) -> list[str]:
    """Up to three topics that may have been meant: fields by their last part, then by likeness."""
    names = list(dict.fromkeys(name for names in kinds().values() for name in names))
    word = topic.lower()
    last = [name for name in names if name.rpartition(".")[2] == word]
    return list(dict.fromkeys([*last, *difflib.get_close_matches(word, names, 3)]))[:3]


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, the second one wrapped."""
    pairs = list(rows)
    column = max(len(left) for left, _ in pairs) + 4
    return "\n".join(
        textwrap.fill(right, WIDTH, initial_indent=f"  {left}".ljust(column), subsequent_indent=" " * column)
        if right else f"  {left}"
        for left, right in pairs
    )  # fmt: skip


def wrapped(text: str, indent: int = 0) -> str:
    """Paragraphs, each wrapped anew."""
    margin = " " * indent
    return "\n\n".join(
        textwrap.fill(
            paragraph.strip(), WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )
        for paragraph in text.strip().split("\n\n")
    )
