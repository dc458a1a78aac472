"""The site's files: one page for each topic, an index, style, search.

Rule of this file: only here anything is written. A directory that holds something else is left alone; one that holds an
earlier site is replaced, and what has no page any more goes.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callout import __version__
from callout.errors import CalloutError, UsageError
from callout.reference.book import Book
from callout.reference.page import KINDS, WHEN, Page
from callout.reference.view import Links, Outcomes, Prose, Table, view
from callout.site.html import Writer, anchor, path_of
from callout.verdict import SUCCESS

if TYPE_CHECKING:
    from jinja2 import Environment

MARK = ".callout-reference"  # in a directory that is ours
STATIC = ("style.css", "theme.js", "site.js")


def write(book: Book, directory: Path) -> int:
    """Writes the whole site and returns how many pages it has. Raises UsageError for a directory that is not ours,
    or where jinja2 is missing; CalloutError where it cannot be written.
    """
    templates = environment()
    try:
        own = prepared(directory)
        pages = rendered(book, templates)
        for name in [name for name in own if name not in pages]:
            (directory / name).unlink(missing_ok=True)
        for name, text in pages.items():
            place = directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        (directory / MARK).write_text("\n".join(pages) + "\n", encoding="utf-8")
    except OSError as error:
        raise CalloutError(f"cannot write {error.filename or directory}: {error.strerror}") from error
    return sum(name.endswith(".html") for name in pages)


def prepared(directory: Path) -> list[str]:
    """Makes the directory, if it is not there. Returns the files of an earlier site."""
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / MARK).is_file():
        names = (directory / MARK).read_text(encoding="utf-8").splitlines()
        return [name for name in names if not name.startswith("/") and ".." not in name]
    if any(directory.iterdir()):
        raise UsageError(
            f"--html {directory}: there are other files in it", "give a new or an empty directory"
        )
    return []


def environment() -> Environment:
    """The templates. Raises UsageError without jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise UsageError("--html needs jinja2", "pip install 'callout[html]'") from error
    folder = files("callout").joinpath("site/templates")
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def rendered(book: Book, templates: Environment) -> dict[str, str]:
    """Every file of the site by its path."""
    kinds = book.kinds()
    common = {"kinds": kinds, "labels": KINDS, "when": WHEN, "success": SUCCESS, "version": __version__}
    made = {
        path_of(page): templates.get_template("page.html").render(
            {**common, **parts(book, page, "../"), "siblings": kinds[page.kind]}
        )
        for page in book.listed()
    }
    made["index.html"] = templates.get_template("index.html").render(
        {**common, "write": Writer(book, None, ""), "root": "", "page": None, "errors": errors(book)}
    )
    static = files("callout").joinpath("site/static")
    made.update({f"assets/{name}": static.joinpath(name).read_text(encoding="utf-8") for name in STATIC})
    made["assets/index.js"] = f"window.calloutIndex = {json.dumps(search(book), ensure_ascii=False)};\n"
    return made


def parts(book: Book, page: Page, root: str) -> dict[str, Any]:
    """What the template of a page is given."""
    sections = [
        (section.title, anchor(section.title), [(type(block).__name__, block) for block in section.blocks])
        for section in view(book, page)
    ]
    return {"write": Writer(book, page, root), "root": root, "page": page, "sections": sections}


def errors(book: Book) -> list[tuple[Page, list[str], list[str]]]:
    """Errors for the index: page, families and verdicts that they come with."""
    rows = []
    for page in book.kinds()["errno"]:
        stated = [outcome for outcome in book.says(page) if outcome.errno == page.name]
        if stated:
            families = {family: None for outcome in stated for family in outcome.families or ("any",)}
            rows.append((page, list(families), list(dict.fromkeys(outcome.verdict for outcome in stated))))
    return rows


def search(book: Book) -> list[list[str]]:
    """What the search looks through: path, name, kind, summary, other names, text; title, text; each in one line."""
    return [
        [
            path_of(page),
            page.name,
            KINDS[page.kind][1].partition(" (")[0].removeprefix("a ").removeprefix("an "),
            page.title if page.title and not page.summary else page.summary,
            " ".join(page.aliases).lower(),
            page.title.lower(),
            " ".join(texts(book, page)).lower(),
        ]
        for page in book.listed()
    ]


def texts(book: Book, page: Page) -> list[str]:
    """The words of a page that are its own."""
    found = []
    for section in view(book, page):
        for block in section.blocks:
            if isinstance(block, Prose):
                found.append(" ".join(block.text.split()))
            elif isinstance(block, Outcomes):
                found += [outcome.says for outcome in block.items if outcome.place == page.place]
            elif isinstance(block, Table) and len(block.rows) < 12:
                found += [" ".join(row) for row in block.rows]
            elif isinstance(block, Links):
                continue
    return found
