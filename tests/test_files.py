"""Recorded attempts: what was written comes back, also after a kill; bad input names its place."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import callout
from callout.batch import Batch
from callout.capture.files import STREAM_END, open_file
from callout.errors import InputError
from callout.rows import UNSIGNED, from_rows
from callout.schema import FIELDS, flatten
from callout.sinks import Target, open_sink
from callout.summary import Summary

WEIRD = ["", "plain", "né 名\U0001f600", "\x1b[2J\n\0", "\udcff\udc80é", "\0ff", "\uefff", '"\\{,}']
SAMPLES: dict[str, list[Any]] = {
    "time": [0, 1_798_718_400_000_000_042, -1],
    "int": [0, -111, 2**63 - 1, -(2**63)],
    "bool": [True, False],
    "text": WEIRD,
    "ip": ["10.0.0.1", "2001:db8::1"],
    "text_list": [WEIRD, [], ["x"]],
    "list": [[{"pid": 1, "name": name} for name in WEIRD], []],
    "object": [{"a": {"b": WEIRD, "c": None}}, {}, {"n": 2**70}],
}
UNKNOWN: dict[str, list[Any]] = {
    "process.other": WEIRD,
    "unknown": [[1, 2.5, None, {"x": True}], 3],
    "unknown.too": [0, "a", False],
}


def every_field() -> list[dict[str, Any]]:
    """Rows with every field, in which each of its values and its absence occurs."""
    of: dict[str, list[Any]] = {name: SAMPLES[field.type] for name, field in FIELDS.items()}
    of |= UNKNOWN | {name: [2**64 - 1, 0] for name in UNSIGNED}
    rows = []
    for i in range(40):
        picked = {
            name: [*values, None][(i + place) % (len(values) + 1)]
            for place, (name, values) in enumerate(of.items())
        }
        rows.append({name: value for name, value in picked.items() if value is not None})
    return rows


def read(path: Path | str) -> list[dict[str, Any]]:
    with open_file(str(path)) as source:
        rows = [row for batch in source.batches() for row in batch.rows()]
        assert source.truncated is None
        assert list(source.finish(Summary())) == []
        return rows


def write(path: Path, format_: str, *batches: list[dict[str, Any]]) -> None:
    sink = open_sink(format_, Target(path.open("wb"), str(path)))
    for rows in batches:
        sink.write(Batch(len(rows), from_rows(rows)))
    sink.close(None)


@pytest.mark.parametrize("format_", ["ndjson", "arrow", "parquet"])
def test_everything_comes_back(format_: str, tmp_path: Path) -> None:
    rows = every_field()
    write(tmp_path / "out", format_, rows[:1], rows[1:30], rows[30:])
    assert read(tmp_path / "out") == rows


@st.composite
def chosen_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows in which all that a process can choose is any bytes."""
    some = st.binary(max_size=12) | st.lists(st.sampled_from(ODD), max_size=4).map(b"".join)
    text = some.map(os.fsdecode)
    row = st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(CHOSEN, text),
            "process.args": st.lists(text, max_size=3),
            "process.ancestors": st.lists(
                st.fixed_dictionaries({"pid": st.just(1), "name": text}), min_size=1, max_size=2
            ),
            "container.labels": st.dictionaries(text, text, min_size=1, max_size=2),
            "unknown.text": text,
        },
    )
    return draw(st.lists(row, min_size=1, max_size=4))


ODD = [b"\0", b"\xff", "\uefff".encode(), b"\xef\xbe", b"\x80", b"\\udcff", b"\x1b", "é".encode(), b"a"]
CHOSEN = (
    "process.name", "process.executable", "process.command_line", "process.working_directory", "connect.cgroup",
    "destination.address", "destination.domain", "container.name", "service.name", "user.name",
)  # fmt: skip


