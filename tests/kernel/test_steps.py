"""Steps of an attempt, as the kernel side saw them, each with its time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from callout.capture.channels import STEP
from callout.capture.kernel import KernelSource
from callout.capture.steps import Steps
from callout.narrowing import Narrowing

from .watch import TIER, Watch

pytestmark = pytest.mark.kernel


@pytest.fixture
def watched() -> Iterator[tuple[Watch, Steps]]:
    steps = Steps()
    with KernelSource(Narrowing(pids=frozenset({os.getpid()})), TIER, listeners={STEP: steps.add}) as source:
        yield Watch(source), steps


def test_a_reset(watched: tuple[Watch, Steps]) -> None:
    watch, steps = watched
    with socket.socket() as caller:
        assert caller.connect_ex(("127.0.0.1", 4))
    (row,) = watch.rows(1)
    (reset,) = steps.of(row["connect.id"])
    assert reset.what == "rst"
    assert row["@timestamp"] <= reset.when <= row["@timestamp"] + row["event.duration"] + 5_000_000


def test_success_has_no_steps(watched: tuple[Watch, Steps]) -> None:
    watch, steps = watched
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        (row,) = watch.rows(1)
    assert steps.of(row["connect.id"]) == []


def test_syns_are_sent_again(watched: tuple[Watch, Steps]) -> None:
    """A listener that hears nothing; TCP_USER_TIMEOUT ends it after the second SYN."""
    from callout.lab.world import World, deaf

    watch, steps = watched
    with deaf("127.0.0.1", 0) as server, World.impatient() as caller, pytest.raises(TimeoutError):
        caller.connect(server.getsockname())
    (row,) = watch.rows(1)
    again = [step for step in steps.of(row["connect.id"]) if step.what == "syn"]
    assert len(again) == row["connect.evidence"]["syns"] - 1 >= 1
    assert [step.when for step in again] == sorted(step.when for step in again)
    drops = [step.reason for step in steps.of(row["connect.id"]) if step.what == "drop"]
    assert all(drops), "a dropped packet has a reason"
