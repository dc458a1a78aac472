"""Kubernetes' Container Runtime Interface: containers and pods of containerd and CRI-O, without the kubelet.

Rule of this file: a container is asked for together with its pod; the pod's sandbox is a container as well.
containerd's own API is asked about those that the CRI does not show (nerdctl, ctr). Needs the extra
``callout[containers]``.
"""

from __future__ import annotations

from typing import Any

from callout.enrich.container import KUBERNETES, Container, Pod, labelled, texts
from callout.enrich.runtimes import Unanswered, grpc
from callout.enrich.runtimes.messages import classes

SERVICE = "runtime.v1.RuntimeService"
CONTAINERS = "containerd.services.containers.v1"
NAMESPACES = "containerd.services.namespaces.v1"
NOT_PLAIN = {"k8s.io", "moby"}  # namespaces of the CRI and of Docker, which name their containers themselves
NERDCTL_NAME = "nerdctl/name"


def invoke(path: str, package: str, service: str, method: str, answer: str, request: Any, **meta: str) -> Any:
    """One call; request and answer are messages. Raises OSError, Unanswered."""
    from google.protobuf.message import DecodeError

    metadata = [(key.replace("_", "-"), value) for key, value in meta.items()]
    data = grpc.call(path, f"{package}.{service}/{method}", request.SerializeToString(), metadata)
    try:
        return classes()[f"{package}.{answer}"].FromString(data)
    except DecodeError as error:
        raise Unanswered(f"{path}: {method}: {error}") from error


def listed(path: str, identifier: str | None) -> tuple[list[Any], list[Any]]:
    """Containers and pod sandboxes, all or those with this id."""
    made = classes()
    some = {"id": identifier} if identifier else {}
    containers = made["runtime.v1.ListContainersRequest"](filter=some)
    pods = made["runtime.v1.ListPodSandboxRequest"](filter=some)
    package, service = SERVICE.rsplit(".", 1)
    return (
        list(
            invoke(path, package, service, "ListContainers", "ListContainersResponse", containers).containers
        ),
        list(invoke(path, package, service, "ListPodSandbox", "ListPodSandboxResponse", pods).items),
    )


def pod_of(sandbox: Any) -> Pod:
    """The pod of a sandbox."""
    labels = {key: value for key, value in sandbox.labels.items() if not key.startswith(KUBERNETES)}
    told = sandbox.metadata
    return Pod(told.name, told.namespace or None, told.uid or None, labels)


def container_of(told: Any, pods: dict[str, Pod], runtime: str) -> Container:
    """A container of the CRI, with its pod where that is known."""
    image = told.image.user_specified_image or told.image.image or None
    found = labelled(told.id, told.metadata.name or None, image, runtime, texts(told.labels))
    return found._replace(pod=pods.get(told.pod_sandbox_id, found.pod))


def everything(path: str, runtime: str) -> list[Container]:
    """All containers and sandboxes of the CRI."""
    containers, sandboxes = listed(path, None)
    pods = {sandbox.id: pod_of(sandbox) for sandbox in sandboxes}
    return [
        *(Container(identifier, runtime=runtime, pod=pod) for identifier, pod in pods.items()),
        *(container_of(told, pods, runtime) for told in containers),
    ]


def one(path: str, identifier: str, runtime: str) -> Container | None:
    """The container or sandbox with this id; None where the CRI does not have it."""
    containers, sandboxes = listed(path, identifier)
    for sandbox in sandboxes:
        if sandbox.id == identifier:
            return Container(identifier, runtime=runtime, pod=pod_of(sandbox))
    for told in containers:
        if told.id == identifier:
            _, around = listed(path, told.pod_sandbox_id)
            return container_of(told, {sandbox.id: pod_of(sandbox) for sandbox in around}, runtime)
    return None


def plain(path: str, identifier: str) -> Container | None:
    """A container of containerd that is in no pod: of nerdctl, ctr and others."""
    request = classes()[f"{NAMESPACES}.ListNamespacesRequest"]()
    spaces = invoke(path, NAMESPACES, "Namespaces", "List", "ListNamespacesResponse", request).namespaces
    for space in sorted({space.name for space in spaces} - NOT_PLAIN):
        wanted = classes()[f"{CONTAINERS}.GetContainerRequest"](id=identifier)
        try:
            told = invoke(
                path,
                CONTAINERS,
                "Containers",
                "Get",
                "GetContainerResponse",
                wanted,
                containerd_namespace=space,
            ).container
        except grpc.Refused as error:
            if error.status == grpc.NOT_FOUND:
                continue
            raise
        labels = texts(told.labels)
        return labelled(identifier, labels.get(NERDCTL_NAME), told.image or None, "containerd", labels)
    return None
