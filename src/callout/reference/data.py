"""Pages and outcomes as data: what ``-o ndjson`` and the site's search are made of.

Rule of this file: the names are those of ``page.schema.json``; what is empty is left out.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from callout.reference.book import Book
from callout.reference.page import Outcome, Page


def page_data(book: Book, page: Page) -> dict[str, Any]:
    """One page; ``outcomes`` are all that belong on it, those of other pages with their ``place``."""
    fields = {**asdict(page), "outcomes": [outcome_data(outcome) for outcome in book.says(page)]}
    if page.kind == "scenario":
        fields["attempts"] = [asdict(seen) for seen in book.scenes[page.name].attempts]
    return {name: value for name, value in fields.items() if value}


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """One outcome."""
    return {name: value for name, value in asdict(outcome).items() if value}


def line(book: Book, page: Page) -> str:
    """One page as a line of JSON."""
    return json.dumps(page_data(book, page), ensure_ascii=False) + "\n"


def outcome_line(outcome: Outcome) -> str:
    """One outcome as a line of JSON."""
    return json.dumps(outcome_data(outcome), ensure_ascii=False) + "\n"
