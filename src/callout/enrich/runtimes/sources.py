"""The runtimes that a host may have: where each is found, and which containers it is asked about.

Rule of this file: SOURCES is the whole list. Sockets of root are asked about any container, those below
/run/user/UID only about containers of that user's own session: whoever can listen there may answer anything.
What starts a service when it is connected to (Podman's socket) is asked only about containers of its own.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from callout.enrich.container import Container
from callout.enrich.runtimes import cri, docker, files, grpc
from callout.enrich.runtimes.messages import classes

EXTRA = "pip install 'callout[containers]'"


@dataclass(frozen=True)
class Question:
    """A container to ask about. ``runtime`` and ``owner`` (a user id) are as its cgroup path tells, or None."""

    id: str
    runtime: str | None = None
    owner: int | None = None


@dataclass(frozen=True)
class Source:
    """One way to learn about containers.

    ``runtimes``: whose containers it is asked about; None stands for a path that does not tell. ``one`` gives a
    container or None, ``all`` those that exist when a trace begins, ``events`` those that come. They raise OSError
    or Unanswered. ``path``: the socket, without which nothing is asked. ``lacks``: what must be installed first, if
    anything; ``prepare``: what can be done before the first question.
    """

    name: str
    runtimes: frozenset[str | None]
    one: Callable[[Question], Container | None]
    all: Callable[[], Iterable[Container]] = tuple
    events: Callable[[], docker.Events] | None = None
    path: str | None = None
    lacks: Callable[[], str] = str
    prepare: Callable[[], object] = tuple

    def there(self) -> bool:
        """Whether the socket is there."""
        return self.path is None or os.path.exists(self.path)


def engine(name: str, path: str, runtimes: Iterable[str | None]) -> Source:
    """A Docker Engine of root, which tells its events."""
    return Source(
        name,
        frozenset(runtimes),
        lambda asked: docker.one(path, asked.id, "docker"),
        lambda: docker.everything(path, "docker"),
        lambda: docker.Events(path, "docker"),
        path,
    )


def interface(name: str, path: str, runtime: str) -> Source:
    """A service of the CRI."""

    def one(asked: Question) -> Container | None:
        try:
            found = cri.one(path, asked.id, runtime)
        except grpc.Refused as error:
            if error.status != grpc.UNIMPLEMENTED:  # containerd without its CRI plugin, as Docker installs it
                raise
            found = None
        return found or (cri.plain(path, asked.id) if runtime == "containerd" else None)

    def every() -> Iterable[Container]:
        try:
            return cri.everything(path, runtime)
        except grpc.Refused as error:
            if error.status != grpc.UNIMPLEMENTED:
                raise
            return ()

    return Source(
        name,
        frozenset({runtime, None}),
        one,
        every,
        path=path,
        lacks=lambda: "" if grpc.available() else f"names of {name}'s containers need the extra: {EXTRA}",
        prepare=lambda: classes() if grpc.available() else None,
    )


def podman(path: str) -> Source:
    """Podman of root."""
    return Source(
        "Podman", frozenset({"podman"}), lambda asked: docker.one(path, asked.id, "podman"), path=path
    )


def rootless(asked: Question) -> Container | None:
    """A user's own Docker or Podman."""
    if not asked.owner:
        return None
    place = f"/run/user/{asked.owner}/" + (
        "podman/podman.sock" if asked.runtime == "podman" else "docker.sock"
    )
    return docker.one(place, asked.id, asked.runtime or "docker") if os.path.exists(place) else None


def on_disk(asked: Question, graphroot: str) -> Container | None:
    """The files of any runtime. ``graphroot``: where Podman and CRI-O have those of root."""
    ways: dict[str, Callable[[], Container | None]] = {
        "docker": lambda: files.engine("/var/lib/docker", asked.id),
        "containerd": lambda: next(
            filter(None, (files.bundle(state + BUNDLES, asked.id) for state in STATES)), None
        ),
        "podman": lambda: files.stored(
            store_of(asked.owner) or graphroot, asked.id, asked.owner or 0, "podman"
        ),
        "cri-o": lambda: files.stored(graphroot, asked.id, 0, "cri-o"),
    }
    chosen = (
        [ways[asked.runtime]] if asked.runtime in ways else ways.values() if asked.runtime is None else []
    )
    return next(filter(None, (way() for way in chosen)), None)


STATES = ("/run/containerd", "/run/k3s/containerd", "/run/k0s/containerd")
BUNDLES = "/io.containerd.runtime.v2.task"
USERS_STORE = ".local/share/containers/storage"
STORAGE = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
DOCKER = "/var/run/docker.sock"
PODMAN = "/run/podman/podman.sock"
CRI_SOCKETS = (
    ("containerd", "/run/containerd/containerd.sock", "containerd"),
    ("k3s", "/run/k3s/containerd/containerd.sock", "containerd"),
    ("k0s", "/run/k0s/containerd.sock", "containerd"),
    ("MicroK8s", "/var/snap/microk8s/common/run/containerd.sock", "containerd"),
    ("CRI-O", "/run/crio/crio.sock", "cri-o"),
)


def store_of(owner: int | None) -> str | None:
    """Where a user's Podman keeps containers; None for root, and for who has no home."""
    try:
        return f"{pwd.getpwuid(owner).pw_dir}/{USERS_STORE}" if owner else None
    except KeyError:
        return None


def unix(address: str | None) -> str | None:
    """The path of a `unix://` address; None for others, which are on another host."""
    return address.removeprefix("unix://") if address and address.startswith("unix:///") else None


def sources(environment: Mapping[str, str]) -> tuple[Source, ...]:
    """Every way that this host may have. DOCKER_HOST, CONTAINER_HOST and CONTAINER_RUNTIME_ENDPOINT name other
    sockets, CONTAINERS_STORAGE_CONF another storage, as for the runtimes' own commands.
    """
    given = environment.get("CONTAINERS_STORAGE_CONF")
    graphroot = files.graphroot((given,) if given else STORAGE)
    endpoint = unix(environment.get("CONTAINER_RUNTIME_ENDPOINT"))
    interfaces = [entry for entry in CRI_SOCKETS if entry[1] != endpoint]
    if endpoint:
        kind = "cri-o" if "crio" in endpoint else "containerd"
        interfaces.append(("CONTAINER_RUNTIME_ENDPOINT", endpoint, kind))
    return (
        Source(
            "files",
            frozenset({"docker", "containerd", "podman", "cri-o", None}),
            lambda asked: on_disk(asked, graphroot),
        ),
        engine("Docker", unix(environment.get("DOCKER_HOST")) or DOCKER, ("docker", None)),
        podman(unix(environment.get("CONTAINER_HOST")) or PODMAN),
        Source("rootless", frozenset({"docker", "podman"}), rootless),
        *(interface(*entry) for entry in interfaces),
    )
