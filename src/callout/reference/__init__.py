"""The reference: what is known about connect(2), as data, and the book that is made of it.

Rule of this package: pages are files under ``pages/KIND/NAME.md`` (``page`` says what one is, ``page.schema.json``
what its head may hold), tables are CSV files beside this one, and what the program knows anyway (fields, verdicts,
causes, ways in) is never written down twice: ``made`` takes it from where it stands. Nothing here prints.
"""

from __future__ import annotations

from callout.reference.book import Book, Scene, book
from callout.reference.page import Outcome, Page

__all__ = ["Book", "Outcome", "Page", "Scene", "book"]