@pytest.mark.parametrize("format_", ["ndjson", "arrow", "parquet"])
@given(rows=chosen_rows())
@settings(max_examples=40, deadline=None)
def test_any_bytes_come_back(
    format_: str, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Valid text for whoever reads it, and the same bytes for us."""
    path = tmp_path_factory.mktemp("any") / "out"
    write(path, format_, rows)
    assert read(path) == rows
    shown = written_text(path, format_)
    for row, told in zip(rows, shown, strict=True):
        for name in CHOSEN:
            if name in row:
                text = told[name]
                assert text.encode("utf-8", "strict").count(b"\0") == 0
                assert callout.text_to_bytes(text) == os.fsencode(row[name])


def written_text(path: Path, format_: str) -> list[dict[str, Any]]:
    """The fields of a file as another program finds them."""
    if format_ == "ndjson":
        return [flatten(json.loads(line)) for line in path.read_bytes().splitlines()]
    if format_ == "parquet":
        table = pyarrow.parquet.read_table(path)
    else:
        table = pyarrow.ipc.open_stream(path.read_bytes()).read_all()
    return [*table.to_pylist()]


@pytest.mark.parametrize("format_", ["ndjson", "arrow", "parquet"])
def test_through_a_pipe(format_: str, tmp_path: Path) -> None:
    write(tmp_path / "out", format_, every_field())
    code = (
        "import sys; from callout.capture.files import open_file\n"
        "with open_file('-') as s: print(sum(len(b) for b in s.batches()), s.truncated, sys.stdin.closed)"
    )
    command = f"cat '{tmp_path / 'out'}' | '{sys.executable}' -c \"{code}\""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("40 None False\n", "")


def test_arrow_file(tmp_path: Path) -> None:
    table = Batch(40, from_rows(every_field())).to_arrow()
    with pyarrow.ipc.new_file(tmp_path / "out.arrow", table.schema) as writer:
        writer.write_table(table)
    assert read(tmp_path / "out.arrow") == every_field()


def test_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n \n")
    assert read(tmp_path / "empty") == []
    (tmp_path / "empty").write_bytes(b"")
    assert read(tmp_path / "empty") == []


# --- what a killed writer left


def test_arrow_stream_cut_anywhere(tmp_path: Path) -> None:
    stream = io.BytesIO()
    ends = []
    sink = open_sink("arrow", Target(stream))
    for i in range(3):
        sink.write(Batch(1, from_rows([{"connect.id": i, "process.name": f"p{i}"}])))
        ends.append(stream.tell())
    sink.close(None)
    whole, path = stream.getvalue(), tmp_path / "cut"
    for size in [*range(8, len(whole), 41), *ends, len(whole) - 1]:
        path.write_bytes(whole[:size])
        complete = sum(size >= end for end in ends)
        with open_file(str(path)) as source:
            assert [row["connect.id"] for batch in source.batches() for row in batch.rows()] == list(
                range(complete)
            )
            assert source.truncated == (
                f"{path} ends without its end mark, behind row {complete}: its writer was killed"
            )


def test_ndjson_cut_within_a_line(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_text('{"connect":{"id":1}}\n{"connect":{"id":2}}\n{"connect":{"i')
    with open_file(str(path)) as source:
        assert [row for batch in source.batches() for row in batch.rows()] == [
            {"connect.id": 1},
            {"connect.id": 2},
        ]
        assert source.truncated == f"{path} ends in the middle of line 3: its writer was killed"


def test_last_line_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "out").write_text('{"connect":{"id":1}}')
    assert read(tmp_path / "out") == [{"connect.id": 1}]


def test_empty_file_beside_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    path.touch()
    write(tmp_path / "out.parquet.partial", "arrow", [{"connect.id": 1}])
    with open_file(str(path)) as source:
        assert [row for batch in source.batches() for row in batch.rows()] == [{"connect.id": 1}]
        assert source.truncated == (
            f"{path} was never finished: read from {path}.partial, which its writer left behind"
        )


# --- what cannot be used


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":1}\n{"a":}\n', "line 2, column 6: Expecting value"),
        (b"{\n", "line 1, column 2: Expecting property name enclosed in double quotes"),
        (b"hello", "line 1, column 1: Expecting value"),
        (b"\x7fELF\x02\x01\x01\x00", "line 1, column 1: Expecting value"),
        (b'{"a":"\xe9"}\n', "line 1, column 7: byte 0xe9 is not UTF-8"),
        (b'\n\n["a"]\n', "line 3, column 1: not an object"),
        (b'{"a":NaN}\n', "line 1, column 1: NaN is not a number in JSON"),
        (b'{"a":1e999}\n', "line 1, column 1: 1e999 is not a number in JSON"),
        (
            b'{"x":1, "process":{"pid":"1"}}\n',
            'line 1, column 20: process.pid: "1" where a whole number belongs',
        ),
        (b'{"process.pid":true}\n', "line 1, column 1: process.pid: true where a whole number belongs"),
        (
            b'{"process":{"pid":9223372036854775808}}\n',
            "line 1, column 13: process.pid: 9223372036854775808 where a whole number belongs",
        ),
        (b'{"connect":{"id":-1}}\n', "line 1, column 13: connect.id: -1 where a whole number belongs"),
        (
            b'{"@timestamp":"yesterday"}\n',
            'line 1, column 2: @timestamp: "yesterday" where a time (RFC 3339) belongs',
        ),
        (
            b'{"@timestamp":"2026-02-30T00:00:00Z"}\n',
            'line 1, column 2: @timestamp: "2026-02-30T00:00:00Z" where a time (RFC 3339) belongs',
        ),
        (
            b'{"process":{"args":["a",1]}}\n',
            'line 1, column 13: process.args: ["a", 1] where a list of text belongs',
        ),
        (b'{"connect":{"evidence":[]}}\n', "line 1, column 13: connect.evidence: [] where an object belongs"),
    ],
)
def test_bad_ndjson(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "in.ndjson"
    path.write_bytes(data)
    with open_file(str(path)) as source, pytest.raises(InputError) as error:
        list(source.batches())
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(("opened", "closed"), [('{"a":', "}"), ("[", "]")])
def test_ndjson_nested_without_end(opened: str, closed: str, tmp_path: Path) -> None:
    path = tmp_path / "in.ndjson"
    path.write_text('{"a":' + opened * 100_000 + "1" + closed * 100_000 + "}\n")
    with open_file(str(path)) as source, pytest.raises(InputError, match=r"line 1, column 1: .*recursion"):
        list(source.batches())


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1_500_000_000),
        ("1970-01-01T02:00:00.0000000019+02:00", 1),
        ("1969-12-31 19:00:00-05:00", 0),
    ],
)
def test_times(text: str, ns: int, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(f'{{"@timestamp":"{text}"}}\n')
    assert read(tmp_path / "in") == [{"@timestamp": ns}]


def test_what_has_no_value_is_absent(tmp_path: Path) -> None:
    (tmp_path / "in").write_text('{"process":{"pid":null,"name":"a"},"container":{},"zebra":null}\n')
    assert read(tmp_path / "in") == [{"process.name": "a"}]


def test_damaged_arrow_stream(tmp_path: Path) -> None:
    write(tmp_path / "whole", "arrow", [{"connect.id": 1}])
    data = bytearray((tmp_path / "whole").read_bytes())
    data[8:40] = b"\xee" * 32
    (tmp_path / "bad").write_bytes(data)
    with (
        open_file(str(tmp_path / "bad")) as source,
        pytest.raises(InputError, match=r"bad: damaged behind row 0: "),
    ):
        list(source.batches())


@pytest.mark.parametrize(("magic", "kind"), [(b"PAR1", "Parquet"), (b"ARROW1\0\0", "Arrow")])
def test_incomplete_files_of_others(magic: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(magic + b"x" * 50)
    with (
        open_file(str(tmp_path / "bad")) as source,
        pytest.raises(InputError, match=f"bad: not a complete {kind} file"),
    ):
        list(source.batches())


def test_columns_of_wrong_types(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"process.pid": ["x"]}), tmp_path / "bad")
    with open_file(str(tmp_path / "bad")) as source, pytest.raises(InputError) as error:
        list(source.batches())
    assert str(error.value) == (
        f"{tmp_path / 'bad'}: rows 1 to 1: process.pid: string where a whole number belongs"
    )


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        open_file(str(tmp_path / "nowhere"))
    assert str(error.value) == (
        f"{tmp_path / 'nowhere'}: No such file or directory\n"
        "  give a file that -w wrote, or - for standard input"
    )
    with pytest.raises(InputError) as error:
        open_file(str(tmp_path))
    assert str(error.value) == f"{tmp_path}: Is a directory\n  give one file of it"


def test_the_file_by_its_other_names(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("{}")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to("one")
    (tmp_path / "two").write_text("{}")
    with open_file(str(path)) as source, path.open("ab") as again:
        for name, same in (("one", True), ("hard", True), ("soft", True), ("two", False), ("none", False)):
            assert source.is_file(str(tmp_path / name)) == same, name
        assert source.is_file(again.fileno())
    with open_file("/dev/null") as source:
        assert not source.is_file("/dev/null"), "can be read and written at once"


# --- pipes


ONE = b'{"connect":{"id":1}}\n'


@pytest.mark.parametrize(
    ("format_", "rest"), [("ndjson", b'{"connect":{"i'), ("arrow", b"")], ids=["ndjson", "arrow"]
)
def test_a_pipe_that_nobody_wants_more_of(format_: str, rest: bytes, tmp_path: Path) -> None:
    """It ends where it pauses; that nothing follows is then not its writer's fault."""
    write(tmp_path / "out", format_, [{"connect.id": 1}])
    whole = (tmp_path / "out").read_bytes()
    reading, writing = os.pipe()
    os.write(writing, (whole if format_ == "ndjson" else whole[: -len(STREAM_END)]) + rest)
    asked = []
    try:
        with open_file(f"/dev/fd/{reading}", lambda: not asked.append(1)) as source:  # type: ignore[func-returns-value]
            assert [row for batch in source.batches() for row in batch.rows()] == [{"connect.id": 1}]
            assert source.truncated is None
    finally:
        os.close(reading)
        os.close(writing)
    assert asked


def test_a_pipe_whose_writer_was_killed() -> None:
    reading, writing = os.pipe()
    os.write(writing, ONE + b'{"connect":{"i')
    os.close(writing)
    with open_file(f"/dev/fd/{reading}") as source:
        os.close(reading)
        assert [row for batch in source.batches() for row in batch.rows()] == [{"connect.id": 1}]
        assert source.truncated == f"{source.path} ends in the middle of line 2: its writer was killed"
