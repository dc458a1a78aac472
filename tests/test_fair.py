"""Whoever floods loses entries of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callout.enrich.fair import Fair, Limits


def test_an_owner_pushes_out_its_own_oldest() -> None:
    gone: list[tuple[str, int]] = []
    table: Fair[str, int] = Fair(Limits(2, 10, 10), lambda key, value: gone.append((key, value)))
    table.put("net", "other", "x", 0)
    for number, key in enumerate("abc"):
        table.put("net", "flood", key, number)
    assert gone == [("a", 0)]
    assert (table.get("a"), table.get("b"), table.get("x")) == (None, 1, 0)


def test_in_a_group_the_quiet_give_way() -> None:
    table: Fair[int, int] = Fair(Limits(10, 20, 100))
    table.put("other", "somebody", -1, -1)
    table.put("net", "quiet", 0, 0)
    for number in range(1, 100):
        table.put("net", number, number, number)
    assert table.get(0) is None
    assert table.get(-1) == -1
    assert len(table) == 21


def test_in_all_the_fullest_group_gives_way() -> None:
    table: Fair[tuple[str, int], int] = Fair(Limits(1000, 1000, 100))
    for number in range(10):
        table.put("small", "a", ("small", number), number)
    for number in range(500):
        table.put("big", number, ("big", number), number)
    assert len(table) <= 100
    assert all(table.get(("small", number)) == number for number in range(10))


def test_groups_are_bounded() -> None:
    table: Fair[int, int] = Fair(Limits(10, 10, 1000, groups=8))
    for number in range(100):
        table.put(number, "a", number, number)
    assert sorted(table) == list(range(92, 100))


def test_a_key_is_replaced_and_moves_to_its_new_owner() -> None:
    gone: list[str] = []
    table: Fair[str, int] = Fair(Limits(2, 10, 10), lambda key, value: gone.append(key))
    table.put("net", "a", "k", 1)
    table.put("net", "b", "k", 2)
    assert (table.get("k"), len(table), gone) == (2, 1, [])
    table.drop("k")
    table.drop("k")
    assert (table.get("k"), len(table), gone) == (None, 0, ["k"])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 20)), max_size=200))
def test_limits_hold_and_entries_stay_reachable(puts: list[tuple[int, int, int]]) -> None:
    here: dict[int, tuple[int, int, int]] = {}
    table: Fair[int, tuple[int, int, int]] = Fair(Limits(3, 6, 10), lambda key, value: here.pop(key) and None)
    for group, owner, key in puts:
        here[key] = group, owner, key
        table.put(group, owner, key, (group, owner, key))
        assert {one: table.get(one) for one in table} == here
        assert len(here) <= 10
        for one in {value[:2] for value in here.values()}:
            assert sum(value[:2] == one for value in here.values()) <= 3
        for net in range(4):
            assert sum(value[0] == net for value in here.values()) <= 6
