"""A change of state that comes while the program for it runs is not lost: a search finds it, later a second program.

The kernel skips a program that runs on this CPU already. Here that comes about for real: attempts whose time is up end
in the timer's soft interrupts, which interrupt a thread that makes others, one after another, on the same CPU.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from callout.batch import Plain
from callout.capture.tiers import FIRST
from callout.lab.world import World, deaf

from .test_overlooked import links
from .watch import PATIENCE, TIER, Watch, watch

pytestmark = pytest.mark.kernel

ENDING = 400  # attempts of one round that end by themselves
BETWEEN = 200  # others before each of them: so that the timers of a round go off at some sixty times
ROUNDS = 20  # one or two are enough
HOST, NOBODY = "127.0.0.1", 9


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Timers run where they were set."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def refused() -> None:
    with socket.socket() as caller:
        assert caller.connect_ex((HOST, NOBODY)) == errno.ECONNREFUSED


def take(w: Watch) -> None:
    """Keeps the rows of those that end by themselves."""
    batch = w.source.read()
    if len(batch):
        ports = batch.column("destination.port")
        assert isinstance(ports, Plain)
        w.seen.extend(batch.select(ports.data != NOBODY).rows())


def a_round(w: Watch, address: tuple[str, int]) -> list[dict[str, Any]]:
    """Attempts that nobody answers, until all of them are over; others all the while."""
    before, end = len(w.seen), time.monotonic() + PATIENCE
    with ExitStack() as stack:
        for _ in range(ENDING):
            caller = stack.enter_context(World.impatient())
            caller.setblocking(False)
            assert caller.connect_ex(address) == errno.EINPROGRESS
            for _ in range(BETWEEN):
                refused()
            take(w)
        while len(w.seen) - before < ENDING:
            assert time.monotonic() < end, f"{len(w.seen) - before} rows came"
            for _ in range(BETWEEN):
                refused()
            take(w)
    return w.seen[before:]


def test_every_attempt_has_its_verdict(one_cpu: None) -> None:
    with deaf(HOST, 0) as silent, watch(tier=TIER) as w:
        assert w.source._loaded
        assert len(links()) == 1
        for _ in range(ROUNDS):
            rows = a_round(w, silent.getsockname())
            assert {row["connect.verdict"] for row in rows} == {"timed_out"}
            if w.source._loaded.missed(FIRST):
                break
        else:
            pytest.fail(f"none of {ENDING * ROUNDS} changes of state interrupted another one")
        assert len(links()) == 2
        assert (found := w.source.counters().overlooked)
        # where the second program sees what the first one misses, there is nothing left to find
        a_round(w, silent.getsockname())
        assert w.source.counters().overlooked == found
