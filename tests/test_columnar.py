"""Batches as Arrow and Polars, and back, exactly."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from callout import columnar
from callout.arrow_columns import Encoder, schema_for
from callout.batch import Batch, Coded, Column, Plain, repeated
from callout.errors import UsageError
from callout.rows import from_rows
from callout.schema import FIELDS

ROWS: list[dict[str, Any]] = [
    {
        "@timestamp": 1_798_718_400_000_000_042,
        "event.category": ["network"],
        "process.pid": 4242,
        "process.name": b"\xffcurl\x00".decode("utf-8", "surrogateescape"),
        "process.ancestors": [{"pid": 1, "name": "\udcfe"}],
        "process.args": ["sh", "\udc80", ""],
        "destination.ip": "::1",
        "connect.id": 2**64 - 1,
        "connect.return": -111,
        "connect.nonblocking": False,
        "connect.evidence": {"syns": 2, "why": None},
        "unknown.field": {"a": [1.5]},
    },
    {},
    {"process.name": "\x00ff", "process.args": [], "connect.nonblocking": True, "unknown.other": "\uefff"},
]


def from_dicts(*rows: dict[str, Any]) -> Batch:
    return Batch(len(rows), from_rows(rows))


def test_to_table() -> None:
    table = from_dicts(*ROWS).to_arrow()
    assert {f.name: str(f.type) for f in table.schema} == {
        "@timestamp": "timestamp[ns, tz=UTC]",
        "event.category": "list<item: string>",
        "process.pid": "int64",
        "process.name": "dictionary<values=string, indices=int32, ordered=0>",
        "process.ancestors": "dictionary<values=string, indices=int32, ordered=0>",
        "process.args": "list<item: string>",
        "destination.ip": "dictionary<values=string, indices=int32, ordered=0>",
        "connect.id": "uint64",
        "connect.return": "int64",
        "connect.nonblocking": "bool",
        "connect.evidence": "dictionary<values=string, indices=int32, ordered=0>",
        "extra": "dictionary<values=string, indices=int32, ordered=0>",
    }
    shown = {name: table.column(name).to_pylist() for name in table.column_names[1:]}
    assert shown["process.name"] == ["\uefffcurl\uef00", None, "\uef00ff"]
    assert shown["process.args"] == [["sh", "\uef80", ""], None, []]
    assert shown["connect.evidence"] == ['{"syns":2,"why":null}', None, None]
    assert shown["connect.id"] == [2**64 - 1, None, None]
    assert shown["extra"] == [
        '{"unknown.field":{"a":[1.5]}}',
        None,
        '{"unknown.other":"\\uefee\\uefbf\\uefbf"}',
    ]
    assert table.column("@timestamp").cast("int64").to_pylist() == [1_798_718_400_000_000_042, None, None]
    table.validate(full=True)


def test_schema_is_that_of_the_fields() -> None:
    schema = columnar.arrow_schema()
    assert schema.names == [*FIELDS, "extra"]
    assert schema.metadata[b"callout.version"]
    assert schema.field("event.duration").metadata == {
        b"callout.type": b"int",
        b"callout.doc": FIELDS["event.duration"].doc.encode(),
        b"callout.unit": b"ns",
    }
    assert schema.field("connect.evidence").metadata[b"callout.type"] == b"json"


def test_back_again() -> None:
    assert list(columnar.from_table(from_dicts(*ROWS).to_arrow()).rows()) == ROWS
    assert list(columnar.from_table(columnar.to_record_batch(from_dicts(*ROWS))).rows()) == ROWS


@pytest.mark.parametrize("count", [0, 1, 7, 100_000])
def test_columns_that_are_missing_are_null(count: int) -> None:
    batch = columnar.to_record_batch(Batch(count, {"process.pid": Plain(np.arange(count))}))
    batch.validate(full=True)
    assert [f.name for f, column in zip(batch.schema, batch, strict=True) if column.null_count < count] == (
        ["process.pid"] if count else []
    )
    assert [len(column) for column in batch] == [count] * (len(FIELDS) + 1)


def test_numbers_may_be_coded_narrow_or_strided() -> None:
    records = np.zeros(3, [("pid", "u4"), ("ok", "?")])
    records["pid"] = [1, 2, 2**32 - 1]
    batch = Batch(
        3,
        {
            "process.pid": Plain(records["pid"]),
            "connect.fastopen": Plain(records["ok"], np.array([True, False, True])),
            "user.id": Coded(np.array([1, -1, 0], np.int32), [1000, 0]),
            "connect.nonblocking": Coded(np.array([0, 1, -1], np.int32), [True, False]),
            "process.start": Coded(np.array([0, -1, 0], np.int32), [10**18]),
            "destination.ip": Coded(np.array([0, 2, -1], np.int32), ["a", "unused", "b"]),
        },
    )
    rows: list[dict[str, Any]] = [
        {"process.pid": 1, "connect.fastopen": False, "user.id": 0, "connect.nonblocking": True}
        | {"process.start": 10**18, "destination.ip": "a"},
        {"process.pid": 2, "connect.nonblocking": False, "destination.ip": "b"},
        {"process.pid": 2**32 - 1, "connect.fastopen": False, "user.id": 1000, "process.start": 10**18},
    ]
    read = columnar.from_table(columnar.to_record_batch(batch))
    assert list(read.rows()) == [{name: row[name] for name in FIELDS if name in row} for row in rows]


def steady(count: int, **columns: Column) -> Batch:
    """A batch of a steady source; ``__`` stands for the dot of a name."""
    named = {name.replace("__", "."): column for name, column in columns.items()}
    return Batch(count, named, steady=True)


def test_a_steady_source_has_the_columns_and_widths_of_its_first_batch() -> None:
    first = steady(
        2,
        event__kind=Coded(repeated(np.zeros(1, np.int32), 2), ["event"]),
        event__category=Coded(repeated(np.zeros(1, np.int32), 2), [["network"]]),
        process__pid=Plain(repeated(np.array([2**32 - 1], np.uint32), 2)),
        process__start=Plain(repeated(np.array([10**18]).view("datetime64[ns]"), 2)),
        destination__ip=Coded(np.array([0, -1], np.int32), ["::1"]),
        connect__nonblocking=Plain(repeated(np.array([True]), 2)),
        connect__fastopen=Plain(np.array([True, False]), repeated(np.array([False]), 2)),
        connect__cookie=Plain(np.array([1, 2**64 - 1], np.uint64)),
    )
    encoder = Encoder(schema_for(first), narrow=True)
    assert {f.name: str(f.type) for f in encoder.schema} == {
        "event.kind": "dictionary<values=string, indices=int8, ordered=0>",
        "event.category": "list<item: string>",
        "process.pid": "uint32",
        "process.start": "timestamp[ns, tz=UTC]",
        "destination.ip": "dictionary<values=string, indices=int16, ordered=0>",
        "connect.nonblocking": "bool",
        "connect.fastopen": "bool",
        "connect.cookie": "uint64",
        "extra": "dictionary<values=string, indices=int16, ordered=0>",
    }
    common = {"event.kind": "event", "event.category": ["network"], "process.pid": 2**32 - 1}
    common |= {"process.start": 10**18, "connect.nonblocking": True}
    [made] = encoder.record_batches(first)
    made.validate(full=True)
    assert list(columnar.from_table(made).rows()) == [
        common | {"destination.ip": "::1", "connect.cookie": 1},
        common | {"connect.cookie": 2**64 - 1},
    ]
    later = from_dicts({"process.pid": 2**40, "user.id": 3}, {"process.pid": 7, "unknown": [1]})
    [made] = encoder.record_batches(later)
    assert made.column("process.pid").to_pylist() == [None, None]
    assert list(columnar.from_table(made).rows()) == [
        {"process.pid": 2**40, "user.id": 3},
        {"process.pid": 7, "unknown": [1]},
    ]


def test_more_values_than_an_index_can_number_make_several_batches() -> None:
    kinds = [f"kind-{i}" for i in range(200)]
    batch = steady(400, event__kind=Coded(np.arange(400, dtype=np.int32) % 200, kinds))
    made = Encoder(schema_for(batch), narrow=True).record_batches(batch)
    assert [len(part) for part in made] == [100] * 4
    read = columnar.from_table(pa.Table.from_batches(made)).column("event.kind")
    assert read.tolist() == kinds * 2


def test_constants_that_grow_and_change() -> None:
    encoder = Encoder(columnar.arrow_schema())
    for count, pid, args in ((3, 7, ["a"]), (20_000, 7, ["a"]), (2, 8, ["b", "c"])):
        batch = Batch(
            count,
            {
                "process.pid": Plain(repeated(np.array([pid]), count)),
                "process.args": Coded(repeated(np.zeros(1, np.int32), count), [args]),
            },
        )
        [made] = encoder.record_batches(batch)
        made.validate(full=True)
        assert made.column("process.pid").to_pylist() == [pid] * count
        assert made.column("process.args").to_pylist() == [args] * count


def test_only_values_that_occur_are_written() -> None:
    values = [f"/path/{i}" for i in range(1000)]
    batch = Batch(3, {"process.executable": Coded(np.array([999, -1, 5], np.int32), values)})
    column = batch.to_arrow().column("process.executable").chunk(0)
    assert column.to_pylist() == ["/path/999", None, "/path/5"]
    assert len(column.dictionary) <= 3


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("process.pid", np.array([2**63], np.uint64), "process.pid: a number does not fit in int64"),
        ("connect.id", np.array([-1]), "connect.id: a number does not fit in uint64"),
        ("process.pid", np.array([1.0]), "process.pid: float64 where whole numbers belong"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(name: str, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Batch(1, {name: Plain(data)}).to_arrow()


def test_numbers_where_there_is_no_value_do_not_count() -> None:
    batch = Batch(2, {"connect.id": Plain(np.array([-1, 5]), np.array([False, True]))})
    assert batch.to_arrow().column("connect.id").to_pylist() == [None, 5]


def test_tables_of_others() -> None:
    table = pa.table(
        {
            "@timestamp": pa.array([1_000_001, None], pa.timestamp("us", "UTC")),
            "process.pid": pa.array([7, None], pa.int16()),
            "process.name": pa.array(["a", None], pa.large_string()),
            "destination.ip": pa.array([None, "::1"], pa.string_view()),
            "connect.evidence": [{"syns": 1}, None],
            "score": [0.5, None],
            "flag": [True, None],
            "nothing": pa.nulls(2),
        }
    )
    batch = columnar.from_table(pa.concat_tables([table.slice(1), table]).slice(1))
    assert list(batch.rows()) == [
        {
            "@timestamp": 1_000_001_000,
            "process.pid": 7,
            "process.name": "a",
            "connect.evidence": {"syns": 1},
            "score": 0.5,
            "flag": True,
        },
        {"destination.ip": "::1"},
    ]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("@timestamp", [1], "@timestamp: int64 where a timestamp belongs"),
        ("process.pid", ["1"], "process.pid: string where a whole number belongs"),
        ("connect.nonblocking", ["no"], "connect.nonblocking: string where a boolean belongs"),
        ("process.name", [1], "process.name: int64 where text belongs"),
        ("process.args", ["sh"], "process.args: string where a list belongs"),
        ("connect.evidence", ["[]"], "connect.evidence: string where an object belongs"),
    ],
)
def test_tables_with_wrong_types_are_refused(name: str, values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        columnar.from_table(pa.table({name: values}))


@pytest.mark.parametrize("convert", [columnar.to_table, columnar.to_record_batch])
def test_without_pyarrow(convert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as error:
        convert(Batch(0, {}))
    assert (
        str(error.value) == "Arrow and Parquet need the extra callout[arrow]\n  pip install 'callout[arrow]'"
    )


def test_without_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UsageError) as error:
        Batch(0, {}).to_polars()
    assert str(error.value) == "data frames need the extra callout[polars]\n  pip install 'callout[polars]'"


def test_polars(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="polars is not installed (callout[polars])")
    frame = from_dicts(*ROWS).to_polars()
    assert frame["process.pid"].to_list() == [4242, None, None]
    assert frame["destination.ip"].cast(str).to_list() == ["::1", None, None]
    back = list(columnar.from_table(frame.to_arrow()).rows())
    assert [{name: row[name] for name in row if name != "extra"} for row in back] == [
        {name: row[name] for name in row if not name.startswith("unknown")} for row in ROWS
    ]
