"""Every field of an event: its name, type and meaning.

Rule of this file: the one list that filters, NDJSON keys, Arrow columns, SQL, the web page and the docs are
made from. Names are the Elastic Common Schema's wherever it has one; what it lacks stands under ``connect.``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

FieldType: TypeAlias = Literal["time", "int", "text", "bool", "ip", "text_list", "list", "object"]


class Field(NamedTuple):
    """One field. ``unit`` is empty, or the unit of its numbers. ``quiet``: of a live trace written only with -v."""

    name: str
    type: FieldType
    doc: str
    unit: str = ""
    quiet: bool = False


_FIELDS = (
    Field(
        "@timestamp", "time", "When the attempt or related call began; of `end`, when it came (UTC).", "ns"
    ),
    Field("event.kind", "text", "`event`, or `alert` where a rule matched."),
    Field("event.category", "text_list", "Always `network`."),
    Field("event.type", "text_list", "`connection` with `start`, `denied` or `end`."),
    Field(
        "event.action",
        "text",
        "`connect`; `attempt` for the extra row of --phases; with `-e network` also `socket`, `bind`, `listen`, "
        "`accept`, `poll`, `getsockopt`, `send`, `receive`, `shutdown`, `close` and `end`.",
    ),
    Field("event.outcome", "text", "`success`, `failure`, or `unknown` while pending."),
    Field(
        "event.duration",
        "int",
        "From the attempt to its verdict; how long a related call took; of `end`, how long the connection lived.",
        "ns",
    ),
    Field(
        "event.reason",
        "text",
        "How a connection ended: `closed_here`, `closed_by_peer`, `reset_here`, `reset_by_peer`, `process_exited`, "
        "or `lost` where the kernel gave it up.",
    ),
    Field("host.name", "text", "Name of this host."),
    Field("process.pid", "int", "Process that made the attempt."),
    Field("process.thread.id", "int", "Thread that made the attempt."),
    Field("process.parent.pid", "int", "Its parent process."),
    Field("process.parent.name", "text", "Name of the process that started it."),
    Field("process.parent.executable", "text", "Path of that one's executable."),
    Field("process.parent.command_line", "text", "Its arguments, joined by blanks.", quiet=True),
    Field("process.name", "text", "Name of the thread (comm, at most 15 bytes)."),
    Field(
        "process.executable",
        "text",
        "Path of the executable in the process's own root, as it was when the process began to run it; "
        "`.../` stands for what did not fit.",
    ),
    Field("process.args", "text_list", "Arguments of the process, up to 4,096 bytes; see connect.args_cut."),
    Field("process.command_line", "text", "Arguments, joined by blanks."),
    Field(
        "process.working_directory",
        "text",
        "Current directory at the time of the attempt, from the process's own root.",
    ),
    Field(
        "process.hash.sha256", "text", "Of the executable, with --hash; absent while it is being computed."
    ),
    Field("process.session_leader.pid", "int", "Session that the process belongs to.", quiet=True),
    Field("process.tty.char_device.major", "int", "Device of its controlling terminal.", quiet=True),
    Field("process.tty.char_device.minor", "int", "The same.", quiet=True),
    Field(
        "process.thread.capabilities.effective",
        "text_list",
        "Effective capabilities at the time of the attempt.",
        quiet=True,
    ),
    Field("process.start", "time", "When the process began (UTC).", "ns"),
    Field("process.entity_id", "text", "Identifies the process also after its pid is reused."),
    Field(
        "process.ancestors",
        "list",
        "Pid, name and executable of each ancestor up to init, the nearest first: those that started it, also "
        "where they have ended since.",
    ),
    Field("user.id", "int", "Real user id."),
    Field("user.name", "text", "Name of the real user, by the user database that the process sees."),
    Field("user.effective.id", "int", "Effective user id, when it differs."),
    Field("user.effective.name", "text", "Its name."),
    Field("user.audit.id", "int", "Login user id (audit)."),
    Field("user.audit.name", "text", "Its name on the host."),
    Field("group.id", "int", "Real group id."),
    Field("group.name", "text", "Its name."),
    Field("container.id", "text", "Container, from the cgroup of the process; of nested ones the innermost."),
    Field("container.name", "text", "Container's name, as its runtime says."),
    Field("container.image.name", "text", "Container's image, as its runtime says."),
    Field(
        "container.runtime",
        "text",
        "`docker`, `containerd`, `podman`, `cri-o`, `lxc`, `systemd-nspawn`, `firecracker`, ...",
    ),
    Field("container.labels", "object", "Container's labels, without those that Kubernetes adds."),
    Field("orchestrator.type", "text", "`kubernetes`, for what runs in a pod."),
    Field("orchestrator.namespace", "text", "Kubernetes namespace."),
    Field("orchestrator.resource.id", "text", "UID of the Kubernetes pod, from the cgroup."),
    Field("orchestrator.resource.name", "text", "Kubernetes pod."),
    Field("orchestrator.resource.type", "text", "`pod`."),
    Field("orchestrator.resource.label", "text_list", "Labels of the pod, each as `key:value`."),
    Field(
        "service.name",
        "text",
        "systemd unit, from the cgroup: of the host, or of the container where it has its own.",
    ),
    Field("source.ip", "ip", "Local address, after the kernel chose it."),
    Field("source.port", "int", "Local port, after the kernel chose it."),
    Field("source.bytes", "int", "Bytes that this end sent, where a connection ended.", "bytes"),
    Field("destination.ip", "ip", "Peer's address."),
    Field("destination.port", "int", "Peer's port."),
    Field(
        "destination.address",
        "text",
        "Path or name of a peer whose family has no IP. `@` stands before the name of an abstract Unix socket; a path "
        "that itself begins so has `./` before it.",
    ),
    Field("destination.bytes", "int", "Bytes that the peer sent, where a connection ended.", "bytes"),
    Field(
        "destination.domain",
        "text",
        "Name that this process resolved or sent, in lower case; bytes that are not printable ASCII are `\\DDD`, as in "
        "DNS master files.",
    ),
    Field("destination.geo.country_iso_code", "text", "Country of the peer, by --geoip."),
    Field("destination.geo.country_name", "text", "Its name in English."),
    Field("destination.geo.region_name", "text", "Part of that country."),
    Field("destination.geo.city_name", "text", "City."),
    Field("destination.as.number", "int", "Autonomous system that announces the peer's address, by --geoip."),
    Field("destination.as.organization.name", "text", "Who runs it."),
    Field("network.transport", "text", "`tcp`, `udp`, `mptcp`, `unix`, ..."),
    Field("network.type", "text", "`ipv4` or `ipv6`."),
    Field("network.bytes", "int", "Both together.", "bytes"),
    Field("network.community_id", "text", "Community ID v1 of the flow."),
    Field("connect.id", "int", "One per attempt, the same in every row about it."),
    Field(
        "connect.entry",
        "text",
        "Way into the kernel: `connect`, `io_uring`, ...; of a related call its name.",
    ),
    Field("connect.fd", "int", "Descriptor, as passed."),
    Field(
        "connect.argument",
        "text",
        "What else a related call was about: protocol of `socket`, backlog of `listen`, how of `shutdown`, `SO_ERROR`.",
    ),
    Field("connect.addrlen", "int", "Length of the address, as passed.", "bytes"),
    Field(
        "connect.family", "text", "Address family of the socket, or of the address where there is no socket."
    ),
    Field("connect.type", "text", "Type of the socket."),
    Field("connect.protocol", "int", "Protocol of the socket."),
    Field("connect.sockaddr", "text", "The address in strace's notation."),
    Field("connect.nonblocking", "bool", "The descriptor was non-blocking."),
    Field("connect.fastopen", "bool", "TCP Fast Open was asked for."),
    Field("connect.return", "int", "What the system call returned: 0 or -errno."),
    Field("connect.verdict", "text", "What became of the attempt."),
    Field("connect.errno", "text", "Error that the application gets, at the call or later."),
    Field("connect.cause", "text", "Why, as one token; `unknown` when the evidence does not tell."),
    Field("connect.evidence", "object", "What the cause rests on."),
    Field("connect.swapped", "object", "Both addresses, where the one in user memory was not the one used."),
    Field("connect.rewritten_from", "text", "Address asked for, when a cgroup program rewrote it."),
    Field("connect.pattern", "text", "Client habit that is no failure: `nscd`, `address_sort_probe`, ..."),
    Field(
        "connect.origin",
        "object",
        "For `sockfd`, `addr`, `addrlen` and the kernel's `copy` of the address: `from` (user or kernel memory) "
        "and `can_change`, whether it could change while it was read.",
        quiet=True,
    ),
    Field(
        "connect.range",
        "text",
        "Kind of the peer's address by IANA's special-purpose registries: `loopback`, `private`, `link_local`, "
        "`metadata` (a cloud's instance metadata), `shared` (carrier-grade NAT), `multicast`, ..., else `global`.",
    ),
    Field(
        "connect.service",
        "text",
        "Usual service of the peer's port, by IANA's registry or common use; no proof of what is spoken.",
    ),
    Field("connect.cgroup", "text", "Path of the caller's cgroup, from the root of its hierarchy."),
    Field("connect.slice", "text", "systemd slice, from the cgroup."),
    Field("connect.cookie", "int", "Socket cookie."),
    Field("connect.netns", "int", "Inode number of the socket's network namespace."),
    Field(
        "connect.domain_source",
        "text",
        "Where destination.domain comes from: `sni` (first bytes of this connection), `dns` (an answer that was seen), "
        "`hosts` (hosts file of the process).",
    ),
    Field("connect.domain_age", "int", "How long before the attempt the DNS answer came.", "ns"),
    Field(
        "connect.domain_confidence",
        "text",
        "`high`: this process sent the name, or asked for it and has one name for this address; `medium`: one doubt "
        "(asked in its cgroup, expired, two names, SNI unlike DNS); `low`: more, another process, or the hosts file.",
    ),
    Field(
        "connect.ech",
        "bool",
        "The TLS hello may hide another name (Encrypted Client Hello, or a pretence of it).",
    ),
    Field(
        "connect.resolver",
        "text",
        "The attempt asks for names: `dns`; unseen over TLS: `dot`, `doq`, and `doh` (known resolvers only).",
    ),
    Field("connect.args_cut", "bool", "The process has more arguments than process.args shows."),
    Field("connect.executable.deleted", "bool", "The executable had no name any more when it began to run."),
    Field("connect.executable.memfd", "bool", "The executable was never a file: memfd_create(2)."),
    Field("connect.executable.inode", "int", "Inode number of the executable.", quiet=True),
    Field("connect.executable.device", "text", "Device of the executable, major:minor.", quiet=True),
    Field("connect.namespace.net", "int", "Inode number of the process's network namespace.", quiet=True),
    Field("connect.namespace.pid", "int", "Of its pid namespace.", quiet=True),
    Field("connect.namespace.mnt", "int", "Of its mount namespace.", quiet=True),
    Field("connect.namespace.user", "int", "Of its user namespace.", quiet=True),
    Field("connect.lost_before", "int", "Attempts lost before this row, since the one before."),
    Field("rule.name", "text", "Rule that matched."),
    Field("rule.id", "text", "Its identifier."),
)
FIELDS: Mapping[str, Field] = MappingProxyType({field.name: field for field in _FIELDS})
FIELD_TYPES: Mapping[str, str] = MappingProxyType({field.name: field.type for field in _FIELDS})


def nest(row: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names to nested objects: ``{"process.pid": 1}`` becomes ``{"process": {"pid": 1}}``."""
    nested: dict[str, Any] = {}
    for name, value in row.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The inverse of ``nest``: objects that are fields themselves stay whole."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = prefix + key
        if isinstance(value, Mapping) and not (name in FIELDS and FIELDS[name].type == "object"):
            flat.update(flatten(value, name + "."))
        else:
            flat[name] = value
    return flat


def ordered(names: Iterable[str]) -> list[str]:
    """Names in the order of the schema; unknown ones last, as they came."""
    rank = {name: i for i, name in enumerate(FIELDS)}
    return sorted(names, key=lambda name: rank.get(name, len(rank)))
