"""Trees over a batch: which rows satisfy them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callout.batch import Coded, Plain
from callout.expression import parse
from callout.expression.tree import Compare, Exists, Field, Node, Not, Or, conjunction, disjunction, negation

FIELDS = {
    "@timestamp": "time",
    "event.action": "text",
    "process.pid": "int",
    "process.name": "text",
    "process.executable": "text",
    "process.args": "text_list",
    "process.ancestors": "list",
    "source.ip": "ip",
    "source.port": "int",
    "destination.ip": "ip",
    "destination.port": "int",
    "destination.address": "text",
    "container.id": "text",
    "connect.nonblocking": "bool",
    "connect.evidence": "object",
    "connect.cookie": "int",
}


class Rows:
    """The least batch there can be: rows given as values, None where there is none."""

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> Plain | Coded:
        values = self.columns[name]
        if FIELDS[name] in ("int", "time", "bool"):
            data = np.array([value or 0 for value in values], bool if FIELDS[name] == "bool" else np.int64)
            return Plain(data, np.array([value is not None for value in values], bool))
        known = [value for value in values if value is not None]
        places = iter(range(len(known)))
        return Coded(np.array([-1 if value is None else next(places) for value in values], np.int32), known)


def rows_that_match(text: str, columns: Mapping[str, list[Any]]) -> list[int]:
    return np.flatnonzero(parse(text, FIELDS).mask(Rows(columns))).tolist()


NAMES: dict[str, list[Any]] = {"process.name": ["curl", "Curl", "curl-7", None, "", "/opt/dir/sub/file"]}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("process.name = curl", [0]),
        ("process.name != curl", [1, 2, 4, 5]),  # not the missing one
        ("not process.name = curl", [1, 2, 3, 4, 5]),  # also the missing one
        ("process.name exists", [0, 1, 2, 4, 5]),
        ("not process.name exists", [3]),
        ("process.name contains url", [0, 1, 2]),
        ("process.name icontains CURL", [0, 1, 2]),
        ("process.name startswith curl", [0, 2]),
        ("process.name endswith -7", [2]),
        ("process.name bcontains 2d37", [2]),
        ("process.name bstartswith 43", [1]),
        ("process.name glob cur?", [0]),
        ("process.name iglob cur?", [0, 1]),
        ("process.name glob [^c]url", [1]),
        ("process.name glob [!C]url*", [0, 2]),
        ("process.name glob /opt/*", [5]),  # the star crosses slashes
        (r"process.name glob cur\*", []),
        ("process.name regex c[a-z]+", [0]),  # the whole value
        ("process.name in (curl, Curl)", [0, 1]),
        ("process.name intersects (curl, Curl)", [0, 1]),
        ("process.name in ()", []),
        ("process.name pmatch (/opt/dir)", [5]),
        ("process.name pmatch (/opt/di)", []),
        ("process.name pmatch (/opt/di?/*, /x)", [5]),
        ("process.name pmatch (/opt/*/*/*/*)", []),
        ("process.name < val(process.name)", []),
        ("process.name startswith oneof (c, curl)", []),
        ("process.name contains oneof (C, -7)", [1, 2]),
        ("process.name startswith anyof (c, curl, C)", [0, 1, 2]),
        ("process.name startswith allof (c, curl)", [0, 2]),
        ("process.name != allof (curl, Curl)", [2, 4, 5]),
        ("process.name = anyof ()", []),
        ("tolower(process.name) = curl", [0, 1]),
        ("toupper(process.name) in (CURL)", [0, 1]),
        ("basename(process.name) = file", [5]),
        ("len(process.name) >= 6", [2, 5]),
        ("len(process.name) = 0", [4]),
        ('concat(process.name, "/", process.name) = curl/curl', [0]),
        ('join("-", (process.name, "x")) = curl-x', [0]),
        ("process.name = tolower(process.name)", [0, 2, 4, 5]),
        ("process.executable = x or process.name = curl", [0]),  # a column that is not there
        ("not process.executable = x", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_text(text: str, rows: list[int]) -> None:
    assert rows_that_match(text, NAMES) == rows


def test_bytes_and_base64() -> None:
    columns = {"process.name": ["aGk", "aGk=", "é", "\udcff!", "*"]}
    found = [
        rows_that_match(text, columns)
        for text in (
            "b64(process.name) = hi",
            "not b64(process.name) exists",
            "len(process.name) = 2",
            r'process.name startswith "\xff"',
            "process.name bstartswith c3",
        )
    ]
    assert found == [[0, 1], [2, 3, 4], [2, 3], [3], [2]]


NUMBERS: dict[str, list[Any]] = {
    "process.pid": [1, 2, None, 2**40, -5],
    "connect.nonblocking": [True, False, None, True, False],
    "@timestamp": [10**9, 2 * 10**9, 0, None, 5],
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("process.pid = 1", [0]),
        ("process.pid != 1", [1, 3, 4]),
        ("not process.pid != 1", [0, 2]),
        ("process.pid < 2", [0, 4]),
        ("process.pid <= 1.5", [0, 4]),
        ("process.pid > 1099511627775", [3]),
        ("process.pid >= 99999999999999999999999", []),
        ("process.pid in (2, -5, 99999999999999999999999)", [1, 4]),
        ("process.pid in (2, 3, 4, 5, 6, 7, 8, 9, 10, 99999999999999999999999)", [1]),
        ("process.pid exists", [0, 1, 3, 4]),
        ("process.pid > val(connect.cookie)", []),  # a column that is not there
        ("connect.nonblocking", [0, 3]),
        ("connect.nonblocking != true", [1, 4]),
        ("not connect.nonblocking", [1, 2, 4]),
        ("@timestamp >= 1970-01-01T00:00:01Z", [0, 1]),
        ('join("/", (process.pid, "x")) = 2/x', [1]),
    ],
)
def test_numbers(text: str, rows: list[int]) -> None:
    assert rows_that_match(text, NUMBERS) == rows


ADDRESSES: dict[str, list[Any]] = {
    "destination.ip": ["10.0.0.1", "::ffff:10.0.0.2", "2001:db8::1", None, "fe80::1%eth0", "10.1.0.9"],
    "source.ip": ["10.0.0.9", None, "2001:db8::2", "192.0.2.1", None, "10.1.0.9"],
    "destination.port": [80, 443, 53, None, 80, None],
    "source.port": [40000, 40001, None, 40002, None, None],
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("destination.ip = 10.0.0.1", [0]),
        ("destination.ip = 10.0.0.0/24", [0, 1]),
        ("destination.ip = ::ffff:10.0.0.0/120", [0, 1]),
        ("destination.ip != 10.0.0.0/24", [2, 4, 5]),  # the other IP version differs
        ("destination.ip in (10.1.0.0/16, fe80::/10, 2001:db8::1)", [2, 4, 5]),
        ("destination.ip in (0.0.0.0/0)", [0, 1, 5]),
        ("destination.ip in (::/0)", [2, 4]),
        ("destination.ip != anyof (10.0.0.0/8, 2001:db8::/32)", [0, 1, 2, 4, 5]),
        ("destination.ip = val(source.ip)", [5]),
        ("destination.ip != val(source.ip)", [0, 2]),
        ("fd.ip = 10.0.0.9", [0]),
        ("fd.ip = 192.0.2.1", [3]),
        ("fd.net in (10.0.0.0/24, 192.0.2.0/24)", [0, 1, 3]),
        ("fd.ip != 10.0.0.9", [1, 2, 3, 4, 5]),
        ("fd.ip != 10.0.0.1", [1, 2, 3, 4, 5]),
        ("fd.ip = anyof (10.0.0.1, 10.1.0.9)", [0, 5]),
        ("fd.ip = oneof (10.0.0.0/24, 10.0.0.9)", [1]),
        ("fd.ip = allof (10.0.0.1, 10.0.0.9)", [0]),
        ("fd.ip = allof ()", []),
        ("fd.ip exists", [0, 1, 2, 3, 4, 5]),
        ("fd.port in (80, 40001)", [0, 1, 4]),
        ("fd.port > 1024", [0, 1, 3]),
        ("fd.port != 80", [1, 2, 3]),  # both ends differ, and there is one
        ("not fd.port = 80", [1, 2, 3, 5]),
        ("fd.port exists", [0, 1, 2, 3, 4]),
    ],
)
def test_addresses_and_ends(text: str, rows: list[int]) -> None:
    assert rows_that_match(text, ADDRESSES) == rows


SHELL = {"pid": 7, "name": "bash", "executable": "/bin/bash"}
INIT = {"pid": 1, "name": "systemd"}
OBJECTS: dict[str, list[Any]] = {
    "process.args": [["curl", "-s", "x"], [], None],
    "process.ancestors": [[SHELL, INIT], [INIT], None],
    "connect.evidence": [{"syns": 3, "by": {"rule": "drop"}}, {"syns": "many", "late": True}, None],
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("process.args in (curl, -s, x, y)", [0]),  # all items, and there are some
        ("process.args in (curl, -s)", []),
        ("process.args intersects (-s, -k)", [0]),
        ("process.args exists", [0, 1]),
        ("process.args[1] = -s", [0]),
        ("process.args[3] exists", []),
        ("len(process.args) = 3", [0]),
        ('join(" ", process.args) = "curl -s x"', [0]),
        ("process.ancestors.name = bash", [0]),
        ("process.ancestors.name != systemd", [0]),  # some ancestor differs
        ("process.ancestors.pid > 6", [0]),
        ("process.ancestors.executable exists", [0]),
        ("connect.evidence.syns >= 3", [0]),
        ("connect.evidence.syns = 3", [0]),
        ("connect.evidence.syns startswith ma", [1]),
        ("connect.evidence.late = true", [1]),
        ("connect.evidence.by.rule in (drop)", [0]),
        ("connect.evidence.by.rule.deeper exists", []),
        ("connect.evidence exists", [0, 1]),
    ],
)
def test_lists_and_objects(text: str, rows: list[int]) -> None:
    assert rows_that_match(text, OBJECTS) == rows


def test_one_test_per_distinct_value_also_of_a_long_dictionary() -> None:
    class Shared:
        def __len__(self) -> int:
            return 4

        def column(self, name: str) -> Coded:
            if name != "process.name":
                raise KeyError(name)
            return Coded(np.array([900, -1, 3, 900], np.int32), [f"p{number}" for number in range(1000)])

    masks = [
        parse(text, FIELDS).mask(Shared()).tolist()
        for text in ("proc.name = p900", "tolower(proc.name) = p3")
    ]
    assert masks == [[True, False, False, True], [False, False, True, False]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float64])
def test_numbers_of_every_width(dtype: type[np.generic]) -> None:
    class Wide:
        def __len__(self) -> int:
            return 3

        def column(self, name: str) -> Plain:
            return {"process.pid": Plain(np.array([0, 7, 100], dtype))}[name]

    many = ", ".join(map(str, [-1, 7, 2**63, 2**70, *range(200, 210)]))
    masks = [
        parse(text, FIELDS).mask(Wide()).tolist()
        for text in (
            f"process.pid in ({many})",
            "process.pid > -1",
            f"process.pid < {2**70}",
            "process.pid = -1",
        )
    ]
    assert masks == [[False, True, False], [True] * 3, [True] * 3, [False] * 3]


def test_times_may_be_datetimes() -> None:
    class Times:
        def __len__(self) -> int:
            return 2

        def column(self, name: str) -> Plain:
            return {"@timestamp": Plain(np.array(["1970-01-01", "NaT"], "M8[s]"), np.array([True, False]))}[
                name
            ]

    assert parse("@timestamp < 1970-01-02", FIELDS).mask(Times()).tolist() == [True, False]


def test_no_rows() -> None:
    nothing: dict[str, list[Any]] = {"process.name": [], "process.pid": [], "process.executable": []}
    for text in (
        "proc.name = a",
        "proc.pid = 1",
        'concat(proc.name, process.executable) = ""',
        "not proc.pid = 1",
    ):
        assert rows_that_match(text, nothing) == []


# The evaluator agrees with the definition, row by row: a leaf is false where its value is missing.

PID = Field("process.pid", "int", ("process.pid",))
NAME = Field("process.name", "text", ("process.name",))
leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(
        lambda op, v: Compare(PID, op, (v,)),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.integers(-2, 2),
    ),
    st.builds(lambda v: Compare(PID, "in", tuple(v)), st.lists(st.integers(-2, 2), max_size=12)),
    st.builds(
        lambda op, v: Compare(NAME, op, (v,)),
        st.sampled_from(["=", "!=", "contains"]),
        st.text("ab", max_size=2),
    ),
    st.builds(Exists, st.sampled_from([PID, NAME])),
)
trees: st.SearchStrategy[Node] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=1, max_size=3).map(conjunction),
        st.lists(inner, min_size=1, max_size=3).map(disjunction),
    ),
)
records = st.lists(
    st.fixed_dictionaries(
        {
            "process.pid": st.none() | st.integers(-2, 2),
            "process.name": st.none() | st.text("ab", max_size=3),
        }
    ),
    min_size=1,
    max_size=8,
)


def holds(node: Node, row: dict[str, Any]) -> bool:
    match node:
        case Not(term):
            return not holds(term, row)
        case Exists(Field(name=name)):
            return row[name] is not None
        case Compare(Field(name=name), operator, values) if isinstance(values, tuple):
            value = row[name]
            if value is None:
                return False
            wanted: Any = values[0] if values else None
            match operator:
                case "in":
                    return value in values
                case "contains":
                    return wanted in value
                case "=" | "!=":
                    return (value == wanted) is (operator == "=")
                case "<" | "<=":
                    return bool(value < wanted or (operator == "<=" and value == wanted))
                case _:
                    return bool(value > wanted or (operator == ">=" and value == wanted))
        case Or(terms):
            return any(holds(term, row) for term in terms)
        case _:
            return all(holds(term, row) for term in node.terms)  # type: ignore[union-attr]


@settings(deadline=None)
@given(trees, records)
def test_agrees_with_the_definition(tree: Node, rows: list[dict[str, Any]]) -> None:
    columns = {name: [row[name] for row in rows] for name in ("process.pid", "process.name")}
    mask = parse(str(tree), FIELDS).mask(Rows(columns))
    assert (mask.dtype, mask.tolist()) == (np.dtype(bool), [holds(tree, row) for row in rows])
