"""The few protobuf messages that are asked and answered, made at run time from one table.

Rule of this file: MESSAGES is the only place that says what a message looks like; members that are not used
are left out, as protobuf allows. Sources: Kubernetes' ``cri-api/pkg/apis/runtime/v1/api.proto`` and
containerd's ``api/services/{containers,namespaces}/v1/*.proto``. Needs the extra ``callout[containers]``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

# message: member: (number, kind). Kinds: text, number, labels (map of text to text), a message; in [ ] repeated.
MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
    "runtime.v1.ContainerFilter": {"id": (1, "text")},
    "runtime.v1.ListContainersRequest": {"filter": (1, "runtime.v1.ContainerFilter")},
    "runtime.v1.ListContainersResponse": {"containers": (1, ["runtime.v1.Container"])},
    "runtime.v1.Container": {
        "id": (1, "text"),
        "pod_sandbox_id": (2, "text"),
        "metadata": (3, "runtime.v1.ContainerMetadata"),
        "image": (4, "runtime.v1.ImageSpec"),
        "labels": (8, "labels"),
        "annotations": (9, "labels"),
    },
    "runtime.v1.ContainerMetadata": {"name": (1, "text")},
    "runtime.v1.ImageSpec": {"image": (1, "text"), "user_specified_image": (18, "text")},
    "runtime.v1.PodSandboxFilter": {"id": (1, "text")},
    "runtime.v1.ListPodSandboxRequest": {"filter": (1, "runtime.v1.PodSandboxFilter")},
    "runtime.v1.ListPodSandboxResponse": {"items": (1, ["runtime.v1.PodSandbox"])},
    "runtime.v1.PodSandbox": {
        "id": (1, "text"),
        "metadata": (2, "runtime.v1.PodSandboxMetadata"),
        "labels": (5, "labels"),
    },
    "runtime.v1.PodSandboxMetadata": {"name": (1, "text"), "uid": (2, "text"), "namespace": (3, "text")},
    "containerd.services.containers.v1.GetContainerRequest": {"id": (1, "text")},
    "containerd.services.containers.v1.GetContainerResponse": {
        "container": (1, "containerd.services.containers.v1.Container")
    },
    "containerd.services.containers.v1.Container": {
        "id": (1, "text"),
        "labels": (2, "labels"),
        "image": (3, "text"),
    },
    "containerd.services.namespaces.v1.ListNamespacesRequest": {"filter": (1, "text")},
    "containerd.services.namespaces.v1.ListNamespacesResponse": {
        "namespaces": (1, ["containerd.services.namespaces.v1.Namespace"])
    },
    "containerd.services.namespaces.v1.Namespace": {"name": (1, "text"), "labels": (2, "labels")},
}


@cache
def classes() -> dict[str, Any]:
    """A class for each of MESSAGES, by its full name."""
    return build(MESSAGES)


def build(messages: dict[str, dict[str, tuple[int, Any]]]) -> dict[str, Any]:
    """Classes for messages that are described like MESSAGES."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for package in dict.fromkeys(name.rpartition(".")[0] for name in messages):
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for name, members in messages.items():
            if name.rpartition(".")[0] == package:
                declare(file.message_type.add(name=name.rpartition(".")[2]), name, members)
        pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in messages}


def declare(message: Any, full: str, members: dict[str, tuple[int, Any]]) -> None:
    """Fills in the descriptor of one message."""
    for name, (number, kind) in members.items():
        many = isinstance(kind, list)
        one = kind[0] if many else kind
        field = message.field.add(name=name, number=number)
        field.label = field.LABEL_REPEATED if many or one == "labels" else field.LABEL_OPTIONAL
        if one in ("text", "number"):
            field.type = field.TYPE_STRING if one == "text" else field.TYPE_INT32
        elif one == "labels":
            entry = f"{name.title().replace('_', '')}Entry"
            nested = message.nested_type.add(name=entry)
            nested.options.map_entry = True
            for place, part in ((1, "key"), (2, "value")):
                nested.field.add(name=part, number=place, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
            field.type, field.type_name = field.TYPE_MESSAGE, f".{full}.{entry}"
        else:
            field.type, field.type_name = field.TYPE_MESSAGE, f".{one}"
