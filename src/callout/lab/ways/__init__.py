"""The ways out of a process, each as one real attempt: what ``callout doctor --selftest`` makes and looks for.

Rule of this package: one file per kind of way, and one line here for it. ``stage`` starts a process that takes
them, in a network namespace of its own; ``__main__`` is what runs there.
"""

from __future__ import annotations

from callout.lab.ways import datagrams, i386, internet, local, uring
from callout.lab.ways.base import Made, NotHere, Way

__all__ = ["WAYS", "Made", "NotHere", "Way"]

WAYS: tuple[Way, ...] = (*internet.WAYS, *i386.WAYS, *uring.WAYS, *datagrams.WAYS, *local.WAYS)
