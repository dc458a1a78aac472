"""What the kernel may check: always a superset of what the expression accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callout.batch import Coded
from callout.expression import Narrowing, parse, pushdown
from callout.expression.tree import Compare, Exists, Field, Node, conjunction, disjunction, negation

FIELDS = {
    "process.pid": "int",
    "process.name": "text",
    "user.id": "int",
    "destination.port": "int",
    "source.port": "int",
    "network.type": "text",
    "connect.family": "text",
    "event.outcome": "text",
}


@pytest.mark.parametrize(
    ("text", "narrowing"),
    [
        ("proc.pid = 7", Narrowing(pids=frozenset({7}))),
        ("proc.pid in (7, 8) and user.uid = 0", Narrowing(pids=frozenset({7, 8}), uids=frozenset({0}))),
        ("proc.pid in (7, 8) and proc.pid intersects (8, 9)", Narrowing(pids=frozenset({8}))),
        ("proc.pid = 7 and proc.pid = 8", Narrowing(pids=frozenset())),
        ("fd.sport = 80 or destination.port = 443", Narrowing(ports=frozenset({80, 443}))),
        ("(fd.sport = 80 and proc.pid = 1) or fd.sport = 443", Narrowing(ports=frozenset({80, 443}))),
        ("fd.sport = anyof (80, 81)", Narrowing(ports=frozenset({80, 81}))),
        ("fd.sport in ()", Narrowing(ports=frozenset())),
        ("proc.name = curl", Narrowing(comms=frozenset({"curl"}))),
        ("proc.name in (0123456789abcdef, x)", Narrowing(comms=frozenset({"0123456789abcde", "x"}))),
        ("network.type = ipv6", Narrowing(families=frozenset({0, 10}))),
        ("network.type in (ipv4)", Narrowing(families=frozenset({0, 2, 10}))),
        ("event.outcome = failure", Narrowing(outcome="failure")),
        ("event.outcome = success or event.outcome = success", Narrowing(outcome="success")),
        ("not not proc.pid = 7", Narrowing(pids=frozenset({7}))),
        # what leaves everything open
        ("not proc.pid = 7", Narrowing()),
        ("proc.pid != 7", Narrowing()),
        ("fd.sport < 80", Narrowing()),
        ("fd.port = 80", Narrowing()),  # either end
        ("proc.name startswith cu", Narrowing()),
        ("tolower(proc.name) = curl", Narrowing()),
        ("proc.pid = val(user.id)", Narrowing()),
        ("proc.pid exists", Narrowing()),
        ("fd.sport = 80 or proc.pid = 1", Narrowing()),
        ("connect.family = AF_INET6", Narrowing()),  # the socket's, and the address may be of another
        ("network.type in (ipv4, other)", Narrowing()),
        ("event.outcome in (success, failure)", Narrowing()),
        ("event.outcome = unknown", Narrowing()),
        ("event.outcome = success or event.outcome = failure", Narrowing()),
    ],
)
def test_narrowing(text: str, narrowing: Narrowing) -> None:
    assert pushdown(parse(text, FIELDS)) == narrowing


def test_text_ids_are_numbers_too() -> None:
    fields: Mapping[str, str] = {"user.id": "text"}
    texts = ("user.id = 1000", "user.id in (0, nobody)")
    assert [pushdown(parse(text, fields)) for text in texts] == [
        Narrowing(uids=frozenset({1000})),
        Narrowing(),
    ]


# Values are few, so that expressions often match.
VALUES: dict[str, list[Any]] = {
    "process.pid": [1, 2],
    "user.id": [0, 1000],
    "destination.port": [80, 443],
    "source.port": [80, 40000],
    "process.name": ["curl", "0123456789abcde"],
    "event.outcome": ["success", "failure", "unknown"],
}
FAMILIES: dict[int, list[str | None]] = {  # of the address, and the network types that it can come to
    0: [None, "ipv4"],
    1: [None],
    2: ["ipv4"],
    10: ["ipv4", "ipv6"],
}


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    row = {name: draw(st.none() | st.sampled_from(values)) for name, values in VALUES.items()}
    family = draw(st.sampled_from(sorted(FAMILIES)))
    return row | {"asked family": family, "network.type": draw(st.sampled_from(FAMILIES[family]))}


@st.composite
def comparisons(draw: st.DrawFn) -> Node:
    name = draw(st.sampled_from([*VALUES, "network.type"]))
    values = st.sampled_from(VALUES.get(name, ["ipv4", "ipv6"]))
    field = Field(name, FIELDS[name], (name,))
    if draw(st.integers(0, 9)) == 0:
        return Exists(field)
    operator = draw(st.sampled_from(["=", "=", "in", "intersects", "!=", "<="]))
    if operator in ("in", "intersects"):
        return Compare(field, operator, tuple(draw(st.lists(values, max_size=3))))
    modified = operator != "<=" and FIELDS[name] == "text" and draw(st.booleans())
    modifier = draw(st.sampled_from(["anyof", "oneof", "allof"])) if modified else ""
    wanted = draw(st.lists(values, min_size=1, max_size=3)) if modifier else [draw(values)]
    return Compare(field, operator, tuple(wanted), modifier)


trees: st.SearchStrategy[Node] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=2, max_size=3).map(conjunction),
        st.lists(inner, min_size=2, max_size=3).map(disjunction),
    ),
)


class Rows:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Coded:
        values = [row[name] for row in self.rows]
        codes = [-1 if value is None else place for place, value in enumerate(values)]
        return Coded(np.array(codes, np.int32), values)


def admits(narrowing: Narrowing, row: dict[str, Any]) -> bool:
    """What a kernel that narrows exactly so would do."""
    sets = (
        (narrowing.pids, row["process.pid"]),
        (narrowing.uids, row["user.id"]),
        (narrowing.ports, row["destination.port"]),
        (narrowing.comms, row["process.name"]),
        (narrowing.families, row["asked family"]),
    )
    inside = all(wanted is None or value in wanted for wanted, value in sets)
    return inside and narrowing.outcome in (None, row["event.outcome"])


@settings(max_examples=300, deadline=None)
@given(trees, st.lists(records(), min_size=1, max_size=20))
def test_no_accepted_row_is_excluded(tree: Node, rows: list[dict[str, Any]]) -> None:
    expression = parse(str(tree), FIELDS)
    accepted = np.flatnonzero(expression.mask(Rows(rows))).tolist()
    excluded = [place for place in accepted if not admits(pushdown(expression), rows[place])]
    assert excluded == []
