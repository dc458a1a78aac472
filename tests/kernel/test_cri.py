"""Pods of a real containerd: namespace, pod and container of an attempt by the CRI, without a kubelet.

CRI-O speaks the same interface, and is in no archive of Debian 12: its own files and cgroup names have a stand-in in
tests/test_runtime_docker.py and tests/test_cgroup_paths.csv.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster, cluster
from .watch import finish, run, traced

pytestmark = pytest.mark.kernel

UID = "5b3d8a1e-7c0f-4d2b-9a6e-1f2e3d4c5b6a"
OTHER = "6c4e9b2f-8d10-4e3c-8b7f-2a3f4e5d6c7b"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def test_a_container_that_is_over_at_once(nodes: Cluster, tmp_path: Path) -> None:
    pod = nodes.pod("shop-1", "prod", UID, app="shop")
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=nodes.environment) as tracer:
        identifier = nodes.container(pod, "web", ["/bin/client"], x="y")
        nodes.over(identifier)
        rows, _ = finish(tracer)  # the kubelet, too, lets containers stand for a while after their end
    nodes.clear()
    assert [row["container"] for row in rows] == [
        {
            "id": identifier,
            "name": "web",
            "image": {"name": IMAGE},
            "runtime": "containerd",
            "labels": {"x": "y"},
        }
    ] * 3
    assert rows[0]["orchestrator"] == {
        "type": "kubernetes",
        "namespace": "prod",
        "resource": {"id": UID, "name": "shop-1", "type": "pod", "label": ["app:shop"]},
    }
    assert rows[0]["connect"]["cgroup"] == f"/kubepods/burstable/pod{UID}/{identifier}"


def test_narrowed_to_a_pod(nodes: Cluster, tmp_path: Path) -> None:
    pods = [nodes.pod("shop-1", "prod", UID), nodes.pod("shop-1", "test", OTHER)]
    words = ["--pod", "test/shop-1", "k8s.ns.name = test and k8s.pod.name = shop-1"]
    with traced(tmp_path, "-o", "ndjson", *words, env=nodes.environment) as tracer:
        ids = [nodes.container(pod, "web", ["/bin/client"]) for pod in pods]
        for identifier in ids:
            nodes.over(identifier)
        rows, _ = finish(tracer)
    nodes.clear()
    assert [row["container"]["id"] for row in rows if row["process"]["name"] == "client"] == [ids[1]] * 3
    assert {row["orchestrator"]["namespace"] for row in rows} == {"test"}


def test_a_pod_that_is_not_there(nodes: Cluster) -> None:
    done = run(["trace", "--pod", "none-such"], env=nodes.environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("callout: there is no pod 'none-such' running here\n")


def test_one_in_no_pod_that_is_gone_at_once_and_removed(nodes: Cluster, tmp_path: Path) -> None:
    """As of nerdctl and ctr: containerd is asked as soon as its cgroup is made."""
    identifier = "5e" * 32
    words = ["run", "--rm", "--snapshotter", "native", "--label", "nerdctl/name=quick", IMAGE, identifier]
    with traced(tmp_path, "-o", "ndjson", "--comm", "client", env=nodes.environment) as tracer:
        nodes.ctr("default", *words, "/bin/client")
        rows, _ = finish(tracer)
    told = {"id": identifier, "name": "quick", "image": {"name": IMAGE}, "runtime": "containerd"}
    assert [{key: row["container"][key] for key in told} for row in rows] == [told] * 3
