"""What runtimes leave on disk about a container: read in microseconds, before a socket would answer.

Rule of this file: a container that lives for a moment has its files while it lives. Each way is one function,
path and id in, ``Container`` or None out. Files may be those of any user (rootless runtimes), so they are read
without following links, without waiting and within bounds. Sources: containerd's runtime v2 bundles and its
CRI annotations (``pkg/cri/annotations``), containers/storage's ``containers.json`` (Podman, CRI-O), moby's
``config.v2.json``.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from glob import escape, glob
from typing import Any

from callout.enrich.container import Container, Pod, labelled, text, texts

MOST = 32 << 20  # bytes of one file
CRI = "io.kubernetes.cri."
GRAPHROOT = "/var/lib/containers/storage"
DRIVERS = ("overlay", "vfs", "btrfs", "zfs")
STORES = ("containers.json", "volatile-containers.json")  # the second one is that of --rm


def read(path: str, owner: int) -> Any:
    """JSON of a regular file of this user or root; None where there is none, or nothing that can be used."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid not in (0, owner) or about.st_size > MOST:
            return None
        with open(fd, "rb", closefd=False) as file:
            return json.loads(file.read(MOST))
    except (OSError, ValueError):
        return None  # written at this moment
    finally:
        os.close(fd)


def bundle(state: str, identifier: str) -> Container | None:
    """containerd: the OCI bundle that a task runs from. ``state``: its directory of tasks."""
    for path in glob(f"{escape(state)}/*/{escape(identifier)}/config.json"):
        found = read(path, 0)
        notes = texts(found.get("annotations")) if isinstance(found, Mapping) else {}
        pod = notes.get(CRI + "sandbox-name")
        if not pod:
            return None
        return Container(
            identifier,
            notes.get(CRI + "container-name"),
            notes.get(CRI + "image-name"),
            "containerd",
            pod=Pod(pod, notes.get(CRI + "sandbox-namespace"), notes.get(CRI + "sandbox-uid")),
        )
    return None


def graphroot(configurations: Iterable[str]) -> str:
    """Where Podman and CRI-O keep containers of root, by the first of these files that is there
    (containers-storage.conf(5)).
    """
    for path in configurations:
        try:
            with open(path, "rb") as file:
                found = tomllib.load(file).get("storage")
        except (OSError, ValueError):
            continue
        root = text(found.get("graphroot")) if isinstance(found, Mapping) else None
        return root or GRAPHROOT
    return GRAPHROOT


def stored(root: str, identifier: str, owner: int, runtime: str) -> Container | None:
    """Podman and CRI-O: the list of containers, of whichever storage driver. ``root``: where they keep it."""
    for driver in DRIVERS:
        for item in entries(f"{root}/{driver}-containers", owner):
            if item.get("id") == identifier:
                return of_store(item, runtime)
    return None


def entries(store: str, owner: int) -> Iterator[Mapping[str, Any]]:
    """The entries of both lists."""
    for name in STORES:
        found = read(f"{store}/{name}", owner)
        if isinstance(found, list):
            yield from (item for item in found if isinstance(item, Mapping))


def of_store(item: Mapping[str, Any], runtime: str) -> Container | None:
    """One entry: what Podman and CRI-O keep stands in `metadata`, as JSON in a string."""
    identifier = text(item.get("id"))
    if not identifier:
        return None
    try:
        data = json.loads(item.get("metadata") or "{}")
    except (TypeError, ValueError):
        data = {}
    data = data if isinstance(data, Mapping) else {}
    names = item.get("names")
    first = text(names[0]) if isinstance(names, list) and names else None
    namespace = text(data.get("namespace"))
    if not namespace:  # only Kubernetes has them
        return Container(identifier, text(data.get("name")) or first, text(data.get("image-name")), runtime)
    return Container(
        identifier,
        None if data.get("pod") else text(data.get("metadata-name")),
        None if data.get("pod") else text(data.get("image-name")),
        runtime,
        pod=pod_of(data, namespace),
    )


def pod_of(data: Mapping[str, Any], namespace: str) -> Pod | None:
    """CRI-O writes the pod's name as k8s_NAME_NAMESPACE_UID_ATTEMPT."""
    parts = (text(data.get("pod-name")) or "").split("_")
    if len(parts) != 5 or parts[0] != "k8s" or parts[2] != namespace:
        return None
    return Pod(parts[1], namespace, parts[3])


def engine(root: str, identifier: str) -> Container | None:
    """Docker: the file that the daemon keeps about a container. ``root``: its data directory."""
    found = read(f"{root}/containers/{identifier}/config.v2.json", 0)
    if not isinstance(found, Mapping) or text(found.get("ID")) != identifier:
        return None
    config = found.get("Config")
    config = config if isinstance(config, Mapping) else {}
    name = (text(found.get("Name")) or "").removeprefix("/")
    return labelled(
        identifier, name or None, text(config.get("Image")), "docker", texts(config.get("Labels"))
    )
