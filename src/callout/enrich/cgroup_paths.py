"""What a cgroup path says about the processes in it: container, pod, systemd unit and slice.

Rule of this file: pure; text in, values out. What a path does not say stays None. The shapes are those that
the runtimes write, and each stands once, in ``SHAPES``, ``BELOW`` or ``POD``; tests/test_cgroup_paths.csv has
an example of every one. Sources: systemd's CGROUP_DELEGATION and unit naming (systemd.unit(5)), the OCI
runtimes' cgroup managers, Kubernetes' ``pkg/kubelet/cm``, lxc.container.conf(5), Firecracker's jailer.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

HEX = "[0-9a-f]{64}"
UNITS = (".service", ".scope", ".socket", ".mount", ".swap")  # systemd's unit types that have processes
DELETED = " (deleted)"  # cgroups(7): what /proc/PID/cgroup adds once the directory is gone
REMEMBERED = 8192  # paths: more than there are cgroups on most hosts


class Home(NamedTuple):
    """Where a process lives.

    ``container`` is the innermost one's id (a machine's name for LXC and systemd-nspawn); ``runtime`` is None
    where the path fits several. ``pod`` is the Kubernetes pod's UID. ``unit`` and ``slice`` are systemd's,
    of the container's own systemd for a process in a container.
    """

    container: str | None = None
    runtime: str | None = None
    pod: str | None = None
    unit: str | None = None
    slice: str | None = None


NOWHERE = Home()

# One path component that names a container by itself: (pattern with the group `id`, runtime).
SHAPES = tuple(
    (re.compile(pattern), runtime)
    for pattern, runtime in (
        (rf"docker-(?P<id>{HEX})\.scope", "docker"),
        (rf"cri-containerd-(?P<id>{HEX})(?:\.scope)?", "containerd"),
        (rf"nerdctl-(?P<id>{HEX})\.scope", "containerd"),
        # the kubelet speaks of systemd slices and containerd does not use systemd: one directory for both
        (rf".+\.slice:cri-containerd:(?P<id>{HEX})", "containerd"),
        (rf"crio-(?P<id>{HEX})(?:\.scope)?", "cri-o"),
        (rf".+\.slice:crio:(?P<id>{HEX})", "cri-o"),
        (rf"libpod-(?:payload-)?(?P<id>{HEX})(?:\.scope)?", "podman"),
        (r"lxc\.payload\.(?P<id>.+)", "lxc"),
        (r"machine-lxc\\x2d[0-9]+\\x2d(?P<id>.+)\.scope", "lxc"),  # libvirt's
        (r"machine-(?!qemu\\x2d)(?P<id>.+)\.scope", "systemd-nspawn"),
        (r"systemd-nspawn@(?P<id>.+)\.service", "systemd-nspawn"),
        (rf"(?P<id>{HEX})", None),
        (r"(?P<id>[0-9a-f]{32}-[0-9]{6,})", None),  # AWS Fargate
    )
)

# A component that is a container because of the one above it: above -> (pattern, runtime).
BELOW = {
    "docker": (HEX, "docker"),
    "buildkit": ("[0-9a-z]{25}", "buildkit"),
    "lxc": (".+", "lxc"),
    "lxc.payload": (".+", "lxc"),
    "firecracker": ("[0-9A-Za-z-]{1,64}", "firecracker"),
    "garden": ("[0-9a-f-]{28,36}", "garden"),
    "mesos": ("[0-9a-f]{8}-[0-9a-f-]{27}", "mesos"),
    "k8s.io": (HEX, "containerd"),
    "default": (HEX, "containerd"),  # containerd's own namespace: nerdctl and ctr
    "moby": (HEX, "docker"),
}

# The UID is an RFC 4122 UUID, its dashes written as _ by the systemd driver, or the hash of a static pod's file.
POD = re.compile(
    r"(?:.*-)?pod(?P<id>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?:\.slice)?(?::.*)?"
)
# Helpers that stand beside a container, in a cgroup that is named after it.
MONITOR = re.compile(rf"(?:crio|libpod)-conmon-{HEX}(?:\.scope)?|lxc\.monitor(?:\..+)?|lxc\.pivot")
SPLIT = "libpod-payload-"  # podman --cgroups=split: the container of a unit, so the unit stays


def unescape(name: str) -> str:
    r"""systemd's escapes (``\x2d``) as the characters that they stand for; see systemd.unit(5)."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)


@lru_cache(REMEMBERED)
def home(path: str) -> Home:
    """What a path relative to the root of a cgroup hierarchy says. Components are read from the outside in."""
    return deque(steps(path), 1).pop()


@lru_cache(REMEMBERED)
def containers_of(path: str) -> tuple[str, ...]:
    """The containers around a process, from the outermost to the innermost."""
    return tuple(dict.fromkeys(found.container for found in steps(path) if found.container))


def steps(path: str) -> Iterator[Home]:
    """What is known at each directory of a path."""
    found = NOWHERE
    yield found
    above = ""
    for part in path.removesuffix(DELETED).split("/"):
        if part in ("", ".."):
            continue
        # systemd writes a name that the kernel could take for a file of its own with one _ in front
        name = part[1:] if part.startswith("_") else part
        found = enter(found, above, name)
        yield found
        above = name


def enter(found: Home, above: str, name: str) -> Home:
    """What is known one directory deeper."""
    pod = POD.fullmatch(name)
    if pod:
        found = found._replace(pod=pod["id"].replace("_", "-"))
    if MONITOR.fullmatch(name):
        return found._replace(unit=name if name.endswith(UNITS) else found.unit)
    inside = container(above, name)
    if inside:
        identifier, runtime = inside
        if name.startswith(SPLIT):
            return found._replace(container=identifier, runtime=runtime)
        return Home(identifier, runtime, found.pod)  # whose units are not those of this container
    if name.endswith(UNITS):
        return found._replace(unit=name)
    if name.endswith(".slice"):
        return found._replace(slice=name)
    return found


def container(above: str, name: str) -> tuple[str, str | None] | None:
    """(id, runtime) where this component is a container's."""
    if above in BELOW:
        pattern, runtime = BELOW[above]
        if re.fullmatch(pattern, name):
            return name, runtime
    for shape, by in SHAPES:
        if found := shape.fullmatch(name):
            return (unescape(found["id"]) if "\\x" in found["id"] else found["id"]), by
    return None


class Membership(NamedTuple):
    """One line of /proc/PID/cgroup: hierarchy number, controllers (empty for cgroup v2) and path."""

    hierarchy: int
    controllers: tuple[str, ...]
    path: str


def memberships(text: str) -> Iterator[Membership]:
    """The lines of a /proc/PID/cgroup; see cgroups(7). Lines of another form are left out."""
    for line in text.splitlines():
        number, first, rest = line.partition(":")
        controllers, second, path = rest.partition(":")
        if first and second and number.isdigit() and path.startswith("/"):
            yield Membership(int(number), tuple(filter(None, controllers.split(","))), path)


def telling(text: str) -> str | None:
    """The most telling path of a /proc/PID/cgroup: a container's, else systemd's own, else cgroup v2's.

    On cgroup v1 and hybrid hosts a process may be in a container by one hierarchy and in the root of another.
    """
    lines = list(memberships(text))
    lines.sort(key=lambda line: (line.hierarchy != 0, "name=systemd" not in line.controllers))
    places = [home(line.path) for line in lines]
    for line, place in zip(lines, places, strict=True):
        if place.container:
            return line.path
    for line, place in zip(lines, places, strict=True):
        if place.unit or place.slice:
            return line.path
    return lines[0].path if lines else None
