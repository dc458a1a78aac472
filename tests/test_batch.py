"""Columns and batches: values in, the same values out, in every shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.batch import Batch, Coded, Column, Plain, coded, compact, concatenate, distinct

PLAIN = Plain(np.array([80, 443, 0], np.uint16), np.array([True, True, False]))
FULL = Plain(np.array([1, 2, 3]))
CODED = Coded(np.array([1, -1, 0], np.int32), ["curl", "wget"])


def codes(*numbers: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(numbers, np.int32)


@pytest.mark.parametrize(
    ("column", "values"),
    [(PLAIN, [80, 443, None]), (FULL, [1, 2, 3]), (CODED, ["wget", None, "curl"])],
)
@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (np.array([2, 0]), [2, 0]),
        (np.array([True, False, True]), [0, 2]),
        (np.array([], np.int64), []),
        (np.array([1, 1]), [1, 1]),
    ],
)
def test_take(column: Column, values: list[Any], index: np.ndarray[Any, Any], rows: list[int]) -> None:
    assert column.tolist() == values
    assert len(column) == 3
    taken = column.take(index)
    assert taken.tolist() == [values[row] for row in rows]
    assert len(taken) == len(rows)


KEYS = st.lists(st.integers(0, 5), max_size=40)


@given(KEYS, st.sampled_from(["u1", "<u2", ">u2", "i4", "u8", "S3", "V16"]))
def test_distinct_numbers_in_order_of_appearance(keys: list[int], dtype: str) -> None:
    raw = b"".join(key.to_bytes(np.dtype(dtype).itemsize, "little") for key in keys)
    array = np.frombuffer(raw, dtype)
    numbers, first = distinct(array)
    order = list(dict.fromkeys(keys))
    assert numbers.tolist() == [order.index(key) for key in keys]
    assert first.tolist() == [keys.index(key) for key in order]


@given(KEYS)
def test_distinct_of_a_field_a_slice_and_a_reversal(keys: list[int]) -> None:
    records = np.zeros(len(keys), [("before", "u8"), ("key", "u2"), ("after", "u1")])
    records["key"] = keys
    records["before"] = np.arange(len(keys))  # never part of the key
    for array, expected in (
        (records["key"], keys),
        (records["key"][::2], keys[::2]),
        (records["key"][::-1], keys[::-1]),
    ):
        numbers, first = distinct(array)
        assert array[first[numbers]].tolist() == expected
        assert len(first) == len(set(expected))


def test_distinct_of_many() -> None:
    keys = np.arange(100_000, dtype=np.uint64) % 77_777
    numbers, first = distinct(keys)
    assert len(first) == 77_777
    assert (keys[first[numbers]] == keys).all()


def test_coded_asks_once_for_each_key() -> None:
    asked = []

    def value(key: int) -> str | None:
        asked.append(int(key))
        return None if key == 7 else f"<{key}>"

    column = coded(np.array([5, 7, 5, 9, 7]), value)
    assert column.tolist() == ["<5>", None, "<5>", "<9>", None]
    assert asked == [5, 7, 9]
    assert column.values == ["<5>", "<9>"]


@pytest.mark.parametrize(
    ("values", "kept", "numbers"),
    [
        (["a", "b"], ["a", "b"], [1, 0, 1]),
        (["a", None], ["a"], [-1, 0, -1]),
        ([None, "b"], ["b"], [0, -1, 0]),
        ([None, None], [], [-1, -1, -1]),
    ],
)
def test_compact(values: list[str | None], kept: list[str], numbers: list[int]) -> None:
    column = compact(codes(1, 0, 1), values)
    assert (column.values, column.codes.tolist()) == (kept, numbers)


def example() -> Batch:
    return Batch(3, {"destination.port": PLAIN, "process.name": CODED, "connect.id": FULL})


def test_rows_have_only_what_is_known() -> None:
    assert list(example().rows()) == [
        {"destination.port": 80, "process.name": "wget", "connect.id": 1},
        {"destination.port": 443, "connect.id": 2},
        {"process.name": "curl", "connect.id": 3},
    ]


def test_columns_are_computed_when_asked_for_and_once() -> None:
    computed = []

    def column() -> Column:
        computed.append("port")
        return PLAIN

    batch = Batch(3, {"destination.port": column})
    assert len(batch) == 3
    assert "destination.port" in batch
    assert "process.name" not in batch
    assert batch.names == ["destination.port"]
    chosen = batch.select(np.array([False, True, True])).select(np.array([1]))
    assert computed == []
    assert list(chosen.rows()) == [{}]
    assert chosen.column("destination.port") is chosen.column("destination.port")
    assert batch.column("destination.port") is PLAIN
    assert computed == ["port"]


def test_add_and_missing_column() -> None:
    batch = example()
    batch.add("connect.id", lambda: Plain(np.array([7, 8, 9])))
    batch.add("host.name", Coded(codes(0, 0, 0), ["here"]))
    assert batch.names == ["destination.port", "process.name", "connect.id", "host.name"]
    assert batch.column("connect.id").tolist() == [7, 8, 9]
    with pytest.raises(KeyError, match=r"no\.such"):
        batch.column("no.such")


def test_no_rows_of_kinds() -> None:
    few = Batch(1, {"host.name": lambda: Coded(np.zeros(1, np.int32), ["here"])})
    batch = Batch(2, {}, few=few, codes=np.zeros(2, np.intp))
    assert list(batch.select(np.zeros(2, bool)).rows()) == []
    assert list(batch.select(np.array([False, True])).rows()) == [{"host.name": "here"}]


def test_select_by_mask_and_by_number() -> None:
    rows = list(example().rows())
    assert list(example().select(np.array([True, False, True])).rows()) == [rows[0], rows[2]]
    assert list(example().select(np.array([2, 1])).rows()) == [rows[2], rows[1]]
    assert len(example().select(np.zeros(3, bool))) == 0


def test_concatenate() -> None:
    second = Batch(
        2,
        {
            "process.name": Coded(codes(0, 1), ["wget", "nc"]),
            "destination.port": Plain(np.array([1, 2], np.uint16)),
            "connect.evidence": Coded(codes(0, -1), [{"rst": True}]),
            "connect.id": Plain(np.array([4, 5])),
        },
    )
    whole = concatenate([example(), Batch(0, {}), second])
    assert whole.names == ["destination.port", "process.name", "connect.id", "connect.evidence"]
    assert list(whole.rows()) == [
        *example().rows(),
        {"destination.port": 1, "process.name": "wget", "connect.id": 4, "connect.evidence": {"rst": True}},
        {"destination.port": 2, "process.name": "nc", "connect.id": 5},
    ]
    name = whole.column("process.name")
    assert isinstance(name, Coded)
    assert name.values == ["wget", "curl", "nc"], "a value is stored once"
    assert isinstance(whole.column("connect.id"), Plain), "a batch without rows does not change the shape"


def test_concatenate_nothing() -> None:
    assert (len(concatenate([])), list(concatenate([Batch(0, {})]).rows())) == (0, [])


def test_equal_texts_are_one_value() -> None:
    """Else a dictionary of few places is full, and a batch has to be written in parts."""
    column = compact(np.array([0, 1, 2, 3, 4], np.int32), ["ipv4", None, "ipv4", "ipv6", ["x"]])
    assert column.tolist() == ["ipv4", None, "ipv4", "ipv6", ["x"]]
    assert column.values == ["ipv4", "ipv6", ["x"]]


def test_equal_values_are_kept_once() -> None:
    column = compact(np.array([0, 1, 2, 3, -1], np.int32), ["a", None, "a", {"b": 1}])
    assert column.values == ["a", {"b": 1}]
    assert column.tolist() == ["a", None, "a", {"b": 1}, None]
    assert compact(np.array([-1], np.int32), []).tolist() == [None]
