"""Text to tree and back; mistakes point at their place."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callout.expression import Expression, ExpressionError, parse
from callout.expression.tree import (
    And,
    Call,
    Compare,
    Exists,
    Field,
    Node,
    Not,
    Or,
    conjunction,
    disjunction,
    negation,
)

FIELDS = {
    "@timestamp": "time",
    "event.action": "text",
    "process.pid": "int",
    "process.name": "text",
    "process.executable": "text",
    "process.args": "text_list",
    "process.ancestors": "list",
    "source.ip": "ip",
    "destination.ip": "ip",
    "source.port": "int",
    "destination.port": "int",
    "destination.address": "text",
    "container.id": "text",
    "connect.nonblocking": "bool",
    "connect.evidence": "object",
}
NAME = Field("process.name", "text", ("process.name",))
PID = Field("process.pid", "int", ("process.pid",))
PORT = Field("destination.port", "int", ("destination.port",))
PEER = Field("destination.ip", "ip", ("destination.ip",))
ARGS = Field("process.args", "text_list", ("process.args",))
TIME = Field("@timestamp", "time", ("@timestamp",))
WAITS = Field("connect.nonblocking", "bool", ("connect.nonblocking",))
EITHER = Field("fd.port", "int", ("source.port", "destination.port"), "ends")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("process.name = curl", Compare(NAME, "=", ("curl",))),
        ("process.name==curl", Compare(NAME, "=", ("curl",))),
        ("proc.name = curl", Compare(NAME, "=", ("curl",))),  # Falco's name
        ('process.name = "a b"', Compare(NAME, "=", ("a b",))),
        ("process.name = 'a\"b'", Compare(NAME, "=", ('a"b',))),
        (r'process.name = "\x41\xc3\xa9\n\\\""', Compare(NAME, "=", ('Aé\n\\"',))),
        (r'process.name = "\xff"', Compare(NAME, "=", ("\udcff",))),
        ('process.name = ""', Compare(NAME, "=", ("",))),
        ("process.name = process.executable", Compare(NAME, "=", ("process.executable",))),  # a constant
        ("process.name = oneof", Compare(NAME, "=", ("oneof",))),
        ("process.name = oneof (a, b)", Compare(NAME, "=", ("a", "b"), "oneof")),
        ("process.name bcontains DEad", Compare(NAME, "bcontains", ("dead",))),
        ("process.name exists", Exists(NAME)),
        ("process.name in ()", Compare(NAME, "in", ())),
        ("process.name in(a,'b c' , d)", Compare(NAME, "in", ("a", "b c", "d"))),
        ("process.pid >= 0x10", Compare(PID, ">=", (16,))),
        ("process.pid < 1.5", Compare(PID, "<", (1.5,))),
        ("destination.ip = 10.1.2.3/8", Compare(PEER, "=", ("10.0.0.0/8",))),
        ("destination.ip = 10.1.2.3/32", Compare(PEER, "=", ("10.1.2.3",))),
        (
            "fd.snet in (::FFFF:10.0.0.0/104, 2001:db8:0::/32)",
            Compare(PEER, "in", ("10.0.0.0/8", "2001:db8::/32")),
        ),
        ("fd.port = 22", Compare(EITHER, "=", (22,))),
        ("connect.nonblocking = true", Compare(WAITS, "=", (True,))),
        ("connect.nonblocking", Compare(WAITS, "=", (True,))),
        ("@timestamp > 1970-01-01T01:00:01.000000002+01:00", Compare(TIME, ">", (1_000_000_002,))),
        ("@timestamp > 1970-01-02", Compare(TIME, ">", (86_400_000_000_000,))),
        ("@timestamp > 5", Compare(TIME, ">", (5,))),
        (
            "process.args[1] = -e",
            Compare(Field("process.args", "text", ("process.args",), "inside", 1), "=", ("-e",)),
        ),
        (
            "connect.evidence.syns > 2",
            Compare(Field("connect.evidence.syns", "dynamic", ("connect.evidence",), "inside"), ">", (2,)),
        ),
        (
            "process.ancestors.name = sshd",
            Compare(
                Field("process.ancestors.name", "dynamic", ("process.ancestors",), "inside", None, True),
                "=",
                ("sshd",),
            ),
        ),
        (
            "tolower(process.name) = val(process.executable)",
            Compare(
                Call("tolower", (NAME,), "text"),
                "=",
                Field("process.executable", "text", ("process.executable",)),
            ),
        ),
        (
            'join("-", (process.name, 7, "x")) = a',
            Compare(Call("join", ("-", (NAME, "7", "x")), "text"), "=", ("a",)),
        ),
        ("process.name in val(process.args)", Compare(NAME, "in", ARGS)),
    ],
)
def test_leaf(text: str, tree: Node) -> None:
    assert parse(text, FIELDS) == Expression(tree)


A, B, C = (Compare(PID, "=", (number,)) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "tree", "canonical"),
    [
        ("a or b and c", Or((A, And((B, C)))), "a or (b and c)"),
        ("(a or b) and c", And((Or((A, B)), C)), "(a or b) and c"),
        ("a and(b and c)", And((A, B, C)), "a and b and c"),
        ("not a and b", And((Not(A), B)), "not a and b"),
        ("not(a and b)", Not(And((A, B))), "not (a and b)"),
        ("not not a", A, "a"),
        ("not\tnot\r\nnot a", Not(A), "not a"),
        ("((a))", A, "a"),
    ],
)
def test_structure(text: str, tree: Node, canonical: str) -> None:
    """Macros a, b and c stand for `process.pid = 1` and so on."""
    env: dict[str, Expression | Node] = {"a": Expression(A), "b": B, "c": C}
    parsed = parse(text, FIELDS, env)
    assert (parsed, parse(canonical, FIELDS, env)) == (Expression(tree), parsed)
    assert parse(str(parsed), FIELDS) == parsed


def test_lists_are_put_in_place() -> None:
    env = {"shells": ["bash", "my shell"], "ports": ("22", "0x50"), "none": []}
    assert [
        str(parse(text, FIELDS, env))
        for text in (
            "proc.name in (shells)",
            "proc.name in shells",
            'proc.name in (nc, shells, "shells")',
            "fd.sport in (ports, none, 443)",
            "proc.name startswith anyof (shells)",
        )
    ] == [
        'process.name in (bash, "my shell")',
        'process.name in (bash, "my shell")',
        'process.name in (nc, bash, "my shell", shells)',
        "destination.port in (22, 80, 443)",
        'process.name startswith anyof (bash, "my shell")',
    ]


def test_fields_are_the_columns_read() -> None:
    text = 'fd.ip = 10.0.0.1 or proc.pid = 1 or join("", (proc.name, "x")) = val(process.executable)'
    assert parse(text, FIELDS).fields == {
        "source.ip",
        "destination.ip",
        "process.pid",
        "process.name",
        "process.executable",
    }


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "expected a condition, but the expression ends here"),
        ("process.pid = 1 and", 20, "expected a condition, but the expression ends here"),
        ("process.pid = 1 or or x", 20, "expected a condition, found 'or'"),
        ("process.pid = 1 && a", 17, "expected 'and', 'or' or the end, found '&&'"),
        ("(process.pid = 1", 17, "expected ')' to close the parenthesis, but the expression ends here"),
        ("process.pid = 1)", 16, "expected 'and', 'or' or the end, found ')'"),
        ("process.pod = 1", 1, "unknown field 'process.pod'"),
        ("proc.vmrss = 1", 1, "callout has nothing for Falco's field 'proc.vmrss'"),
        ("user.uid = 1", 1, "'user.uid' stands for user.id, which is not available here"),
        ("outbound and x", 1, "unknown name 'outbound'"),
        ("process.pid", 12, "expected an operator after process.pid, but the expression ends here"),
        ("process.name startswth a", 14, "expected an operator after process.name, found 'startswth'"),
        ("process.pid contains 1", 13, "'contains' does not apply to process.pid (int)"),
        ("destination.ip < 10.0.0.1", 16, "'<' does not apply to destination.ip (ip)"),
        ("process.args = a", 14, "'=' does not apply to process.args (text_list)"),
        ("process.ancestors = a", 19, "'=' does not apply to process.ancestors (list)"),
        ("connect.nonblocking = 1", 23, "'1' for connect.nonblocking: expected true or false"),
        ("process.pid = 1.5", 15, "'1.5' for process.pid: expected a whole number"),
        ("process.pid < 1e+999", 15, "'1e+999' for process.pid: expected a number"),
        ("fd.sip in (10.0.0.1, 10.0.0.0/33)", 22,
         "'10.0.0.0/33' for destination.ip: expected an IP address or a CIDR such as 10.0.0.0/8"),
        ("@timestamp > noon", 14,
         "'noon' for @timestamp: expected a time such as 2026-01-31T12:00:00Z, or nanoseconds since 1970"),
        ("process.name bcontains xyz", 24,
         "'xyz' for process.name: expected bytes in hexadecimal, such as 48656c6c6f"),
        ("process.name regex '('", 20,
         "'(' for process.name: not a regular expression: missing ), unterminated subpattern at position 0"),
        ("process.name = 'a", 16, "this quote is never closed"),
        (r"process.name = 'a\q'", 18, r"unknown escape '\q'"),
        ("process.name = ", 16, "expected a value, but the expression ends here"),
        ("process.name in (a b)", 20, "expected ',' between the values, or ')' after them, found 'b)'"),
        ("process.name in shells", 17, "unknown list 'shells'"),
        ("process.name in = a", 17, "expected a list in parentheses, found '='"),
        ("process.name[1] = a", 1, "'process.name' takes no [index]"),
        ("process.args[x] = a", 13, "expected a number in brackets, such as [1]"),
        ("len(process.pid) = 1", 1, "len() takes text or text_list here, not process.pid (int)"),
        ("concat(process.name) = a", 1, "concat() takes 2 or more argument(s)"),
        ("tolower(proc.aname) = a", 1,
         "proc.aname has several values and cannot be transformed or compared with val()"),
        ("val(process.name) = a", 1, "val() stands only on the right of an operator"),
        ("process.name = val(process.pid)", 16,
         "process.name is text and process.pid is int: they cannot be compared"),
        ("process.name glob val(process.executable)", 19, "the right side of 'glob' must be written out"),
        ("(" * 101 + "process.pid = 1", 101, "nested more than 100 deep"),
    ],
)  # fmt: skip
def test_mistake(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, FIELDS)
    assert (caught.value.column, caught.value.message, caught.value.text) == (column, message, text)


def test_list_is_no_condition() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("not shells", FIELDS, {"shells": ["sh"]})
    assert (caught.value.column, caught.value.message) == (5, "'shells' is a list, not a condition")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "process.pod = 1",
            """\
            unknown field 'process.pod' (column 1)
              process.pod = 1
              ^
            near it: process.pid, proc.pid, proc.apid""",
        ),
        (
            "process.pid = 1\nAND process.pid = 2",
            """\
            expected 'and', 'or' or the end, found 'AND' (line 2, column 1)
              AND process.pid = 2
              ^
            write 'and'""",
        ),
        (
            "process.pid = 1 or " * 5 + "process.name startwith x and " + "process.pid = 1 and " * 5,
            """\
            expected an operator after process.name, found 'startwith' (column 109)
              … or process.pid = 1 or process.name startwith x and process.pid = 1 and …
                                                   ^
            write 'startswith'""",
        ),
    ],
)
def test_error_shows_the_place(text: str, shown: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, FIELDS)
    assert str(caught.value) == textwrap.dedent(shown)


def test_error_survives_pickling() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("process.pod = 1", FIELDS)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_parsing_imports_no_numpy() -> None:
    code = (
        "import sys; from callout.expression import parse, pushdown;"
        "pushdown(parse('proc.pid = 1', {'process.pid': 'int'})); print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == "False\n"


# Any tree in normal form comes back from its text.

texts = st.text(max_size=6) | st.sampled_from(
    ["and", "oneof", "val(", "\\", '\\"', "a b", "\udcff", "10.0.0.0/8"]
)
addresses = st.ip_addresses().map(lambda ip: str(getattr(ip, "ipv4_mapped", None) or ip))
text_sides = st.one_of(
    st.just(NAME),
    st.builds(lambda field: Call("toupper", (field,), "text"), st.just(NAME)),
    st.builds(lambda text, item: Call("join", (text, (NAME, item)), "text"), texts, texts),
)
leaves = st.one_of(
    st.builds(
        lambda f, op, v: Compare(f, op, (v,)),
        st.sampled_from([PID, PORT, TIME]),
        st.sampled_from(["=", "!=", "<"]),
        st.integers(),
    ),
    st.builds(lambda v: Compare(PID, ">=", (v,)), st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(lambda v: Compare(PORT, "in", tuple(v)), st.lists(st.integers(), max_size=3)),
    st.builds(
        lambda f, op, v: Compare(f, op, (v,)),
        text_sides,
        st.sampled_from(["=", "!=", "contains", "iglob", "<"]),
        texts,
    ),
    st.builds(
        lambda f, op, v: Compare(f, op, tuple(v)),
        text_sides,
        st.sampled_from(["in", "pmatch"]),
        st.lists(texts, max_size=3),
    ),
    st.builds(
        lambda m, v: Compare(NAME, "endswith", tuple(v), m),
        st.sampled_from(["oneof", "allof"]),
        st.lists(texts, max_size=3),
    ),
    st.builds(lambda op, v: Compare(PEER, op, (v,)), st.sampled_from(["=", "!="]), addresses),
    st.builds(lambda v: Compare(WAITS, "=", (v,)), st.booleans()),
    st.builds(lambda side: Compare(NAME, "!=", side), text_sides),
    st.builds(Exists, st.sampled_from([NAME, PEER, ARGS])),
)
trees: st.SearchStrategy[Node] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=1, max_size=3).map(conjunction),
        st.lists(inner, min_size=1, max_size=3).map(disjunction),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(trees)
def test_canonical_text_parses_to_the_same_tree(tree: Node) -> None:
    assert parse(str(tree), FIELDS).tree == tree
