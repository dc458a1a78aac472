"""`callout why` on recordings: groups, stories, errors, both outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from callout import cli
from callout.schema import nest


def row(**changes: Any) -> dict[str, Any]:
    """A failed attempt; ``__`` in names stands for the dot; None takes a field away."""
    made = {
        "event.action": "connect", "event.outcome": "failure", "event.duration": 3_000_000_000, "process.pid": 7,
        "process.name": "curl", "destination.ip": "192.0.2.9", "destination.port": 443, "network.transport": "tcp",
        "connect.id": 11, "connect.family": "AF_INET", "connect.return": -110, "connect.verdict": "timed_out",
        "connect.errno": "ETIMEDOUT", "connect.cause": "syn_unanswered", "connect.evidence": {"syns": 3},
    } | {name.replace("__", "."): value for name, value in changes.items()}  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "x.ndjson"
    rows = [
        row(),
        row(connect__id=12, connect__cause="rst_from_peer", connect__errno="ECONNREFUSED", connect__verdict="refused",
            connect__evidence={"syns": 1, "rst": True}, process__name="psql", process__pid=8, destination__port=5432),
        row(connect__id=13, event__outcome="success", connect__verdict="established", connect__cause=None,
            connect__errno=None, process__pid=9, process__name="fine"),
    ]  # fmt: skip
    lines = []
    for made in rows:
        made["@timestamp"] = "2027-01-15T08:00:00.000000000Z"
        lines.append(json.dumps(nest(made)) + "\n")
    path.write_text("".join(lines))
    return path


def why(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["why", *words])
    out, err = capsys.readouterr()
    return status, out, err


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_groups_of_a_recording(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = why(capsys, "--from", str(recording))
    assert (status, err) == (0, "")
    assert [(r["why"]["cause"], r["why"]["count"]) for r in rows(out)] == [
        ("syn_unanswered", 1),
        ("rst_from_peer", 1),
    ]
    status, out, _ = why(capsys, "--from", str(recording), "-o", "table")
    assert "rst_from_peer           certain   08:00:00" in out or "rst_from_peer           certain" in out


@pytest.mark.parametrize("target", ["psql", "8", "id:12", "192.0.2.9:5432"])
def test_one_story(target: str, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = why(capsys, target, "--from", str(recording))
    (story,) = rows(out)
    assert (status, story["why"]["cause"], story["why"]["confidence"]) == (0, "rst_from_peer", "certain")
    assert story["connect"]["id"] == 12
    _, out, _ = why(capsys, target, "--from", str(recording), "-o", "table")
    assert out.startswith("psql[8] → 192.0.2.9:5432 (tcp): refused (ECONNREFUSED)")


def test_to_a_file(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "out"
    assert why(capsys, "--from", str(recording), "-w", str(place)) == (0, "", "")
    assert len(rows(place.read_text())) == 2


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["nobody"], 1, "no failed attempt of nobody was seen"),
        (["fine"], 1, "no attempt of fine failed: 1 succeeded"),
        (["192.0.2.9:x"], 2, "'x' is not a port"),
        (["--for", "1"], 2, "--from reads a file"),
        (["-w", "/nowhere/x"], 2, "cannot write /nowhere/x"),
    ],
)
def test_errors(
    words: list[str], status: int, told: str, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, out, err = why(capsys, *words, "--from", str(recording))
    assert (got, out) == (status, "")
    assert told in err


def test_an_unknown_process(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = why(capsys, "4194303")
    assert status == 2
    assert "there is no process 4194303" in err


def test_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert why(capsys, "--from", "/nowhere/x")[0] == 4


def test_live_needs_privileges(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("callout.capture.privileges.effective", lambda: 0)
    status, _, err = why(capsys, "--for", "1")
    assert status == 3
    assert "sudo" in err
    assert "--from" in err
