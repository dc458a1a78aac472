"""Parts of a page as HTML: Markdown with links to other pages, tables, outcomes.

Rule of this file: pure; all text is the reference's own and is escaped all the same. What is a link: a code span that
is the name of a page, and words such as poll(2), EPERM and AF_UNIX.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from callout.reference.book import Book
from callout.reference.page import Page

NAME = re.compile(r"\b(?:([a-z_0-9]+)\([23]\)|E[A-Z0-9]{3,}|AF_[A-Za-z0-9]+)(?!\w)")
PLAIN = re.compile(r"[\w@./:-]{2,}(\(\d\))?")  # what may be a name; no commands, no numbers of one digit


class Html(str):
    """Text that is HTML already: templates leave it as it is (as with markupsafe, which comes with jinja2 only)."""

    def __html__(self) -> str:
        return self


def path_of(page: Page) -> str:
    """Where a page lies, from the site's root."""
    return f"{page.kind}/{page.name}.html"


def anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "lead"


class Writer:
    """Writes the parts of one page: ``root`` leads from it to the site's root (``../`` or nothing)."""

    def __init__(self, book: Book, page: Page | None, root: str) -> None:
        self.book = book
        self.page = page
        self.root = root
        self.markdown = MarkdownIt("commonmark", renderer_cls=Linked).enable("table")
        renderer = self.markdown.renderer
        assert isinstance(renderer, Linked)
        renderer.writer = self

    def url(self, page: Page) -> str:
        """The address of another page, from this one."""
        return self.root + quote(path_of(page))

    def prose(self, text: str) -> Html:
        """Markdown with paragraphs."""
        return Html(self.markdown.render(text))

    def line(self, text: str) -> Html:
        """Markdown within a line, without a full stop of its own."""
        return Html(self.markdown.renderInline(text))

    def link(self, word: str, kind: str = "") -> Html:
        """A word as a link to its page, if there is one (of that kind); else the word."""
        page = self.book.pages.get(f"{kind}/{word}") if kind else self.target(word)
        text = escape(word)
        if page is None or page == self.page:
            return Html(text)
        return Html(f'<a href="{self.url(page)}">{text}</a>')

    def target(self, word: str) -> Page | None:
        """The page that a word means; None for this page itself, and for what is no name."""
        if not PLAIN.fullmatch(word):
            return None
        found = [page for page in self.book.find(word) if not self.book.is_bare(page)]
        return found[0] if found and self.page not in found else None

    def code(self, text: str) -> str:
        """A code span, linked where it names a page."""
        code = f"<code>{escape(text)}</code>"
        page = self.target(text)
        return f'<a href="{self.url(page)}">{code}</a>' if page else code

    def name(self, match: re.Match[str]) -> str:
        """Words such as poll(2) or EPERM, linked where there is such a page."""
        page = self.target(match[1] or match[0])
        if page is None or page.kind not in ("call", "errno", "family"):
            return match[0]
        return f'<a href="{self.url(page)}">{match[0]}</a>'


class Linked(RendererHTML):
    """markdown-it's own, with links to other pages and tables that can be scrolled. Methods are named as tokens are."""

    writer: Writer

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A code span."""
        return self.writer.code(tokens[idx].content)

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Words."""
        return NAME.sub(self.writer.name, escape(tokens[idx].content, quote=False))

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A table within a box that scrolls."""
        return '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Its end."""
        return "</table></div>\n"
