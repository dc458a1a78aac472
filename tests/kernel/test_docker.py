"""Containers of a real Docker daemon: which one an attempt came from, also when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .engine import IMAGE, Engine, engine
from .watch import finish, run, traced

pytestmark = pytest.mark.kernel

ATTEMPTS = [("tcp", "established"), ("unix", "established"), ("tcp", "refused")]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Engine]:
    with engine() as found:
        yield found


def attempts(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the client of the image did, in order."""
    rows.sort(key=lambda row: row["@timestamp"])
    return [(row["network"]["transport"], row["connect"]["verdict"]) for row in rows]


def test_one_that_is_gone_at_once_and_removed_has_its_name(daemon: Engine, tmp_path: Path) -> None:
    with traced(tmp_path, "-o", "ndjson", env=daemon.environment) as tracer:
        daemon.docker(
            "run", "--rm", "--network", "none", "--name", "quick", "--label", "a.b=c", IMAGE, "/bin/client"
        )
        assert daemon.docker("ps", "--all", "--quiet", "--filter", "name=quick") == ""
        rows, _ = finish(tracer)
    ours = [row for row in rows if row["process"]["name"] == "client"]
    assert attempts(ours) == ATTEMPTS
    (identifier,) = {row["container"].pop("id") for row in ours}
    assert len(identifier) == 64
    expected = {"name": "quick", "image": {"name": IMAGE}, "runtime": "docker", "labels": {"a.b": "c"}}
    assert [row["container"] for row in ours] == [expected] * 3
    assert {row["connect"]["cgroup"].rpartition("/")[2] for row in ours} == {identifier}
    asked = [row for row in rows if row["process"]["pid"] == tracer.pid]
    assert asked == [], "callout asked the daemon, and that is no call of this host's"


def test_many_at_once_have_each_their_own(daemon: Engine, tmp_path: Path) -> None:
    names = [f"each-{number}" for number in range(4)]
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=daemon.environment) as tracer:
        ids = {daemon.run("--name", name, IMAGE, "/bin/client"): name for name in names}
        daemon.docker("wait", *names)
        daemon.docker("rm", *names)
        rows, _ = finish(tracer)
    assert len(rows) == len(names) * len(ATTEMPTS)
    assert {row["container"]["id"]: row["container"]["name"] for row in rows} == ids


def test_one_that_was_there_before(daemon: Engine, tmp_path: Path) -> None:
    identifier = daemon.run("--name", "before", "--label", "team=net", IMAGE, "/bin/sleep", "1000")
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=daemon.environment) as tracer:
        daemon.docker("exec", "before", "/bin/client")
        rows, _ = finish(tracer)
    daemon.docker("rm", "--force", "before")
    assert attempts(rows) == ATTEMPTS
    assert {row["container"]["id"] for row in rows} == {identifier}
    assert {row["container"]["name"] for row in rows} == {"before"}
    assert rows[0]["container"]["labels"] == {"team": "net"}


def test_without_the_daemon_the_id_is_all(daemon: Engine, tmp_path: Path) -> None:
    identifier = daemon.run("--name", "alone", IMAGE, "/bin/sleep", "1000")
    nobody = {**daemon.environment, "DOCKER_HOST": f"unix://{tmp_path}/none"}
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=nobody) as tracer:
        daemon.docker("exec", "alone", "/bin/client")
        rows, _ = finish(tracer)
    daemon.docker("rm", "--force", "alone")
    assert attempts(rows) == ATTEMPTS
    assert [row["container"] for row in rows] == [{"id": identifier, "runtime": "docker"}] * 3


def test_filters_by_what_the_runtime_says(daemon: Engine, tmp_path: Path) -> None:
    words = "container.name = second and container.image.repository = callout-test and fd.sport exists"
    with traced(tmp_path, "-o", "ndjson", words, env=daemon.environment) as tracer:
        for name in ("first", "second"):
            daemon.docker("run", "--rm", "--network", "none", "--name", name, IMAGE, "/bin/client")
        rows, _ = finish(tracer)
    assert attempts(rows) == [("tcp", "established"), ("tcp", "refused")]


def test_narrowed_to_a_container_also_when_it_is_made_anew(daemon: Engine, tmp_path: Path) -> None:
    first = daemon.run("--name", "chosen", IMAGE, "/bin/sleep", "1000")
    daemon.run("--name", "other", IMAGE, "/bin/sleep", "1000")
    with traced(tmp_path, "-o", "ndjson", "--container", "chosen", env=daemon.environment) as tracer:
        for name in ("other", "chosen"):
            daemon.docker("exec", name, "/bin/client")
        daemon.docker("rm", "--force", "chosen")
        daemon.docker("run", "--rm", "--network", "none", "--name", "third", IMAGE, "/bin/client")
        second = daemon.run("--name", "chosen", IMAGE, "/bin/client")
        daemon.docker("wait", "chosen")
        rows, _ = finish(tracer)
    daemon.docker("rm", "--force", "chosen", "other")
    assert first != second
    rows.sort(key=lambda row: row["@timestamp"])
    clients = [row for row in rows if row["process"]["name"] == "client"]
    assert [row["container"]["id"] for row in clients] == [first] * 3 + [second] * 3
    assert {row["container"]["name"] for row in rows} == {"chosen"}


def test_a_container_that_is_not_there(daemon: Engine) -> None:
    done = run(["trace", "--container", "none-such"], env=daemon.environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("callout: there is no container 'none-such' running here\n")
