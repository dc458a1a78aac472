"""Rows wait for the name of their container, and no longer than they may."""

from __future__ import annotations

import numpy as np

from callout.batch import Batch, Coded, Plain
from callout.enrich.holding import HOLD, Holding


def batch(*cgroups: int) -> Batch:
    column = Coded(np.arange(len(cgroups), dtype=np.int32), list(cgroups))
    return Batch(len(cgroups), {"connect.id": Plain(np.array(cgroups))}, keys={"cgroup": column})


def ids(batches: object) -> list[list[int]]:
    return [b.column("connect.id").tolist() if len(b) else [] for b in batches]  # type: ignore[attr-defined]


def test_in_order_those_behind_wait_too() -> None:
    now, asked = [0.0], {7}
    holding = Holding(asked.__contains__, lambda: now[0], ordered=True)
    assert ids(holding.take(batch(1, 7, 2))) == [[1]]
    assert ids(holding.take(batch(3))) == [[]]
    assert ids(holding.take(Batch(0, {}))) == [[]]
    asked.remove(7)
    assert ids(holding.take(batch(4))) == [[7, 2], [3], [4]]
    asked.add(8)
    assert ids(holding.take(batch(8))) == [[]]
    now[0] += HOLD
    assert ids(holding.take(batch(8, 5))) == [[8], []], (
        "an answer that does not come; the next ones wait anew"
    )
    assert ids(holding.rest()) == [[8, 5]]


def test_only_rows_of_containers_in_question_wait() -> None:
    now, asked = [0.0], {7, 8}
    holding = Holding(asked.__contains__, lambda: now[0])
    assert ids(holding.take(batch(1, 7, 2))) == [[1, 2]]
    assert ids(holding.take(Batch(0, {}))) == [[]], "not answered, and not for long yet"
    asked.remove(7)
    assert ids(holding.take(batch(3))) == [[7], [3]]
    assert ids(holding.take(batch(8, 4))) == [[4]]
    now[0] += HOLD
    assert ids(holding.take(Batch(0, {}))) == [[8], []], "an answer that does not come"
    assert ids(holding.take(batch(8))) == [[]]
    assert ids(holding.take(batch(8, 5))) == [[8], [5]], "the older rows come first"
    assert ids(holding.rest()) == [[8]]
    assert ids(holding.rest()) == []
