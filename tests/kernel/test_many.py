"""Many calls that block at the same time: each has its result. A return probe as usual sees ten of them."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from callout.lab.world import World
from callout.narrowing import Narrowing

from .watch import PATIENCE, TIER, Watch, watch

pytestmark = pytest.mark.kernel

MANY = 200
NAME = f"\0callout-test-many-{os.getpid()}"


@pytest.fixture
def world() -> Iterator[World]:
    """The laboratory's hands; what they tell of themselves goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    yield World("many", nowhere)
    os.close(nowhere)


def blocked(threads: list[threading.Thread]) -> int:
    """How many of our threads sleep inside connect(2) (number 42 of x86-64, 203 of others; proc(5))."""
    count = 0
    for thread in threads:
        try:
            with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
                count += file.read().split(" ", 1)[0] in ("42", "203")
        except (ProcessLookupError, FileNotFoundError):
            continue
    return count


@contextmanager
def all_blocked(call: Callable[[], None], number: int) -> Iterator[None]:
    """Threads that have all entered their call and sleep there; joined when the block ends."""
    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE
    while blocked(threads) < number:
        assert time.monotonic() < end, f"only {blocked(threads)} block"
        os.sched_yield()
    yield
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def results(w: Watch, count: int) -> Counter[tuple[str, int | None]]:
    """What that many rows say became of the calls."""
    rows = w.rows(count)
    return Counter((row["connect.verdict"], row.get("connect.return")) for row in rows)


def test_streams_that_wait_for_an_answer(world: World) -> None:
    with watch(Narrowing(pids=frozenset({os.getpid()})), TIER) as w, ExitStack() as stack:
        server = stack.enter_context(world.silent("127.0.0.1", 0))
        server.listen(2 * MANY)
        callers = [stack.enter_context(socket.socket()) for _ in range(MANY)]
        for caller in callers:
            caller.settimeout(None)
        waiting = iter(callers)
        address = server.getsockname()
        with all_blocked(lambda: next(waiting).connect(address), MANY):
            world.hear(server)
        assert results(w, MANY) == {("established", 0): MANY}


def test_unix_streams_that_wait_for_a_place(world: World) -> None:
    with watch(Narrowing(pids=frozenset({os.getpid()})), TIER) as w, ExitStack() as stack:
        server = stack.enter_context(world.unix_listener(NAME, backlog=0))
        callers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(MANY + 1)]
        waiting = iter(callers)

        def call() -> None:
            next(waiting).connect(NAME)

        call()  # takes the only place
        with all_blocked(call, MANY):
            for _ in range(MANY + 1):
                stack.enter_context(server.accept()[0])
        assert results(w, MANY + 1) == {("established", 0): MANY + 1}


def test_nothing_stays_of_a_probe() -> None:
    """A return probe has a name on the host as long as it is attached, and no longer."""
    places = ("/sys/kernel/tracing/kprobe_events", "/sys/kernel/debug/tracing/kprobe_events")
    place = next((p for p in places if os.access(p, os.R_OK)), None)
    if place is None:
        pytest.skip("tracefs is not mounted, or this kernel has no kprobes")

    def ours() -> list[str]:
        with open(place) as file:
            return [line for line in file if f"_{os.getpid()}_" in line]

    with watch(None, TIER) as w:
        assert w.source.tier is not None
        assert bool(ours()) == (w.source.tier.name == "kprobe")
    assert ours() == []


def test_refused_while_many_wait(world: World) -> None:
    """An attempt of another kind is not confused by those that wait."""
    with watch(Narrowing(pids=frozenset({os.getpid()})), TIER) as w, ExitStack() as stack:
        server = stack.enter_context(world.silent("127.0.0.1", 0))
        server.listen(2 * MANY)
        callers = [stack.enter_context(socket.socket()) for _ in range(MANY)]
        waiting = iter(callers)
        address = server.getsockname()
        with all_blocked(lambda: next(waiting).connect(address), MANY), socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            third = stack.enter_context(socket.socket())
            assert third.connect_ex(other.getsockname()) == errno.ECONNREFUSED
            world.hear(server)
        assert results(w, MANY + 1) == {("established", 0): MANY, ("refused", -errno.ECONNREFUSED): 1}
