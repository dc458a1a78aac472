"""Which rows wait for a hello, and that none waits twice."""

from __future__ import annotations

import time

import numpy as np

from callout.batch import Batch, Coded, Plain
from callout.enrich.ripening import YOUNG, Ripening

ESTABLISHED, REFUSED = 0, 1


def rows(*kinds: tuple[int, int, int, int]) -> Batch:
    """Attempts: cookie, port, verdict, and age of the verdict in ns."""
    cookies, ports, verdicts, ages = (np.array(column) for column in zip(*kinds, strict=True))
    took = np.full(len(kinds), 1000)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Batch(
        len(kinds),
        {
            "destination.port": Plain(ports.astype(np.uint16)),
            "connect.verdict": Coded(verdicts.astype(np.int32), ["established", "refused"]),
            "event.duration": Plain(took),
            "connect.cookie": Plain(cookies.astype(np.uint64)),
        },
        keys={"began": Plain(now - ages - took)},
    )


def cookies(batch: Batch) -> list[int]:
    return batch.column("connect.cookie").tolist()


def test_young_connections_to_ports_of_tls_wait_for_one_batch() -> None:
    again: list[Batch] = []
    ripening = Ripening(lambda cookie: cookie == 5, again.append)
    batch = rows(
        (1, 443, ESTABLISHED, 0),
        (2, 80, ESTABLISHED, 0),
        (3, 443, REFUSED, 0),
        (4, 443, ESTABLISHED, YOUNG + 1),
        (5, 443, ESTABLISHED, 0),
        (6, 8443, ESTABLISHED, 0),
    )
    assert [cookies(part) for part in ripening.take(batch)] == [[2, 3, 4, 5]]
    assert again == []
    assert [cookies(part) for part in ripening.take(rows((7, 443, ESTABLISHED, 0)))] == [[1, 6], []]
    assert [cookies(part) for part in again] == [[1, 6]]
    assert [cookies(part) for part in ripening.take(rows((8, 80, ESTABLISHED, 0)))] == [[7], [8]]
    assert list(ripening.rest()) == []


def test_in_order_those_behind_wait_too() -> None:
    ripening = Ripening(lambda cookie: False, lambda batch: None, ordered=True)
    first = rows((1, 80, ESTABLISHED, 0), (2, 443, ESTABLISHED, 0), (3, 80, ESTABLISHED, 0))
    assert [cookies(part) for part in ripening.take(first)] == [[1]]
    assert [cookies(part) for part in ripening.take(rows((4, 80, ESTABLISHED, 0)))] == [[2, 3], [4]]
    assert list(ripening.rest()) == []


def test_at_the_end_nothing_is_held() -> None:
    ripening = Ripening(lambda cookie: False, lambda batch: None)
    assert [len(part) for part in ripening.take(rows((1, 443, ESTABLISHED, 0)))] == [0]
    assert [cookies(part) for part in ripening.rest()] == [[1]]
    assert [len(part) for part in ripening.take(Batch(0, {}))] == [0]
