"""What a page of the reference is, and how it stands in a file.

Rule of this file: values and their reading; no page knows another. A file is a head in TOML between two lines of
``+++``, then Markdown. The head's keys are those of ``page.schema.json``, which the tests hold every file against.

An outcome is a statement of behaviour: under such circumstances an attempt ends so. Every outcome names the scenarios
of the laboratory that show it, and the tests compare both.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from typing import Any

MARK = "+++\n"
KINDS = {
    "call": ("System calls", "a system call"),
    "concept": ("How connect(2) behaves", "how connect(2) behaves"),
    "errno": ("Errors", "an error"),
    "verdict": ("Verdicts (connect.verdict)", "a verdict (connect.verdict)"),
    "cause": ("Causes (connect.cause)", "a cause (connect.cause)"),
    "family": ("Address families", "an address family"),
    "entry": ("Ways into the kernel (connect.entry)", "a way into the kernel (connect.entry)"),
    "pattern": ("Client habits (connect.pattern)", "a client habit that is no failure (connect.pattern)"),
    "client": ("What common programs do", "what a program does"),
    "hook": ("Places to look from", "a place to look from"),
    "architecture": ("Architectures", "an architecture"),
    "runtime": ("Sandboxes and container runtimes", "a sandbox or container runtime"),
    "security": ("Security", "a matter of security"),
    "field": ("Fields of an event", "a field of an event"),
    "scenario": ("Scenarios of the laboratory", "a scenario of the laboratory"),
}  # in order: what they are together, and what one of them is
WHEN = {
    "call": "at the call",
    "later": "later, by SO_ERROR",
    "call or later": "at the call, or later by SO_ERROR",
    "next call": "at the next call on the socket",
    "never": "no program sees it",
}


@dataclass(frozen=True)
class Outcome:
    """One statement: ``says`` the circumstances; the rest is what becomes of the attempt then.

    ``errno`` is empty for success, ``cause`` where nothing failed. ``families`` and ``types`` (``stream``,
    ``datagram``, ``seqpacket``, ``raw``) are empty where it holds for all. ``when`` is one of WHEN.
    """

    says: str
    verdict: str
    errno: str = ""
    cause: str = ""
    families: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    when: str = "call"
    remedy: str = ""
    scenarios: tuple[str, ...] = ()
    place: str = ""  # KIND/NAME of the page that says it


@dataclass(frozen=True)
class Misstated:
    """What is often said, and what is so."""

    said: str
    truth: str


@dataclass(frozen=True)
class Page:
    """One topic. ``body`` is Markdown, with ``## `` for its sections; ``see`` are names of other pages."""

    kind: str
    name: str
    title: str = ""
    summary: str = ""
    aliases: tuple[str, ...] = ()
    see: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    misstated: tuple[Misstated, ...] = ()
    body: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """KIND/NAME: unique, also the path of its file and of its page on the site."""
        return f"{self.kind}/{self.name}"

    def over(self, made: Page) -> Page:
        """This page with what it leaves open taken from one that was made of a table."""
        return replace(
            self,
            title=self.title or made.title,
            summary=self.summary or made.summary,
            aliases=self.aliases + made.aliases,
            see=tuple(dict.fromkeys(self.see + made.see)),
            facts={**made.facts, **self.facts},
        )


def head_and_body(text: str) -> tuple[dict[str, Any], str]:
    """Both parts of a file. Raises ValueError where the head does not begin or end, or is not TOML."""
    if not text.startswith(MARK) or MARK not in text[len(MARK) :]:
        raise ValueError("a page begins with a head between two lines of +++")
    head, _, body = text[len(MARK) :].partition(MARK)
    return tomllib.loads(head), body.strip()


def read(kind: str, name: str, text: str) -> Page:
    """The page in a file's text. Raises ValueError for a head that is none, TypeError for an unknown key."""
    head, body = head_and_body(text)
    outcomes = head.pop("outcome", [])
    common = {"errno": name} if kind == "errno" else {}
    return Page(
        kind,
        name,
        body=body,
        outcomes=tuple(
            Outcome(**{**common, **tupled(stated)}, place=f"{kind}/{name}") for stated in outcomes
        ),
        misstated=tuple(Misstated(**entry) for entry in head.pop("misstated", [])),
        **tupled(head),
    )


def tupled(table: dict[str, Any]) -> dict[str, Any]:
    """The same with tuples for lists, as frozen values want it."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
