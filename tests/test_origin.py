"""Where arguments come from: the table is complete, and each row tells of the arguments that it has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from callout import origin
from callout.batch import Batch
from callout.rows import from_rows

K = {"from": "kernel", "can_change": False}
U = {"from": "user", "can_change": True}
CALLED = {"connect.fd": 3, "connect.addrlen": 16, "connect.return": 0}
SEEN = {"connect.fd": 3, "connect.addrlen": 16}
LOCAL = {"source.port": 40000}

CASES: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({"connect.entry": "connect"} | CALLED | LOCAL, {"sockfd": K, "addr": U, "addrlen": K, "copy": K}),
    ({"connect.entry": "connect"} | CALLED, {"sockfd": K, "addr": U, "addrlen": K}),
    (
        {"connect.entry": "connect", "connect.swapped": {"entry": "a", "used": "b"}} | CALLED,
        {"sockfd": K, "addr": U, "addrlen": K, "copy": K},
    ),
    ({"connect.entry": "connect_ia32"} | CALLED, {"sockfd": K, "addr": U, "addrlen": K}),
    ({"connect.entry": "socketcall"} | CALLED, {"sockfd": K, "addr": U, "addrlen": K}),
    ({"connect.entry": "socketcall"} | SEEN, {"sockfd": U, "addr": U, "addrlen": U, "copy": K}),
    ({"connect.entry": "io_uring", "connect.addrlen": 16}, {"addr": U, "addrlen": K}),
    ({"connect.entry": "sendto"} | SEEN, {"sockfd": K, "addr": U, "addrlen": K, "copy": K}),
    ({"connect.entry": "sendmsg"} | SEEN, {"sockfd": K, "addr": U, "addrlen": U, "copy": K}),
    ({"connect.entry": "kernel"}, {"copy": K}),
    ({"connect.entry": "by_pigeon"} | CALLED, None),
    ({"destination.port": 80}, None),
]


def test_each_row_tells_of_what_it_has() -> None:
    batch = Batch(len(CASES), from_rows([row for row, _ in CASES]))
    origin.add(batch)
    assert batch.column("connect.origin").tolist() == [expected for _, expected in CASES]
    assert json.loads(json.dumps(batch.column("connect.origin").tolist()[0])) == CASES[0][1]


def test_what_is_there_already_stays() -> None:
    recorded = Batch(1, from_rows([{"connect.entry": "connect", "connect.origin": {"copy": K}}]))
    origin.add(recorded)
    assert recorded.column("connect.origin").tolist() == [{"copy": K}]
    bare = Batch(1, from_rows([{"connect.fd": 3}]))
    origin.add(bare)
    assert bare.names == ["connect.fd"]


@pytest.mark.object
def test_every_way_in_is_described() -> None:
    from callout.btf import Btf
    from callout.capture.loading import read_object

    ways = {name.removeprefix("ENTRY_").lower() for name in Btf.of_object(read_object()).enum("entry_path")}
    assert {fact.entry for fact in origin.facts()} == ways
    for entry in ways - {"kernel"}:
        for seen in ("call", "socket"):
            assert list(origin.of(entry, seen)) == list(origin.ARGUMENTS)


def test_the_facts_agree_with_their_tags() -> None:
    """Kernel memory never changes under a reader; user memory always can, also the address of every call."""
    for fact in origin.facts():
        assert fact.memory == ("user" if "U" in fact.tags else "kernel")
        assert ("U" in fact.tags) == ("TOCTOU" in fact.tags) == fact.can_change == ("K" not in fact.tags)
        assert (fact.argument == "copy") <= (fact.memory == "kernel")
        kernels = fact.entry == "sctp_connectx"  # seen where only the kernel's copy is
        assert (fact.argument == "addr") <= (fact.memory == ("kernel" if kernels else "user"))
        assert fact.why


ROW = {"connect": {"entry": "connect", "fd": 3, "addrlen": 16, "return": 0}}


def trace(recording: Path, *words: str) -> tuple[int, str, str]:
    recording.write_text(json.dumps(ROW) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "callout", "trace", "--from", str(recording), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_verbose_adds_it(tmp_path: Path) -> None:
    connect = ROW["connect"]
    for option in ("-v", "--verbose"):
        status, out, _ = trace(tmp_path / "rows", option)
        assert (status, json.loads(out)) == (
            0,
            {"connect": connect | {"origin": {"sockfd": K, "addr": U, "addrlen": K}}},
        )
    status, out, _ = trace(tmp_path / "rows")
    assert (status, json.loads(out)) == (0, ROW)


@pytest.mark.parametrize("form", ["table", "strace"])
def test_what_does_not_show_it_refuses(tmp_path: Path, form: str) -> None:
    assert trace(tmp_path / "rows", "-v", "-o", form) == (
        2,
        "",
        f"callout: --verbose adds fields that {form} does not show\n"
        "  use -o ndjson, or `callout explain connect`\n",
    )
