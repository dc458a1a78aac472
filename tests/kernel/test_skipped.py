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
HOST = "127.0.0.1"


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Timers run where they were set."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def nobody() -> Iterator[tuple[str, int]]:
    """An address that is taken, and on which nobody listens."""
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        yield holder.getsockname()


def refused(nobody: tuple[str, int]) -> None:
    with socket.socket() as caller:
        assert caller.connect_ex(nobody) == errno.ECONNREFUSED


def take(w: Watch, nobody: tuple[str, int]) -> None:
    """Keeps the rows of those that end by themselves."""
    batch = w.source.read()
    if len(batch):
        ports = batch.column("destination.port")
        assert isinstance(ports, Plain)
        w.seen.extend(batch.select(ports.data != nobody[1]).rows())


def a_round(w: Watch, silent: tuple[str, int], nobody: tuple[str, int]) -> list[dict[str, Any]]:
    """Attempts that nobody answers, until all of them are over; others all the while."""
    before = len(w.seen)
    with ExitStack() as stack:
        for _ in range(ENDING):
            caller = stack.enter_context(World.impatient())
            caller.setblocking(False)
            assert caller.connect_ex(silent) == errno.EINPROGRESS
            for _ in range(BETWEEN):
                refused(nobody)
            take(w, nobody)
        end = time.monotonic() + PATIENCE
        while len(w.seen) - before < ENDING:
            assert time.monotonic() < end, f"{len(w.seen) - before} rows came"
            for _ in range(BETWEEN):
                refused(nobody)
            take(w, nobody)
    return w.seen[before:]


def rounds_until_skipped(w: Watch, silent: tuple[str, int], nobody: tuple[str, int]) -> int:
    """Makes rounds until the first program has been skipped again; how often. Every attempt has its verdict."""
    assert w.source._loaded
    before = w.source._loaded.missed(FIRST)
    for _ in range(ROUNDS):
        rows = a_round(w, silent, nobody)
        assert {row["connect.verdict"] for row in rows} == {"timed_out"}
        if skipped := w.source._loaded.missed(FIRST) - before:
            return skipped
    pytest.fail(f"none of {ENDING * ROUNDS} changes of state interrupted another one")


def test_every_attempt_has_its_verdict(one_cpu: None, nobody: tuple[str, int]) -> None:
    with deaf(HOST, 0) as server, watch(tier=TIER) as w:
        assert len(links()) == 1
        assert rounds_until_skipped(w, server.getsockname(), nobody)
        assert len(links()) == 2
        assert (found := w.source.counters().overlooked)
        # the second program sees what the first one misses: less is left to find, some for other reasons
        skipped = rounds_until_skipped(w, server.getsockname(), nobody)
        assert w.source.counters().overlooked - found < skipped
