"""Asking runtimes: once, in the background, within bounds. The sources here answer what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from callout.enrich import registry as module
from callout.enrich.container import Container, Pod, labelled, merged
from callout.enrich.registry import Registry
from callout.enrich.runtimes import Unanswered
from callout.enrich.runtimes.sources import Question, Source, sources, unix

PATIENCE = 20.0
WEB = Container("1" * 64, "web", "box:1", "docker", {"a": "b"})


def source(one: Callable[[Question], Container | None], **others: object) -> Source:
    return Source("test", frozenset({"docker", None}), one, **others)  # type: ignore[arg-type]


def test_a_container_is_asked_for_once() -> None:
    asked: list[str] = []

    def one(question: Question) -> Container | None:
        asked.append(question.id)
        return WEB if question.id == WEB.id else None

    known = Registry([source(one)])
    known.start()
    for _ in range(3):
        known.want(Question(WEB.id, "docker"))
        known.want(Question("2" * 64))
        known.want(Question("3" * 64, "podman"))  # no source here is for those
    assert known.settle(PATIENCE)
    assert known.get(WEB.id) == WEB
    assert known.get("2" * 64) is None
    assert sorted(asked) == [WEB.id, "2" * 64]
    assert known.problems == {}
    known.close()


def test_one_without_an_answer_is_asked_for_again_later() -> None:
    now = [0.0]
    asked: list[str] = []
    known = Registry([source(lambda question: asked.append(question.id))], lambda: now[0])
    known.start()
    for seconds in (0.0, module.AGAIN - 1, module.AGAIN + 1):
        now[0] = seconds
        known.want(Question("2" * 64))
        assert known.settle(PATIENCE)
    assert len(asked) == 2
    known.close()


def test_nobody_waits_for_a_slow_runtime() -> None:
    gate = threading.Event()

    def slow(question: Question) -> Container | None:
        gate.wait(PATIENCE)
        return WEB

    known = Registry([source(slow)])
    known.start()
    known.want(Question(WEB.id))
    assert not known.settle(0.01)
    assert known.get(WEB.id) is None
    gate.set()
    assert known.settle(PATIENCE)
    assert known.get(WEB.id) == WEB
    known.close()


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "Connection refused"), Unanswered("nonsense")])
def test_a_runtime_that_does_not_answer_is_told_where_it_mattered(error: Exception) -> None:
    def broken(question: Question) -> Container | None:
        raise error

    def everything() -> list[Container]:
        raise error

    known = Registry([source(broken, all=everything)])
    known.start()
    assert known.settle(PATIENCE)
    assert known.problems == {}, "nobody was asked about"
    known.want(Question(WEB.id))
    assert known.settle(PATIENCE)
    assert known.problems["test"].startswith("test does not answer: ")
    known.close()


def test_what_was_there_before_needs_no_question() -> None:
    asked: list[str] = []
    known = Registry([source(lambda question: asked.append(question.id), all=lambda: [WEB])])
    known.start()
    assert known.settle(PATIENCE)
    known.want(Question(WEB.id))
    assert known.settle(PATIENCE)
    assert known.get(WEB.id) == WEB
    assert asked == []
    assert known.named("web") == known.named("1111") == [WEB]
    known.close()


def test_a_socket_that_is_not_there_is_not_asked() -> None:
    def never(question: Question) -> Container | None:
        raise AssertionError

    known = Registry([source(never, path="/nowhere/docker.sock")])
    known.start()
    known.want(Question(WEB.id))
    assert known.settle(PATIENCE)
    assert known.problems == {}
    known.close()


def test_a_missing_extra_is_named_where_it_mattered() -> None:
    known = Registry([source(lambda question: None, lacks=lambda: "install it")])
    known.start()
    assert known.settle(PATIENCE)
    assert known.problems == {}
    known.want(Question(WEB.id))
    assert known.settle(PATIENCE)
    assert known.problems == {"test": "install it"}
    known.close()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    known = Registry([])
    for number in range(5):
        known.learn(Container(str(number)))
        known.get("0")
    assert len(known) == 3
    assert known.get("0") is not None
    assert known.get("1") is None


def test_answers_are_put_together() -> None:
    pod = Pod("shop", "prod", "uid")
    first = Container("1", "web", "box:1", "containerd", pod=pod)
    second = Container("1", None, "box:2", None, {"x": "y"}, Pod("shop", labels={"app": "shop"}))
    assert merged(None, first) == first
    assert merged(first, second) == Container(
        "1", "web", "box:2", "containerd", {"x": "y"}, Pod("shop", "prod", "uid", {"app": "shop"})
    )


def test_labels_of_kubernetes_name_the_pod() -> None:
    labels = {
        "io.kubernetes.pod.name": "shop",
        "io.kubernetes.pod.namespace": "prod",
        "io.kubernetes.pod.uid": "u",
        "io.kubernetes.container.name": "web",
        "x": "y",
    }
    found = labelled("1", "k8s_web_shop_prod_u_0", "box:1", "docker", labels)
    assert found == Container("1", "web", "box:1", "docker", {"x": "y"}, Pod("shop", "prod", "u"))


def test_where_runtimes_are() -> None:
    named = {s.name: s.path for s in sources({"DOCKER_HOST": "unix:///x/docker.sock"})}
    assert named["Docker"] == "/x/docker.sock"
    assert named["containerd"] == "/run/containerd/containerd.sock"
    assert {s.name: s.path for s in sources({"DOCKER_HOST": "tcp://far:2375"})}[
        "Docker"
    ] == "/var/run/docker.sock"
    found = sources({"CONTAINER_RUNTIME_ENDPOINT": "unix:///x/crio.sock"})[-1]
    assert found.path == "/x/crio.sock"
    assert found.runtimes == {"cri-o", None}
    assert len({s.name for s in sources({})}) == len(sources({}))
    assert unix("/x") is None
