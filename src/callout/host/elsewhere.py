"""Work in a thread of its own, which first goes elsewhere: into another namespace, below another root.

Rule of this file: the calling thread never moves, and the one that does ends with the work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def elsewhere(name: str, go: Callable[[], object], work: Callable[[], T]) -> T:
    """The result of ``work`` after ``go``, in a thread called ``name``. What either raises is raised here."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            go()
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name=name)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
