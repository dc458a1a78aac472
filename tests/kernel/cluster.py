"""A containerd of our own that serves the CRI, with an image of our own, driven as the kubelet would."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callout.enrich.runtimes import Unanswered, grpc
from callout.enrich.runtimes.messages import build

from .engine import built, needed
from .watch import PATIENCE

IMAGE = "docker.io/library/callout-test:1"
NODE = 2  # the host's network namespace: a pod's own would need a network plugin
EXITED = 2
V1 = "runtime.v1."
MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
    V1 + "NamespaceOption": {"network": (1, "number"), "pid": (2, "number")},
    V1 + "LinuxSandboxSecurityContext": {"namespace_options": (1, V1 + "NamespaceOption")},
    V1 + "LinuxPodSandboxConfig": {
        "cgroup_parent": (1, "text"),
        "security_context": (2, V1 + "LinuxSandboxSecurityContext"),
    },
    V1 + "PodSandboxMetadata": {"name": (1, "text"), "uid": (2, "text"), "namespace": (3, "text")},
    V1 + "PodSandboxConfig": {
        "metadata": (1, V1 + "PodSandboxMetadata"),
        "labels": (6, "labels"),
        "linux": (8, V1 + "LinuxPodSandboxConfig"),
    },
    V1 + "RunPodSandboxRequest": {"config": (1, V1 + "PodSandboxConfig")},
    V1 + "RunPodSandboxResponse": {"pod_sandbox_id": (1, "text")},
    V1 + "PodSandbox": {"id": (1, "text")},
    V1 + "ListPodSandboxResponse": {"items": (1, [V1 + "PodSandbox"])},
    V1 + "Named": {"name": (1, "text")},
    V1 + "Image": {"image": (1, "text")},
    V1 + "ContainerConfig": {
        "metadata": (1, V1 + "Named"),
        "image": (2, V1 + "Image"),
        "command": (3, ["text"]),
        "labels": (9, "labels"),
    },
    V1 + "CreateContainerRequest": {
        "pod_sandbox_id": (1, "text"),
        "config": (2, V1 + "ContainerConfig"),
        "sandbox_config": (3, V1 + "PodSandboxConfig"),
    },
    V1 + "ById": {"id": (1, "text")},
    V1 + "Container": {"id": (1, "text"), "state": (6, "number")},
    V1 + "ListContainersResponse": {"containers": (1, [V1 + "Container"])},
}

CONFIG = """
version = 2
root = "{place}/root"
state = "{place}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{place}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{place}/cni"
    conf_dir = "{place}/cni"
"""


def archive(tree: Path, path: Path) -> None:
    """An image of one layer in the format of `docker save`; its command sleeps."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(tree, arcname=".")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    digest = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "1000"]},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for name, data in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))


class Cluster:
    """A containerd; ``socket`` is where it serves the CRI."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.environment = {**os.environ, "CONTAINER_RUNTIME_ENDPOINT": f"unix://{socket}"}
        self.messages = build(MESSAGES)

    def call(self, method: str, answer: str | None = None, request: Any = None) -> Any:
        """One call of the runtime service."""
        data = request.SerializeToString() if request is not None else b""
        said = grpc.call(str(self.socket), f"runtime.v1.RuntimeService/{method}", data)
        return self.messages[V1 + answer].FromString(said) if answer else None

    def made(self, name: str, **values: Any) -> Any:
        """A message."""
        return self.messages[V1 + name](**values)

    def ctr(self, space: str, *words: str) -> None:
        """A command of containerd's own client, in a namespace of containerd's."""
        command = ["ctr", "--address", str(self.socket), "--namespace", space, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3, check=False)
        assert done.returncode == 0, done.stderr

    def by_id(self, method: str, identifier: str) -> None:
        """A call whose request is an id alone."""
        self.call(method, None, self.made("ById", id=identifier))

    def pod(self, name: str, namespace: str, uid: str, **labels: str) -> tuple[str, Any]:
        """Runs a pod: its id and its configuration."""
        names = {"name": name, "namespace": namespace, "uid": uid}
        config = self.made(
            "PodSandboxConfig",
            metadata=names,
            labels=labels | {f"io.kubernetes.pod.{key}": value for key, value in names.items()},
            linux={
                "cgroup_parent": f"/kubepods/burstable/pod{uid}",
                "security_context": {"namespace_options": {"network": NODE, "pid": 1}},
            },
        )
        request = self.made("RunPodSandboxRequest", config=config)
        return self.call("RunPodSandbox", "RunPodSandboxResponse", request).pod_sandbox_id, config

    def container(self, pod: tuple[str, Any], name: str, command: list[str], **labels: str) -> str:
        """Makes and starts a container in a pod: its id."""
        wanted = {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": command}
        config = {**wanted, "labels": labels | {"io.kubernetes.container.name": name}}
        request = self.made(
            "CreateContainerRequest", pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1]
        )
        identifier: str = self.call("CreateContainer", "ById", request).id
        self.by_id("StartContainer", identifier)
        return identifier

    def over(self, identifier: str) -> None:
        """Waits until a container has ended."""
        end = time.monotonic() + PATIENCE
        while True:
            states = {c.id: c.state for c in self.call("ListContainers", "ListContainersResponse").containers}
            if states.get(identifier, EXITED) == EXITED:
                return
            assert time.monotonic() < end, states

    def clear(self) -> None:
        """Ends all pods with their containers."""
        for sandbox in self.call("ListPodSandbox", "ListPodSandboxResponse").items:
            self.by_id("StopPodSandbox", sandbox.id)
            self.by_id("RemovePodSandbox", sandbox.id)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A containerd with the image IMAGE, ended with all its pods when the block ends."""
    needed("containerd", "ctr", "runc")
    pytest.importorskip("h2", reason="the extra callout[containers] is not installed")
    pytest.importorskip("google.protobuf", reason="the extra callout[containers] is not installed")
    place = Path(tempfile.mkdtemp(prefix="callout-cri-"))
    socket, log = place / "containerd.sock", (place / "log").open("wb")
    (place / "config.toml").write_text(CONFIG.format(place=place, socket=socket, image=IMAGE))
    daemon = subprocess.Popen(["containerd", "-c", str(place / "config.toml")], stdout=log, stderr=log)
    found = Cluster(socket)
    try:
        ready(found, daemon, place / "log")
        archive(built(place), place / "image.tar")
        for space in ("k8s.io", "default"):
            found.ctr(space, "images", "import", "--snapshotter", "native", str(place / "image.tar"))
        yield found
    finally:
        try:
            if daemon.poll() is None:
                found.clear()
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(PATIENCE)
            log.close()
            shutil.rmtree(place, ignore_errors=True)


def ready(found: Cluster, daemon: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the CRI answers; skips where containerd does not start or has no CRI."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found.call("ListPodSandbox", "ListPodSandboxResponse")
        except grpc.Refused as error:
            if error.status == grpc.UNIMPLEMENTED:
                pytest.skip("this containerd is built without the CRI")
            failure: Exception = error
        except (OSError, Unanswered) as error:
            failure = error
        else:
            return
        if daemon.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"containerd does not start here: {' '.join(last)[:300]}")
        assert time.monotonic() < end, failure
        time.sleep(0.05)  # noqa: TID251  # it has no other way to say that it listens
