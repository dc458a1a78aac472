"""What a Docker daemon says, and what it might say: a stand-in that answers with the bytes of the test.

The real daemon is in tests/kernel/test_docker.py; here stands what it does not do on request.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.enrich.container import Container
from callout.enrich.runtimes import Unanswered, docker, files
from callout.enrich.runtimes.files import bundle, engine, stored

ID = "ab" * 32


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A socket that gives each connection the next answer."""
    with tempfile.TemporaryDirectory(prefix="callout-") as place, socket.socket(socket.AF_UNIX) as listener:
        path = f"{place}/socket"
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            for answer in answers:
                taken, _ = listener.accept()
                with taken:
                    while b"\r\n\r\n" not in taken.recv(65536):
                        pass
                    taken.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(20)
        assert not thread.is_alive()


def http(body: Any, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def test_one_container() -> None:
    body = {"Id": ID, "Name": "/web", "Config": {"Image": "box:1", "Labels": {"a": "b", "n": 1}}}
    with answering(http(body)) as path:
        assert docker.one(path, ID, "docker") == Container(ID, "web", "box:1", "docker", {"a": "b"})


@pytest.mark.parametrize(
    "answer",
    [
        http({"message": "no such container"}, "404 Not Found"),
        http({"Id": "cd" * 32}),
        http([]),
        http({"Id": None}),
    ],
)
def test_no_such_container(answer: bytes) -> None:
    with answering(answer) as path:
        assert docker.one(path, ID, "docker") is None


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", http(b"{"), http({}, "500 Broken")])
def test_no_answer_of_a_daemon(answer: bytes) -> None:
    with answering(answer) as path, pytest.raises((Unanswered, OSError)):
        docker.one(path, ID, "docker")


def test_all_containers() -> None:
    body = [
        {"Id": ID, "Names": ["/other/alias", "/web"], "Image": "box:1", "Labels": None},
        {"Names": ["/nameless"]},
        3,
    ]
    with answering(http(body)) as path:
        assert docker.everything(path, "docker") == [Container(ID, "web", "box:1", "docker")]


def test_events_come_until_the_daemon_goes() -> None:
    told = {
        "Action": "create",
        "Actor": {"ID": ID, "Attributes": {"image": "box:1", "name": "web", "x": "y"}},
    }
    lines = [json.dumps(told).encode(), b"nonsense", b"[]", b'{"Actor": {}}']
    data = b"".join(line + b"\n" for line in lines)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
    with answering(answer) as path:
        events = docker.Events(path, "docker")
        assert list(events) == [Container(ID, "web", "box:1", "docker", {"x": "y"})]
        events.close()


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda s: st.lists(s) | st.dictionaries(
    st.sampled_from(["Actor", "ID", "Attributes", "name", "image"]), s), max_leaves=8))  # fmt: skip
def test_any_event_is_read(told: Any) -> None:
    found = docker.event(json.dumps(told).encode(), "docker")
    assert found is None or found.id


def test_files_of_containerd(tmp_path: Path) -> None:
    place = tmp_path / "k8s.io" / ID
    place.mkdir(parents=True)
    notes = {
        "container-name": "web", "image-name": "box:1", "sandbox-name": "shop", "sandbox-namespace": "prod",
        "sandbox-uid": "u",
    }  # fmt: skip
    text = json.dumps({"annotations": {"io.kubernetes.cri." + key: value for key, value in notes.items()}})
    (place / "config.json").write_text(text)
    found = bundle(str(tmp_path), ID)
    assert found is not None
    assert found == Container(ID, "web", "box:1", "containerd", pod=found.pod)
    assert found.pod is not None
    assert found.pod[:3] == ("shop", "prod", "u")
    (place / "config.json").write_text('{"annotations": null}')
    assert bundle(str(tmp_path), ID) is None
    assert bundle(str(tmp_path), "*") is None


def test_files_of_podman_and_of_crio(tmp_path: Path) -> None:
    store = tmp_path / "vfs-containers"
    store.mkdir()
    podman = {"id": ID, "names": ["web"], "metadata": json.dumps({"name": "web", "image-name": "box:1"})}
    names = {
        "pod-name": "k8s_shop_prod_u-1_0",
        "namespace": "prod",
        "metadata-name": "web",
        "image-name": "box:2",
    }
    crio = {"id": "cd" * 32, "metadata": json.dumps({"name": "k8s_web_shop_prod_u-1_0", **names})}
    sandbox = {"id": "ef" * 32, "metadata": json.dumps({**names, "pod": True})}
    (store / "containers.json").write_text(json.dumps([crio, {"id": "x", "metadata": "{"}, 3, sandbox]))
    (store / "volatile-containers.json").write_text(json.dumps([podman]))
    own = os.getuid()
    assert stored(str(tmp_path), ID, own, "podman") == Container(ID, "web", "box:1", "podman")
    found = stored(str(tmp_path), "cd" * 32, own, "cri-o")
    assert found is not None
    assert found[:4] == ("cd" * 32, "web", "box:2", "cri-o")
    assert found.pod is not None
    assert found.pod[:3] == ("shop", "prod", "u-1")
    paused = stored(str(tmp_path), "ef" * 32, own, "cri-o")
    assert paused is not None
    assert (paused.name, paused.image, paused.pod) == (None, None, found.pod)
    assert stored(str(tmp_path), "x", own, "podman") == Container("x", None, None, "podman")
    assert stored(str(tmp_path), "none", own, "podman") is None


def test_where_podman_keeps_its_containers(tmp_path: Path) -> None:
    """As containers-storage.conf(5) says; what cannot be read is as if it were not there."""
    given, broken, empty = tmp_path / "given", tmp_path / "broken", tmp_path / "empty"
    given.write_text('[storage]\ndriver = "vfs"\ngraphroot = "/srv/pods"\n')
    broken.write_text("[storage")
    empty.write_text("storage = 1\n")
    assert files.graphroot([str(tmp_path / "none"), str(broken), str(given)]) == "/srv/pods"
    assert files.graphroot([str(empty), str(given)]) == files.GRAPHROOT
    assert files.graphroot([]) == files.GRAPHROOT


def test_files_of_docker(tmp_path: Path) -> None:
    place = tmp_path / "containers" / ID
    place.mkdir(parents=True)
    kept = {"ID": ID, "Name": "/web", "Config": {"Image": "box:1", "Labels": {"a": "b"}}}
    (place / "config.v2.json").write_text(json.dumps(kept))
    if os.getuid() == 0:
        assert engine(str(tmp_path), ID) == Container(ID, "web", "box:1", "docker", {"a": "b"})
    assert engine(str(tmp_path), "cd" * 32) is None


def test_what_is_no_plain_file_of_the_owner_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.getuid()
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_text("[1]")
    link.symlink_to(real)
    os.mkfifo(pipe)
    assert files.read(str(real), own) == [1]
    for path in (link, pipe, tmp_path, tmp_path / "none"):
        assert files.read(str(path), own) is None
    monkeypatch.setattr(files, "MOST", 2)
    assert files.read(str(real), own) is None
