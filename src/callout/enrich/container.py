"""What a runtime says about a container: the values, without where they come from.

Rule of this file: pure. Labels and annotations of Kubernetes are read here, because every runtime hands them
on: the kubelet writes them (``pkg/kubelet/types/labels.go``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

KUBERNETES = "io.kubernetes."
POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"


class Pod(NamedTuple):
    """A Kubernetes pod; ``labels`` are its own, without those that the kubelet adds."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    labels: Mapping[str, str] = {}


class Container(NamedTuple):
    """A container; what its runtime does not tell is None or empty."""

    id: str
    name: str | None = None
    image: str | None = None
    runtime: str | None = None
    labels: Mapping[str, str] = {}
    pod: Pod | None = None


def text(value: Any) -> str | None:
    """A value from outside as text; None for what is empty or no text."""
    return value if isinstance(value, str) and value else None


def texts(value: Any) -> dict[str, str]:
    """An object from outside as labels: what is no text is left out."""
    if not isinstance(value, Mapping):
        return {}
    return {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, str)}


def labelled(
    identifier: str, name: str | None, image: str | None, runtime: str, labels: Mapping[str, str]
) -> Container:
    """A container whose labels may say that it belongs to a pod."""
    own = {key: value for key, value in labels.items() if not key.startswith(KUBERNETES)}
    pod = labels.get(POD_NAME)
    return Container(
        identifier,
        labels.get(CONTAINER_NAME) or name,
        image,
        runtime,
        own,
        Pod(pod, labels.get(POD_NAMESPACE), labels.get(POD_UID)) if pod else None,
    )


def weight(container: Container) -> int:
    """Bytes that it takes, about: labels are up to whoever made it."""
    labels = [*container.labels.items(), *(container.pod.labels.items() if container.pod else ())]
    return 1200 + sum([150 + len(key) + len(value) for key, value in labels])


def merged(one: Container | None, other: Container) -> Container:
    """Both answers about a container: the later one's values, the earlier one's where it has none."""
    if one is None:
        return other
    pod = other.pod or one.pod
    if other.pod and one.pod:
        pod = Pod(
            other.pod.name,
            other.pod.namespace or one.pod.namespace,
            other.pod.uid or one.pod.uid,
            other.pod.labels or one.pod.labels,
        )
    return Container(
        other.id,
        other.name or one.name,
        other.image or one.image,
        other.runtime or one.runtime,
        other.labels or one.labels,
        pod,
    )
