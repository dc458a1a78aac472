"""All pages together: found by any of their names, near misses, and what applies to several topics at once.

Rule of this file: pure; the laboratory's scenarios are handed in (``Scene``), since they stand above this layer.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from callout.reference import made
from callout.reference.page import KINDS, Outcome, Page, read

TYPES = ("stream", "datagram", "seqpacket", "raw")  # concepts that outcomes are about
SORTED = ("errno", "cause", "hook", "client")  # by name; the others have an order of their own


@dataclass(frozen=True)
class Seen:
    """What one attempt of a scenario comes to; ``returned`` is what connect(2) itself returned."""

    verdict: str
    errno: str
    cause: str
    returned: int | None
    late: bool = False


@dataclass(frozen=True)
class Scene:
    """A scenario as the reference needs it."""

    name: str
    family: str
    summary: str
    attempts: tuple[Seen, ...]
    needs: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()

    def page(self) -> Page:
        """The page of a scenario."""
        ways = ", ".join(f"`{name}`" for name in (*self.families, *self.entries))
        return Page("scenario", self.name, summary=self.summary, facts={"kind": self.family, "about": ways})


class Book:
    """The pages in order of kinds, and every way to find one."""

    def __init__(self, pages: Iterable[Page], scenes: Iterable[Scene] = ()) -> None:
        self.scenes = {scene.name: scene for scene in scenes}
        shown = [scene.page() for scene in self.scenes.values()]
        order = {kind: rank for rank, kind in enumerate(KINDS)}
        self.pages = {
            page.place: page
            for page in sorted(
                [*pages, *shown], key=lambda p: (order[p.kind], p.name.lower() if p.kind in SORTED else "")
            )
        }

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Every outcome that any page states."""
        return tuple(outcome for page in self.pages.values() for outcome in page.outcomes)

    @cached_property
    def _words(self) -> dict[str, list[Page]]:
        """Pages by each word that means them, in lower case; scenarios only where nothing else has the word."""
        words: dict[str, list[Page]] = {}
        for page in self.pages.values():
            for word in dict.fromkeys([page.name.lower(), *(alias.lower() for alias in page.aliases)]):
                if page.kind != "scenario" or word not in words:
                    words.setdefault(word, []).append(page)
        return words

    def kinds(self) -> dict[str, list[Page]]:
        """Pages by kind, in order; errors only where there is something to say of them."""
        found: dict[str, list[Page]] = {kind: [] for kind in KINDS}
        for page in self.pages.values():
            if not self.is_bare(page):
                found[page.kind].append(page)
        return {kind: pages for kind, pages in found.items() if pages}

    def listed(self) -> list[Page]:
        """Every page that has something to say."""
        return [page for pages in self.kinds().values() for page in pages]

    def find(self, word: str) -> list[Page]:
        """Every page that is called so, by name or alias, in any case; none if there is no such topic.

        ``connect(2)`` means ``connect``, ``KIND/NAME`` one page alone. A name goes before an alias.
        """
        if word in self.pages:
            return [self.pages[word]]
        plain = word.strip().lower()
        if plain.endswith(")") and "(" in plain:
            plain = plain.partition("(")[0]
        found = self._words.get(plain, [])
        named = [page for page in found if page.name.lower() == plain]
        told = [page for page in found if not self.is_bare(page)]
        return named or told or found

    @staticmethod
    def is_bare(page: Page) -> bool:
        """Whether nothing is known of a page but its name: an error that connect(2) has nothing to do with."""
        return page.kind == "errno" and not page.outcomes and not page.body

    def nearest(self, word: str) -> list[str]:
        """Up to three topics that may have been meant: fields by their last part, then by likeness."""
        plain = word.strip().lower()
        last = [page.name for page in self.listed() if page.name.rpartition(".")[2].lower() == plain]
        names = {word: pages[0].name for word, pages in self._words.items() if pages[0].kind != "scenario"}
        near = [names[spelt] for spelt in difflib.get_close_matches(plain, names, 3, cutoff=0.7)]
        return list(dict.fromkeys([*last, *near]))[:3]

    def applying(self, pages: Iterable[Page]) -> list[Outcome]:
        """The outcomes that apply to all of some pages."""
        wanted = list(pages)
        return [outcome for outcome in self.outcomes if all(self.applies(outcome, page) for page in wanted)]

    def applies(self, outcome: Outcome, page: Page) -> bool:
        """Whether an outcome has to do with a page: stated there, or about what the page is about."""
        if outcome.place == page.place:
            return True
        about = {
            "errno": (outcome.errno,),
            "verdict": (outcome.verdict,),
            "cause": (outcome.cause,),
            "scenario": outcome.scenarios,
            "family": outcome.families or (page.name,),
            "concept": outcome.types or (page.name,) if page.name in TYPES else (),
        }
        return page.name in about.get(page.kind, ())

    def says(self, page: Page) -> list[Outcome]:
        """What belongs on a page: its own outcomes, and for the kinds that collect them those of others."""
        if page.kind in ("verdict", "cause", "scenario"):
            return self.applying([page])
        if page.kind == "family":
            return [o for o in self.outcomes if page.name in o.families or o.place == page.place]
        if page.kind == "errno":
            return [o for o in self.outcomes if o.errno == page.name or o.place == page.place]
        return list(page.outcomes)

    def mentions(self, scenario: str) -> list[Page]:
        """The pages that refer to a scenario."""
        return [
            page
            for page in self.pages.values()
            if scenario in page.scenarios or any(scenario in outcome.scenarios for outcome in page.outcomes)
        ]


def written() -> list[Page]:
    """The pages that stand in files, in order of their names."""
    pages = []
    root = files("callout").joinpath("reference/pages")
    for folder in sorted(root.iterdir(), key=lambda entry: entry.name):
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            name = file.name.removesuffix(".md")
            pages.append(read(folder.name, name, file.read_text(encoding="utf-8")))
    return pages


def book(scenes: Iterable[Scene] = ()) -> Book:
    """The whole reference."""
    pages = {page.place: page for page in made.pages()}
    for page in written():
        base = pages.get(page.place)
        pages[page.place] = page.over(base) if base else page
    return Book(pages.values(), scenes)
