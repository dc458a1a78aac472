"""The loop, between a source and a sink made here: what is written, counted, and when it stops."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from callout import pipeline
from callout.batch import Batch, Coded, Plain
from callout.errors import CalloutError
from callout.pipeline import Stop, flow, run
from callout.summary import Summary

VERDICTS = ["established", "refused"]


def batch(*ids: int) -> Batch:
    """Attempts with these ids; odd ones were refused."""
    numbers = np.array(ids, np.int64)
    codes = (numbers % 2).astype(np.int32)
    return Batch(len(ids), {"connect.id": Plain(numbers), "connect.verdict": Coded(codes, VERDICTS)})


def with_phases(*ids: int) -> Batch:
    """Attempts with these ids, each after its extra row of --phases."""
    numbers = np.repeat(np.array(ids, np.int64), 2)
    actions = np.tile(np.array([0, 1], np.int32), len(ids))
    verdicts = np.where(actions == 0, -1, numbers % 2).astype(np.int32)
    return Batch(
        len(numbers),
        {
            "connect.id": Plain(numbers),
            "event.action": Coded(actions, ["attempt", "connect"]),
            "connect.verdict": Coded(verdicts, VERDICTS),
        },
    )


class Source:
    """Yields what it is given, and what is left once it is stopped; like the kernel for ever if asked."""

    def __init__(self, *batches: Batch, left: tuple[Batch, ...] = (), endless: bool = False) -> None:
        self.given, self.left, self.endless = batches, left, endless
        self.finished = False
        self.before: Callable[[int], None] = lambda number: None

    def batches(self) -> Iterator[Batch]:
        for number, part in enumerate(self.given):
            self.before(number)
            yield part
        while self.endless:
            yield batch()

    def finish(self, summary: Summary) -> Iterator[Batch]:
        yield from self.left
        self.finished = True
        summary.lost = 5


class Sink:
    def __init__(self) -> None:
        self.written: list[list[Any]] = []

    def write(self, batch: Batch) -> None:
        self.written.append(batch.column("connect.id").tolist() if len(batch) else [])

    def close(self, summary: Summary | None) -> None:
        raise AssertionError("the caller closes the sink")


def moved(source: Source, stop: Stop | None = None, **more: Any) -> tuple[list[list[Any]], Summary]:
    sink, summary = Sink(), Summary()
    run(source, sink, summary, stop or Stop(), **more)
    assert source.finished, "a source is always asked for what is left, and to the end"
    return sink.written, summary


def odd(batch: Batch) -> np.ndarray[Any, Any]:
    column = batch.column("connect.id")
    assert isinstance(column, Plain)
    is_odd: np.ndarray[Any, Any] = column.data % 2 == 1
    return is_odd


def test_everything_is_written_in_order_and_counted() -> None:
    written, summary = moved(Source(batch(1, 2), batch(3), left=(batch(4), batch())))
    assert written == [[1, 2], [3], [4]]
    assert (summary.rows, summary.attempts, summary.lost, summary.hidden) == (4, 4, 5, 0)
    assert summary.verdicts == Counter(established=2, refused=2)
    assert summary.seconds > 0


def test_empty_batches_reach_the_sink_so_that_it_can_look_at_its_clock() -> None:
    assert moved(Source(batch(), batch(1), batch()))[0] == [[], [1], []]


def test_the_mask_keeps_rows_back_and_says_how_many() -> None:
    """The mask never sees an empty batch: there are no columns to look at."""
    seen = []

    def mask(batch: Batch) -> np.ndarray[Any, Any]:
        seen.append(len(batch))
        return odd(batch)

    written, summary = moved(Source(batch(1, 2, 3), Batch(0, {}), batch(4), left=(batch(5, 6),)), mask=mask)
    assert written == [[1, 3], [], [], [5]]
    assert seen == [3, 1, 2]
    assert (summary.rows, summary.hidden, summary.attempts) == (3, 3, 6)
    assert summary.verdicts == Counter(refused=3)


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (1, [[1]]),
        (2, [[1, 2]]),  # full by the end of a batch: the next is not even asked for
        (3, [[1, 2], [3]]),
        (4, [[1, 2], [3, 4]]),
        (5, [[1, 2], [3, 4], [5]]),  # the last of them only from what is left
        (9, [[1, 2], [3, 4], [5, 6], [7]]),
    ],
)
def test_count(count: int, written: list[list[int]]) -> None:
    """What comes after the last row asked for is counted, as far as the source has seen it."""
    source = Source(batch(1, 2), batch(3, 4), left=(batch(5, 6), batch(7)))
    rows, summary = moved(source, Stop(count=count))
    assert rows == written
    assert summary.rows == min(count, 7)
    seen = 5 if count <= 2 else 7  # of the batches given, those that were asked for; and all that was left
    assert (summary.attempts, summary.hidden) == (seen, seen - summary.rows)


def test_count_counts_what_passes_the_mask() -> None:
    written, summary = moved(Source(batch(1, 2, 3), batch(5, 7, 9)), Stop(count=3), mask=odd)
    assert written == [[1, 3], [5]]
    assert (summary.rows, summary.hidden, summary.attempts) == (3, 3, 6)


def test_extra_rows_of_phases_are_no_attempts_where_they_are_kept_back_either() -> None:
    """The count ends between the two rows of attempt 3; the mask keeps 2 back."""
    written, summary = moved(Source(with_phases(1, 2, 3, 5)), Stop(count=3), mask=odd)
    assert written == [[1, 1, 3]]
    assert (summary.rows, summary.attempts, summary.hidden) == (3, 4, 3)
    assert summary.attempts == (summary.rows - 2) + summary.hidden
    assert summary.verdicts == Counter(refused=1)


def test_a_deadline_that_has_passed_ends_an_endless_source_after_its_batch() -> None:
    written, summary = moved(Source(batch(1), batch(2), left=(batch(3),), endless=True), Stop(seconds=0))
    assert written == [[1], [3]]
    assert summary.rows == 2


def test_a_deadline_to_come_does_not() -> None:
    assert not Stop(seconds=3600).now()


def test_a_condition_is_asked_after_each_batch() -> None:
    answers = iter([False, False, True])
    stop = Stop()
    stop.when(lambda: next(answers))
    assert moved(Source(endless=True), stop)[0] == [[], [], []]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of signals back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_the_loop_in_good_order(number: signal.Signals, times: int) -> None:
    """It comes while the source works on its second batch: that one and what is left are still written.

    timeout(1) sends it twice, one right after the other.
    """
    source = Source(batch(1), batch(2), batch(3), left=(batch(4),), endless=True)

    def signalled(at: int) -> None:
        for _ in range(times if at == 1 else 0):
            os.kill(os.getpid(), number)

    source.before = signalled
    stop = Stop()
    stop.on_signals()
    assert moved(source, stop)[0] == [[1], [2], [4]]


@pytest.mark.usefixtures("handlers")
def test_a_second_interrupt_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop = Stop()
    stop.on_signals()
    os.kill(os.getpid(), signal.SIGINT)
    now += pipeline.AGAIN
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # a third changes nothing: letting go is not interrupted


@pytest.mark.usefixtures("handlers")
def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    stop.on_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.requested


@pytest.mark.parametrize("error", [BrokenPipeError(), CalloutError("cannot write x")])
def test_an_error_of_the_sink_ends_the_source_in_good_order(error: Exception) -> None:
    """What the sink did not take is lost, also what it failed at; the kernel side's own losses stay."""

    class Full(Sink):
        def write(self, batch: Batch) -> None:
            if self.written:
                raise error
            super().write(batch)

    source, sink, summary = (
        Source(batch(1, 2), with_phases(3), left=(batch(5),), endless=True),
        Full(),
        Summary(),
    )
    with pytest.raises(type(error)) as caught:
        run(source, sink, summary, Stop())
    assert caught.value is error
    assert source.finished
    assert sink.written == [[1, 2]]
    assert (summary.rows, summary.lost, summary.attempts) == (2, 5 + 2, 4)
    assert summary.verdicts == Counter(established=1, refused=1)


def test_flow_yields_what_run_writes() -> None:
    summary = Summary()
    source = Source(batch(1, 2), batch(), left=(batch(), batch(3, 4)))
    found = [
        part.column("connect.id").tolist() if len(part) else [] for part in flow(source, summary, Stop(), odd)
    ]
    assert found == [[1], [], [3]]
    assert (summary.rows, summary.hidden, summary.attempts, summary.lost) == (2, 2, 4, 5)
    assert summary.seconds > 0
