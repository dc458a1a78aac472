"""Work that may take its time, done by a thread of its own: files of other processes, which may be slow or huge.

Rule of this file: a batch waits for all of its answers together no longer than ``patience``; what is not ready
by then is absent in its rows, and there in later ones.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from contextlib import suppress
from typing import Any

NICE = 0  # not that of a reader that must keep up


class Aside:
    """Answers by key, each asked for once. ``patience``: seconds; ``most``: answers that are kept.

    Not for several threads: only the jobs run in another one.
    """

    def __init__(self, patience: float, most: int) -> None:
        self._patience, self._most = patience, most
        self._until = 0.0
        self._answers: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._answers)

    def begin(self) -> None:
        """A batch begins: its patience starts with its first question."""
        self._until = 0.0

    def ask(self, key: Hashable, job: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether the answer is there, and the answer; what ``job`` raises as OSError is the answer None."""
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._start(job)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)[1].cancel()
        if not answer.done():
            now = time.monotonic()
            self._until = self._until or now + self._patience
            try:
                answer.result(max(0.0, self._until - now))
            except TimeoutError:
                return False, None
            except OSError:
                return True, None
        return True, answer.result() if answer.exception() is None else None

    def forget(self, key: Hashable) -> None:
        """Asks again the next time."""
        self._answers.pop(key, None)

    def start(self) -> int:
        """Starts the thread; its id. Without this it starts with the first question."""
        return int(self._start(threading.get_native_id).result())

    def _start(self, job: Callable[[], Any]) -> Future[Any]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "callout-aside", _step_back)
        return self._pool.submit(job)

    def close(self) -> None:
        """Ends the thread; does not wait for a job that hangs."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
