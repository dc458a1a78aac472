"""Work that may take its time, done by threads of their own: files of other processes, which may be slow or huge.

Rule of this file: a batch waits for all of its answers together no longer than ``patience``; what is not ready
by then is absent in its rows, and there in later ones. A job that never ends (a file system in user space that does
not answer) holds up neither the other jobs nor the end of the program: there are several threads, and all are daemons,
which the interpreter does not wait for; a pool of ``concurrent.futures`` it does.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, TimeoutError
from contextlib import suppress
from typing import Any, TypeAlias

NICE = 0  # not that of a reader that must keep up
THREADS = 4  # one works, usually; the others are there for when jobs hang

Job: TypeAlias = Callable[[], Any]


class Aside:
    """Answers by key, each asked for once. ``patience``: seconds; ``most``: answers that are kept.

    Not for several threads: only the jobs run in others.
    """

    def __init__(self, patience: float, most: int) -> None:
        self._patience, self._most = patience, most
        self._until = 0.0
        self._answers: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._waiting: OrderedDict[Hashable, tuple[Future[Any], Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._open: list[Future[Any]] = []

    def __len__(self) -> int:
        return len(self._answers)

    def begin(self) -> None:
        """A batch begins: its patience starts with its first question."""
        self._until = 0.0

    def ask(self, key: Hashable, job: Job) -> tuple[bool, Any]:
        """Whether the answer is there, and the answer; what ``job`` raises as OSError is the answer None."""
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._put(key, job)
            self._open.append(answer)
            while len(self._answers) > self._most:
                self.forget(next(iter(self._answers)))
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

    def idle(self) -> bool:
        """Whether there is an answer to all that was asked."""
        self._open = [answer for answer in self._open if not answer.done()]
        return not self._open

    def forget(self, key: Hashable) -> None:
        """Asks again the next time."""
        self._answers.pop(key, None)
        with self._changed:
            self._waiting.pop(key, None)

    def start(self) -> frozenset[int]:
        """Starts the threads; their ids. Without this they start with the first question."""
        for number in range(len(self._threads), THREADS):
            thread = threading.Thread(target=self._work, name=f"callout-aside-{number}", daemon=True)
            thread.start()  # returns when it runs, so it has its id
            self._threads.append(thread)
        return frozenset(thread.native_id for thread in self._threads if thread.native_id)

    def _put(self, key: Hashable, job: Job) -> Future[Any]:
        if not self._threads:
            self.start()
        answer: Future[Any] = Future()
        with self._changed:
            self._waiting[key] = answer, job
            self._changed.notify()
        return answer

    def _work(self) -> None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                answer, job = self._waiting.popitem(last=False)[1]
            try:
                answer.set_result(job())
            except BaseException as error:  # for whoever asked
                answer.set_exception(error)

    def close(self) -> None:
        """Ends the threads; does not wait for a job that hangs."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
