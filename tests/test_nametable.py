"""Which name is chosen, and how sure that is. Times are seconds here."""

from __future__ import annotations

import tracemalloc

import pytest

from callout.enrich.fair import Limits
from callout.enrich.nametable import ENTRY, GRACE, LIMITS, SECOND, SHARED, Asker, NameTable

NET, OTHER_NET = 1, 2
CURL, WGET, ELSEWHERE = Asker((10, 100), 7), Asker((11, 101), 7), Asker((12, 102), 8)
NOBODY = Asker(None, 7)
IP = "192.0.2.1"


def table(
    *answers: tuple[str, Asker, float, int], at_least: float = 0, limits: Limits | None = None
) -> NameTable:
    """Answers for IP: name, who asked, when, for how long."""
    made = NameTable(limits or LIMITS, int(at_least * SECOND))
    for name, asker, when, ttl in answers:
        made.add(NET, IP, name, asker, int(when * SECOND), ttl)
    return made


def found(names: NameTable, asker: Asker = CURL, now: float = 10, net: int = NET) -> tuple[str, str] | None:
    one = names.find(net, IP, asker, int(now * SECOND))
    return one and (one.name, one.confidence)


def test_nothing_was_asked() -> None:
    assert found(table()) is None


def test_the_process_that_asked() -> None:
    names = table(("a.test", CURL, 9, 60))
    assert found(names) == ("a.test", "high")
    one = names.find(NET, IP, CURL, 10 * SECOND)
    assert one is not None
    assert one.when == 9 * SECOND
    assert found(names, net=OTHER_NET) is None


@pytest.mark.parametrize(
    ("asker", "confidence"), [(WGET, "medium"), (ELSEWHERE, "low"), (NOBODY, "low")], ids=str
)
def test_another_one_asked(asker: Asker, confidence: str) -> None:
    assert found(table(("a.test", asker, 9, 60))) == ("a.test", confidence)


def test_two_names_on_one_address_each_has_its_own() -> None:
    names = table(("a.test", CURL, 8, 60), ("b.test", WGET, 9, 60))
    assert found(names, CURL) == ("a.test", "high")
    assert found(names, WGET) == ("b.test", "high")
    assert found(names, ELSEWHERE) == ("b.test", "low")


def test_one_process_asked_for_two_names_on_one_address() -> None:
    assert found(table(("a.test", CURL, 9, 60), ("b.test", CURL, 8, 60))) == ("a.test", "medium")


def test_who_asked_counts_more_than_time() -> None:
    names = table(("a.test", CURL, 1, 1), ("b.test", WGET, 9, 60))
    assert found(names) == ("a.test", "medium")


def test_an_answer_that_has_not_expired_counts_more() -> None:
    names = table(("a.test", WGET, 2, 60), ("b.test", WGET, 5, 1))
    assert found(names) == ("a.test", "medium")


def test_expired_and_after_its_grace() -> None:
    names = table(("a.test", CURL, 1, 5))
    assert found(names, now=6) == ("a.test", "high")
    assert found(names, now=6.1) == ("a.test", "medium")
    assert found(names, now=6 + GRACE / SECOND) == ("a.test", "medium")
    assert found(names, now=6.1 + GRACE / SECOND) is None


def test_who_asks_connects_soon_whatever_the_time_to_live() -> None:
    names = table(("a.test", CURL, 1, 0), at_least=5)
    assert found(names, now=5) == ("a.test", "high")
    assert found(names, now=7) == ("a.test", "medium")


def test_an_answer_after_the_attempt_does_not_count() -> None:
    names = table(("a.test", CURL, 5, 60))
    assert found(names, now=4.9) is None
    assert names.changed(NET, IP, 4 * SECOND, 6 * SECOND)
    assert not names.changed(NET, IP, 6 * SECOND, 7 * SECOND)


def test_asked_again_the_time_before_still_counts() -> None:
    names = table(("a.test", CURL, 5, 60), ("a.test", CURL, 9, 60))
    one = names.find(NET, IP, CURL, 8 * SECOND)
    assert one is not None
    assert (one.name, one.when) == ("a.test", 5 * SECOND)
    assert len(names) == 1


def test_who_floods_loses_names_of_their_own() -> None:
    names = table(("a.test", CURL, 1, 60), limits=Limits(owner=10, group=1000, total=1000))
    for number in range(5000):
        names.add(NET, f"198.51.{number // 250}.{number % 250}", f"{number}.test", ELSEWHERE, 2 * SECOND, 60)
    assert len(names) == 11
    assert found(names) == ("a.test", "high")


def test_many_names_for_one_address() -> None:
    names = table(("a.test", CURL, 1, 60), *((f"{n}.test", ELSEWHERE, 2.0, 60) for n in range(3 * SHARED)))
    assert len(names) == SHARED
    assert found(names) == ("a.test", "high")


def test_what_has_expired_goes() -> None:
    names = table(("a.test", CURL, 1, 60))
    names.add(NET, "192.0.2.2", "b.test", CURL, 2 * GRACE, 60)
    assert len(names) == 1


def test_memory_is_about_what_is_said() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        names = NameTable()
        for number in range(5000):
            ip = f"10.0.{number // 250}.{number % 250}"
            names.add(NET, ip, f"host-{number}.example.org", Asker((number // 5, number // 5), 7), SECOND, 60)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(names) == 5000
    assert used / 2 < names.memory().bytes < used * 2, used / len(names) / ENTRY
