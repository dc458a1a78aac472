"""Containers of a real Podman: which one an attempt came from, also when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .podman import IMAGE, Podman, podman
from .watch import finish, traced

pytestmark = pytest.mark.kernel

ATTEMPTS = [("tcp", "established"), ("unix", "established"), ("tcp", "refused")]


@pytest.fixture(scope="module")
def pods() -> Iterator[Podman]:
    with podman() as found:
        yield found


def attempts(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the client of the image did, in order."""
    rows.sort(key=lambda row: row["@timestamp"])
    return [(row["network"]["transport"], row["connect"]["verdict"]) for row in rows]


def test_one_that_stands(pods: Podman, tmp_path: Path) -> None:
    words = ["--detach", *pods.options(), "--name", "stands", "--label", "team=net", IMAGE]
    identifier = pods.podman("run", *words, "/bin/sleep", "1000")
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=pods.environment) as tracer:
        pods.podman("exec", "stands", "/bin/client")
        rows, _ = finish(tracer)
    pods.podman("rm", "--force", "--time", "0", "stands")
    assert attempts(rows) == ATTEMPTS
    assert [row["container"] for row in rows] == [
        {
            "id": identifier,
            "name": "stands",
            "image": {"name": IMAGE},
            "runtime": "podman",
            "labels": {"team": "net"},
        }
    ] * 3
    assert {row["connect"]["cgroup"].rpartition("/")[2] for row in rows} == {f"libpod-{identifier}"}


def test_one_that_is_gone_at_once_and_removed_has_its_name(pods: Podman, tmp_path: Path) -> None:
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=pods.environment) as tracer:
        pods.podman("run", "--rm", *pods.options(), "--name", "quick", IMAGE, "/bin/client")
        assert pods.podman("ps", "--all", "--quiet", "--filter", "name=quick") == ""
        rows, _ = finish(tracer)
    assert attempts(rows) == ATTEMPTS
    assert {row["container"].get("name") for row in rows} == {"quick"}
    assert {row["container"].get("image", {}).get("name") for row in rows} == {IMAGE}


def test_narrowed_by_its_name(pods: Podman, tmp_path: Path) -> None:
    for name in ("chosen", "other"):
        pods.podman("run", "--detach", *pods.options(), "--name", name, IMAGE, "/bin/sleep", "1000")
    with traced(tmp_path, "-o", "ndjson", "--container", "chosen", env=pods.environment) as tracer:
        for name in ("other", "chosen"):
            pods.podman("exec", name, "/bin/client")
        rows, _ = finish(tracer)
    pods.podman("rm", "--force", "--time", "0", "chosen", "other")
    ours = [row for row in rows if row["process"]["name"] == "client"]
    assert attempts(ours) == ATTEMPTS
    assert {row["container"]["name"] for row in rows} == {"chosen"}


def test_without_its_service_its_files_tell(pods: Podman, tmp_path: Path) -> None:
    words = ["--detach", *pods.options(), "--name", "alone", IMAGE]
    identifier = pods.podman("run", *words, "/bin/sleep", "1000")
    nobody = {**pods.environment, "CONTAINER_HOST": f"unix://{tmp_path}/none"}
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=nobody) as tracer:
        pods.podman("exec", identifier, "/bin/client")
        rows, _ = finish(tracer)
    pods.podman("rm", "--force", "--time", "0", identifier)
    told = {"id": identifier, "name": "alone", "image": {"name": IMAGE}, "runtime": "podman"}
    assert [row["container"] for row in rows] == [told] * 3


def test_without_service_and_files_the_id_is_all(pods: Podman, tmp_path: Path) -> None:
    identifier = pods.podman("run", "--detach", *pods.options(), IMAGE, "/bin/sleep", "1000")
    nobody = {
        **pods.environment,
        "CONTAINER_HOST": f"unix://{tmp_path}/none",
        "CONTAINERS_STORAGE_CONF": f"{tmp_path}/none",
    }
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=nobody) as tracer:
        pods.podman("exec", identifier, "/bin/client")
        rows, _ = finish(tracer)
    pods.podman("rm", "--force", "--time", "0", identifier)
    assert [row["container"] for row in rows] == [{"id": identifier, "runtime": "podman"}] * 3
