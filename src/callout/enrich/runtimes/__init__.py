"""Container runtimes, asked by their own sockets and files.

Rule of this package: one file per way to ask; each takes an id and gives a ``Container`` or None, or raises
OSError or ``Unanswered``. Nothing here keeps state or starts a thread: that is ``enrich.registry``.
"""

from __future__ import annotations


class Unanswered(Exception):
    """A runtime gave no usable answer; the message says what it said instead."""
