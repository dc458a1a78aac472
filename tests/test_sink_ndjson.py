"""NDJSON, whole lines; and against json.dumps of nested rows, for batches of every shape."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callout.batch import Batch, Coded, Plain
from callout.octets import converted, outward
from callout.rows import from_rows
from callout.schema import FIELDS, nest
from callout.sinks import Target
from callout.sinks.json_text import layout, timestamps
from callout.sinks.ndjson import LINES, NdjsonSink

NOON = 1_798_718_400_000_000_042


def ndjson(batch: Batch) -> str:
    stream = io.BytesIO()
    sink = NdjsonSink(Target(stream))
    sink.write(batch)
    sink.close(None)
    return stream.getvalue().decode("ascii")


def from_dicts(*rows: dict[str, Any]) -> Batch:
    return Batch(len(rows), from_rows(rows))


def test_whole_output() -> None:
    batch = from_dicts(
        {
            "connect.verdict": "refused",  # the order of the schema, not of the batch
            "connect.id": 2**64 - 1,
            "connect.nonblocking": True,
            "connect.evidence": {"syns": 2, "drop": None, "list": [1, "é"]},
            "destination.ip": "10.0.0.1",
            "destination.port": 443,
            "process.thread.id": 7,
            "process.pid": 6,
            "process.start": NOON - 3_600_000_000_000,
            "process.args": ["sh", "-c", 'echo "\t\x1b\x7f"'],
            "event.category": ["network"],
            "event.type": [],
            "@timestamp": NOON,
        },
        {},
        {"process.name": b"\xff\xc3\xa9".decode("utf-8", "surrogateescape"), "connect.return": -111},
        {"process.unheard_of": {"of": 1.5}, "process.pid": 8, "zebra": [None, False], "user.id": 0},
    )
    assert ndjson(batch) == (
        '{"@timestamp":"2026-12-31T12:00:00.000000042Z","event":{"category":["network"],"type":[]},'
        '"process":{"pid":6,"thread":{"id":7},"args":["sh","-c","echo \\"\\t\\u001b\\u007f\\""],'
        '"start":"2026-12-31T11:00:00.000000042Z"},"destination":{"ip":"10.0.0.1","port":443},'
        '"connect":{"id":18446744073709551615,"nonblocking":true,"verdict":"refused",'
        '"evidence":{"syns":2,"drop":null,"list":[1,"\\u00e9"]}}}\n'
        "{}\n"
        '{"process":{"name":"\\uefff\\u00e9"},"connect":{"return":-111}}\n'
        '{"process":{"pid":8,"unheard_of":{"of":1.5}},"user":{"id":0},"zebra":[null,false]}\n'
    )


def test_empty_batch_writes_nothing() -> None:
    assert ndjson(Batch(0, {})) == ""


def test_order_of_keys() -> None:
    names = ("b", "process.x", "connect.cause", "process.pid", "a.b", "a", "", "a.", "process.parent.pid")
    assert layout(names).names == [
        "process.pid",
        "process.parent.pid",
        "process.x",
        "connect.cause",
        "b",
        "a.b",
        "a",
        "a.",
        "",
    ]


def test_names_below_a_value_get_keys_with_dots() -> None:
    batch = from_dicts({"a": 1, "a.b": 2, "a.b.c": 3, "z.y": 4, "z.y.x": 5, "z.x": 6}, {"a.b": 2})
    assert ndjson(batch) == ('{"a":1,"a.b":2,"a.b.c":3,"z":{"y":4,"y.x":5,"x":6}}\n{"a.b":2}\n')


def test_values_that_numpy_made() -> None:
    batch = Batch(2, {"x": Coded(np.array([0, 1], np.int32), [np.int64(5), {"y": np.bool_(True)}])})
    assert ndjson(batch) == '{"x":5}\n{"x":{"y":true}}\n'


def test_values_that_are_no_json_are_refused() -> None:
    with pytest.raises(TypeError, match="bytes has no JSON form"):
        ndjson(Batch(1, {"x": Coded(np.zeros(1, np.int32), [b""])}))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_timestamps(moments: list[int]) -> None:
    def expected(ns: int) -> str:
        seconds, nanos = divmod(ns, 10**9)
        return f'"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09}Z"'

    assert timestamps(np.array(moments)) == [expected(ns) for ns in moments]


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "time": st.integers(-(2**62), 2**62),
    "int": st.integers(0, 3) | st.integers(0, 2**63 - 1),
    "bool": st.booleans(),
    "text": st.sampled_from(["a", "{,", '"}', "\\", "\udcff\x00\u2028é😀"]),
    "ip": st.sampled_from(["10.0.0.1", "::1"]),
    "text_list": st.lists(st.sampled_from(["", "x", "\ud800"]), max_size=2),
    "list": st.lists(st.fixed_dictionaries({"pid": st.integers(0, 9)}), max_size=2),
    "object": st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(0, 3), max_size=2),
}
UNKNOWN = {
    "process.unknown": VALUES["text"],
    "unknown.deep.er": VALUES["object"],
    "unknown.list": VALUES["list"],
}


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any fields, each present always, sometimes or never, in more rows than values are made for."""
    of = {name: VALUES[field.type] for name, field in FIELDS.items()} | UNKNOWN
    names = draw(st.lists(st.sampled_from(sorted(of)), unique=True, max_size=12))
    pools = {name: draw(st.lists(st.none() | of[name], min_size=1, max_size=4)) for name in names}
    count = draw(st.sampled_from([1, 2, 17, 40]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = []
    for _ in range(count):
        row = {name: pool[random.integers(len(pool))] for name, pool in pools.items()}
        rows.append({name: value for name, value in row.items() if value is not None})
    return from_dicts(*rows)


def plainly(batch: Batch) -> str:
    """The same, the usual way: one dictionary after the other."""
    order = layout(tuple(batch.names)).names
    lines = []
    for row in batch.rows():
        for name in ("@timestamp", "process.start"):
            if name in row:
                row[name] = json.loads(timestamps(np.array([row[name]]))[0])
        nested = nest({name: row[name] for name in order if name in row})
        lines.append(json.dumps(converted(nested, outward), separators=(",", ":")) + "\n")
    return "".join(lines)


@settings(max_examples=300)
@given(batches())
def test_like_json_dumps(batch: Batch) -> None:
    assert ndjson(batch) == plainly(batch)


@pytest.mark.parametrize("count", [LINES - 1, LINES, 20 * LINES + 1])
def test_large_batches(count: int) -> None:
    """Many values and few, absent in some rows, and more rows than are joined at once."""
    numbers = np.arange(count)
    some = numbers % 3 != 0
    many = [f"name-{i}" for i in range(5000)]
    batch = Batch(
        count,
        {
            "@timestamp": Plain(NOON + numbers * 10**8),
            "event.duration": Plain(numbers * 7919, some),
            "process.pid": Plain((numbers % 40).astype(np.uint32)),
            "process.name": Coded(np.where(some, numbers % 5000, -1).astype(np.int32), many),
            "process.executable": Coded((numbers % 7).astype(np.int32), many),
            "process.start": Plain((NOON + numbers // 100).view("datetime64[ns]"), some),
            "user.id": Plain(numbers % 5, np.zeros(count, bool)),
            "destination.ip": Coded((numbers % 211).astype(np.int32), many[:211]),
            "destination.port": Plain((numbers % 89).astype(np.uint16), numbers % 2 == 0),
            "network.type": Coded(np.full(count, -1, np.int32), []),
            "connect.nonblocking": Plain(some),
            "connect.cause": Coded((numbers % 2 - 1).astype(np.int32), ["no_route"]),
        },
    )
    assert ndjson(batch) == plainly(batch)
