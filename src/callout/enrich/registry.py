"""Containers by id: what the runtimes said, asked once per container, by threads of their own.

Rule of this file: the reader of the trace never waits here: it says which containers it has seen (``want``) and
takes what is known (``get``). The threads exist before programs are attached and are the only ones that connect
to runtimes, so that the trace can leave their connections out by thread id. Memory is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from queue import SimpleQueue

from callout.enrich.container import Container, merged, weight
from callout.enrich.kept import Weighed
from callout.enrich.runtimes import Unanswered
from callout.enrich.runtimes.sources import Question, Source
from callout.footprint import Table, table

KEPT, KEPT_BYTES = 16384, 32 << 20  # containers: the least recently used are forgotten
ASKED = 200  # bytes of a question
AGAIN = 30.0  # seconds after which a container without an answer is asked for again
# Seconds between attempts to follow a daemon's events: the second where there has been none for a while.
PAUSE, SELDOM = 2.0, 16.0


class Registry:
    """What is known about containers. ``start`` before the first ``want``; ``close`` ends the threads."""

    def __init__(self, sources: Iterable[Source], clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = tuple(sources)
        self._clock = clock
        self._known: Weighed[str, Container] = Weighed(KEPT, KEPT_BYTES)
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._queues: dict[str, SimpleQueue[Question | None]] = {s.name: SimpleQueue() for s in self._sources}
        self._lock = threading.Condition()
        self._open = 0  # questions without answer
        self._pending: Counter[str] = Counter()  # of them by container
        self._closed = threading.Event()
        self._streams: dict[str, object] = {}
        self._threads: list[threading.Thread] = []
        self.changes = 0  # grows whenever something was learned
        self.problems: dict[str, str] = {}  # by source: why it did not answer what it was asked

    def start(self) -> None:
        """Starts one thread per source that is asked, and one per stream of events."""
        for source in self._sources:
            if source.path and source.there():
                source.prepare()  # in the caller's time: a thread would still import when the first answer is needed
        for source in self._sources:
            self._run(self._answer, source)
            if source.events:
                self._run(self._follow, source)

    def _run(self, work: Callable[[Source], None], source: Source) -> None:
        with self._lock:
            self._open += 1  # until it has looked at what there is
        thread = threading.Thread(target=work, args=(source,), name=f"callout-{source.name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def threads(self) -> frozenset[int]:
        """Thread ids of whoever connects to runtimes."""
        return frozenset(thread.native_id for thread in self._threads if thread.native_id)

    def want(self, question: Question) -> None:
        """Lets a container be asked for, unless it was."""
        now = self._clock()
        asked = self._asked.get(question.id)
        known = self.get(question.id)
        if known and (asked is not None or known.image):
            return
        if asked is not None and now - asked < AGAIN:
            return
        self._asked[question.id] = now
        if len(self._asked) > KEPT:
            self._asked.popitem(last=False)
        for source in self._sources:
            if question.runtime in source.runtimes:
                with self._lock:
                    self._open += 1
                    self._pending[question.id] += 1
                self._queues[source.name].put(question)

    def get(self, identifier: str) -> Container | None:
        """What is known now."""
        with self._lock:
            found = self._known.get(identifier)
            if found:
                self._known.refresh(identifier)
        return found

    def pending(self, identifier: str) -> bool:
        """Whether an answer about a container without a name is still to come."""
        with self._lock:
            known = self._known.get(identifier)
            return identifier in self._pending and (known is None or known.name is None)

    def nameless(self) -> bool:
        """Whether a container was asked for that nobody knows."""
        return any(identifier not in self._known for identifier in self._asked)

    def named(self, name: str) -> list[Container]:
        """Containers with this name, or whose id begins so."""
        with self._lock:
            return [c for c in self._known.values() if c.name == name or c.id.startswith(name)]

    def in_pod(self, name: str, namespace: str | None) -> list[Container]:
        """Containers of pods with this name."""
        with self._lock:
            pods = [(c, c.pod) for c in self._known.values() if c.pod]
        return [c for c, pod in pods if pod.name == name and namespace in (None, pod.namespace)]

    def learn(self, container: Container) -> None:
        """Keeps what was said about a container."""
        with self._lock:
            whole = merged(self._known.get(container.id), container)
            self._known.put(container.id, whole, weight(whole))
            self.changes += 1

    def settle(self, seconds: float) -> bool:
        """Waits until every question is answered, no longer than this; whether they all are."""
        with self._lock:
            return self._lock.wait_for(lambda: self._open == 0, seconds)

    def __len__(self) -> int:
        return len(self._known)

    def memory(self) -> list[Table]:
        """What is kept, about."""
        with self._lock:
            asked = table("containers asked for", len(self._asked), KEPT, ASKED)
            return [self._known.table("containers"), asked]

    def close(self) -> None:
        """Ends the threads; one that waits for an answer ends with it."""
        self._closed.set()
        for queue in self._queues.values():
            queue.put(None)
        for stream in list(self._streams.values()):
            stream.close()  # type: ignore[attr-defined]

    def _done(self, identifier: str | None = None) -> None:
        with self._lock:
            self._open -= 1
            if identifier:
                self._pending[identifier] -= 1
                if not self._pending[identifier]:
                    del self._pending[identifier]
            self._lock.notify_all()

    def _try(self, source: Source, work: Callable[[], Iterable[Container]], asked: bool) -> bool:
        """Learns what a source says. What goes wrong is remembered where a container was asked for."""
        try:
            if not source.there():
                return False
            if lacks := source.lacks():
                if asked:
                    self.problems[source.name] = lacks
                return False
            for container in work():
                self.learn(container)
        except (OSError, Unanswered) as error:
            if asked:
                self.problems[source.name] = f"{source.name} does not answer: {error}"
            return False
        return True

    def _answer(self, source: Source) -> None:
        self._try(source, source.all, asked=False)
        self._done()
        while (question := self._queues[source.name].get()) is not None:
            self._try(source, lambda asked=question: filter(None, [source.one(asked)]), asked=True)  # type: ignore[misc]
            self._done(question.id)

    def _follow(self, source: Source) -> None:
        assert source.events
        looked, pause = False, PAUSE
        while not self._closed.is_set():
            try:
                stream = source.events() if source.there() else None
            except (OSError, Unanswered):
                stream = None  # what it lacks is told where it matters: when a container is asked for
            if stream is not None:
                self._streams[source.name] = stream
            if not looked:
                looked = True
                self._done()
            if stream is not None and not self._closed.is_set():
                for container in stream:
                    self.learn(container)
                stream.close()
                pause = PAUSE
            self._closed.wait(pause)
            pause = min(2 * pause, SELDOM)
