"""Which looks at the host belong to which cause, and what each says.

Rule of this file: a look supports a cause, speaks against it, or adds to it. It holds for now, some moments after the
attempt: what could have changed since adds, and proves nothing. A look that fails says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from callout import computed
from callout.errors import NotPermittedError
from callout.host import firewall, netns, options, paths, policy, room, routes, settings, sockets
from callout.ruleset import Decision, Packet, decide
from callout.story.model import Look, Row, Says
from callout.story.weigh import cause_of

INTERNET = ("AF_INET", "AF_INET6")
Finder = Callable[[Row], Iterator[Look]]
NEIGHBOUR: dict[str | None, Says] = {"neighbour_failed": "supports", "syn_unanswered": "against"}  # by cause


def looks(row: Row, path: str | None = None) -> tuple[Look, ...]:
    """Everything that this host can add to an attempt. ``path``: its network namespace, found by itself otherwise."""
    place = path or netns.find(row.get("connect.netns"), row.get("process.pid"))
    if place is None:
        return (
            Look("netns", "adds", "its network namespace is gone: nothing could be looked up there", "/proc"),
        )
    try:
        return netns.inside(
            place, lambda: tuple(gathered(row, (*FINDERS.get(cause_of(row), UNKNOWN), *ALWAYS)))
        )
    except NotPermittedError as error:
        return (Look("netns", "adds", error.message, "setns"),)


def diagnose(row: Row, pid: int | None = None) -> tuple[Look, ...]:
    """All layers for an attempt that was just made from this thread's network namespace, whatever its cause.

    ``pid``: another process, whose policies are told, too, and whose files are looked at.
    """
    other = None if pid is None else dict(row) | paths.caller(pid) | {"connect.evidence": None}
    if row.get("connect.family") == "AF_UNIX":
        found = list(gathered(other or row, (file,)))
    else:
        found = list(gathered(row, LAYERS))
    found += gathered(row, (deniers,))
    if other is not None:
        found += gathered(other, (deniers,))
    return tuple(found)


def patience_of(row: Row, path: str | None = None) -> computed.SynSchedule | None:
    """When SYNs go out under the settings of an attempt's network namespace; None where it is no TCP or gone."""
    place = path or netns.find(row.get("connect.netns"), row.get("process.pid"))
    if place is None or row.get("network.transport") != "tcp":
        return None
    try:
        return netns.inside(place, lambda: schedule(row, settings.read_settings()))
    except NotPermittedError:
        return None


def prefix_of(row: Row) -> str:
    """What goes before a command so that it looks where the process is: empty where that is here."""
    number, pid = row.get("connect.netns"), row.get("process.pid")
    if number is None or number == netns.inode(netns.OWN):
        return ""
    return f"nsenter -t {pid} -n " if netns.inode(f"/proc/{pid}/ns/net") == number else ""


def schedule(row: Row, found: settings.Settings) -> computed.SynSchedule:
    """When SYNs go out: settings of the namespace, and options of the socket where it is still there."""
    given = socket_options(row)
    return computed.syn_schedule(
        found.syn(given.syn_retries if given else None, given.user_timeout if given else None)
    )


def gathered(row: Row, finders: Iterable[Finder]) -> Iterator[Look]:
    """What some looks say about a row."""
    for finder in finders:
        try:
            yield from finder(row)
        except OSError as error:
            yield Look(
                finder.__name__, "adds", f"could not be looked up: {error.strerror or error}", "this host"
            )


def destination(row: Row) -> tuple[str, int] | None:
    """Address and port of the peer, without scope; None for other families."""
    ip, port = row.get("destination.ip"), row.get("destination.port")
    if row.get("connect.family") not in INTERNET or ip is None or port is None:
        return None
    plain = ipaddress.ip_address(str(ip).partition("%")[0])
    if plain.is_unspecified and row.get("network.transport") == "mptcp":
        return None  # its socket had no peer yet
    mapped = plain.ipv4_mapped if isinstance(plain, ipaddress.IPv6Address) else None
    return str(mapped or plain), int(port)


def supporting(it_does: bool) -> Says:
    """What a look says of the cause, when it cannot speak against it."""
    return "supports" if it_does else "adds"


def route(row: Row) -> Iterator[Look]:
    """The way to the destination."""
    place = destination(row)
    if place is None:
        return
    found = routes.lookup(place[0], row.get("user.effective.id", row.get("user.id")))
    cause, error = cause_of(row), row.get("connect.errno")
    if found.error:
        told = supporting(cause in ("no_route", "route_prohibits") and error == found.error)
        rather = "route_prohibits" if cause == "unknown" and found.error == error == "EACCES" else None
        yield Look("route", told, found.text(), "netlink", rather)
    elif cause == "rst_from_peer" and found.kind == "local":
        yield Look("route", "against", f"{place[0]} is this host's own", "netlink", "no_listener")
    elif cause in ("not_unicast", "broadcast_not_allowed"):
        told = supporting(found.kind in ("broadcast", "multicast"))
        yield Look("route", told, f"to the kernel {place[0]} is {found.kind}", "netlink")
    elif cause == "no_route" and found.kind in ("broadcast", "multicast"):
        yield Look("route", "against", f"{place[0]} is a {found.kind} address: TCP cannot call it", "netlink")
    elif cause == "no_route":
        rather = "cgroup_bpf" if connect_programs(row) else None
        yield Look("route", "against", found.text(), "netlink", rather)
    else:
        yield Look("route", "adds", found.text(), "netlink")


def neighbour(row: Row) -> Iterator[Look]:
    """The next hop on the link."""
    place = destination(row)
    if place is None:
        return
    way = routes.lookup(place[0])
    if way.error or way.kind != "unicast":
        return
    hop = way.gateway or place[0]
    found = routes.neighbour(hop)
    if found is None:
        yield Look(
            "neighbour",
            "adds",
            f"the next hop {hop} is not in the neighbour table of {way.device}",
            "netlink",
        )
    elif found.state in ("failed", "incomplete"):
        text = f"the next hop {hop} on {found.device} did not answer ({found.state})"
        cause = cause_of(row)
        told = NEIGHBOUR.get(cause, "adds")
        unsaid = cause == "unknown" and row.get("connect.errno") == "EHOSTUNREACH"
        rather = "neighbour_failed" if unsaid or told == "against" else None
        yield Look("neighbour", told, text, "netlink", rather)
    else:
        link = f" at {found.link}" if found.link else ""
        yield Look(
            "neighbour", "adds", f"the next hop {hop} is on {found.device}{link} ({found.state})", "netlink"
        )


def is_local(ip: str) -> bool:
    """Whether an address is this host's, in this network namespace."""
    found = routes.lookup(ip)
    return not found.error and found.kind == "local"


def listener(row: Row) -> Iterator[Look]:
    """Who listens on that port of this host."""
    place = destination(row)
    if place is None or row.get("network.transport") == "udp" or not is_local(place[0]):
        return
    ip, port = place
    found = sockets.listeners(port)
    mine = [one for one in found if one.hears(ip)]
    for one in mine:
        who = sockets.owner(one.inode) or "somebody"
        told: Says = "against" if cause_of(row) == "no_listener" else "adds"
        full = ": its queue is full" if one.queued > one.backlog else ""
        text = f"{who} listens on {one.where}, {one.queued} of {one.backlog + 1} wait to be accepted{full}"
        yield Look("listener", told, text, "sock_diag")
    if not mine:
        told = supporting(cause_of(row) == "no_listener")
        yield Look("listener", told, f"no TCP socket listens on {ip} port {port} here", "sock_diag")
        for one in found:
            who = sockets.owner(one.inode) or "somebody"
            yield Look("listener", "adds", f"{who} listens on {one.where} only", "sock_diag")


def packets(row: Row) -> Iterator[tuple[str, Packet]]:
    """The hooks that the SYN and the answer to it pass on this host."""
    place = destination(row)
    transport = row.get("network.transport")
    if place is None or transport not in ("tcp", "udp"):
        return
    ip, port = place
    mapped = ipaddress.ip_address(ip)
    way = routes.lookup(ip)
    if way.error:
        return
    local = way.kind == "local"
    packet = Packet(
        mapped.version, str(transport), str(row.get("source.ip") or way.source or ""), ip, row.get("source.port"), port,
        oif="lo" if local else way.device,
        uid=row.get("user.effective.id", row.get("user.id")), gid=row.get("group.id"),
    )  # fmt: skip
    answer = packet.answer()
    yield "output", packet
    yield "postrouting", packet
    if local:
        arrived = replace(packet, iif="lo", oif="", uid=None, gid=None)
        yield "prerouting", arrived
        yield "input", arrived
        yield "output", replace(answer, iif="", oif="lo")
    yield "prerouting", answer
    yield "input", answer


def rules(row: Row) -> Iterator[Look]:
    """What the firewall of this host makes of the packets."""
    found = firewall.read_firewall()
    source = " and ".join(found.tools) or "this host"
    for reason in found.missing:
        yield Look("rules", "adds", f"not all rules could be read: {reason}", source)
    refused, doubtful = False, []
    for hook, packet in packets(row):
        decision = decide(found.chains, hook, packet)
        doubtful += [rule for rule in decision.doubtful if rule not in doubtful]
        for rule in decision.nat:
            yield Look("rules", "adds", f"a rule sends it elsewhere: {rule.place}: {rule.text}", source)
        if decision.action != "accept" and not refused:
            refused = True
            yield refusal(row, hook, packet, decision, source)
    for rule in doubtful:
        yield Look("rules", "adds", f"this rule may match: {rule.place}: {rule.text}", source)
    if not refused and not doubtful and not found.missing:
        told = supporting(cause_of(row) in ("syn_unanswered", "rst_from_peer"))
        text = f"no rule of this host drops or rejects it ({len(found.chains)} chains)"
        yield Look("firewall", told, text, source)


def refusal(row: Row, hook: str, packet: Packet, decision: Decision, source: str) -> Look:
    """What a rule that refuses says about the cause."""
    cause = cause_of(row)
    what = "the SYN" if packet.flags == {"syn"} else "the answer"
    if decision.rule is None:
        text = f"the policy of {decision.policy} drops {what} ({hook})"
    else:
        counted = "" if decision.rule.packets is None else f", {decision.rule.packets} packets so far"
        verb = {"drop": "drops", "reject": "rejects"}.get(decision.action, "queues")
        text = f"{decision.rule.place}: {decision.rule.text} {verb} {what} ({hook}{counted})"
    if cause in ("netfilter_drop", "netfilter_reject"):
        return Look("firewall", "supports", text, source)
    fits = {
        "syn_unanswered": "drop", "no_listener": "reject", "rst_from_peer": "reject",
        "icmp_port_unreachable": "reject", "icmp_host_unreachable": "reject", "icmp_net_unreachable": "reject",
        "icmp_admin_prohibited": "reject", "closed_by_application": "reject",
    }.get(cause)  # fmt: skip
    if fits == decision.action and decision.certain:
        return Look("firewall", "against", text, source, f"netfilter_{decision.action}")
    return Look("firewall", "adds", text, source)


def ports(row: Row) -> Iterator[Look]:
    """How many local ports are left for the destination."""
    found, place = settings.read_settings(), destination(row)
    if found.port_range is None or place is None:
        return
    low, high = found.port_range
    taken = sockets.ports_towards(*place) if row.get("network.transport") != "udp" else 0
    use = computed.PortUse(low, high, found.reserved, taken)
    text = (
        f"ports {low} to {high}, {found.reserved} reserved: {use.available} in all; "
        f"{taken} taken towards {place[0]}:{place[1]} now"
    )
    yield Look("ports", "supports" if use.left == 0 else "adds", text, "sock_diag and ip_local_port_range")


def patience(row: Row) -> Iterator[Look]:
    """How long this host waits for an answer."""
    if row.get("network.transport") != "tcp":
        return
    found = settings.read_settings()
    set_by = socket_options(row)
    retries = set_by.syn_retries if set_by else None
    planned = schedule(row, found)
    parts = [f"tcp_syn_retries {found.tcp_syn_retries}"]
    if found.tcp_syn_linear_timeouts:
        parts.append(f"tcp_syn_linear_timeouts {found.tcp_syn_linear_timeouts}")
    if set_by and retries and retries != found.tcp_syn_retries:
        parts.append(f"TCP_SYNCNT {retries}")
    if set_by and set_by.user_timeout:
        parts.append(f"TCP_USER_TIMEOUT {computed.seconds(set_by.user_timeout)}")
    after, syns = computed.seconds(planned.gives_up), len(planned.sent)
    yield Look(
        "timeout", "adds", f"here TCP gives up after {after} and {syns} SYNs ({', '.join(parts)})", "sysctl"
    )
    if set_by and set_by.send_timeout:
        text = f"SO_SNDTIMEO lets a blocking connect(2) wait {computed.seconds(set_by.send_timeout)}"
        yield Look("timeout", "adds", text, "getsockopt")
    if found.conntrack_full:
        room = f"{found.conntrack_count} of {found.conntrack_max}"
        text = f"connection tracking is full ({room}): new packets are dropped"
        yield Look("conntrack", "adds", text, "nf_conntrack_max")


def socket_options(row: Row) -> options.Options | None:
    """Options of the socket, if the process still has it."""
    pid, descriptor = row.get("process.pid"), row.get("connect.fd")
    if pid is None or descriptor is None:
        return None
    return options.options_of(pid, descriptor, row.get("connect.cookie"))


def device(row: Row) -> Iterator[Look]:
    """The device that the socket is bound to, if the process still has it."""
    pid, descriptor = row.get("process.pid"), row.get("connect.fd")
    found = None if pid is None or descriptor is None else options.device_of(pid, descriptor)
    if found == options.GONE:
        text = f"descriptor {descriptor} is bound to a device that is gone (SO_BINDTODEVICE)"
        yield Look("device", supporting(cause_of(row) == "no_device"), text, "getsockopt")
    elif found:
        yield Look("device", "adds", f"descriptor {descriptor} is bound to the device {found}", "getsockopt")


def file(row: Row) -> Iterator[Look]:
    """The socket file, and who listens on it."""
    path, pid = row.get("destination.address"), row.get("process.pid")
    if row.get("connect.family") != "AF_UNIX" or path is None:
        return
    name = str(path)
    uid = row.get("user.effective.id", row.get("user.id"))
    found = paths.look_at(name, pid, uid, row.get("group.id")) if pid else None
    if found is not None and found.refused:
        told = supporting(cause_of(row) == "unix_permission")
        yield Look("path", told, f"no permission for user {uid}: {found.refused}", "stat")
    elif found is not None:
        yield Look(
            "path",
            "adds",
            f"{name} is a {found.kind}" if found.kind != "missing" else f"there is no {name}",
            "stat",
        )
    for one in sockets.unix_listeners():
        if one.is_at(name, found.file if found else None):
            who = sockets.owner(one.inode) or "somebody"
            text = f"{who} listens on it ({one.kind}), {one.queued} of {one.backlog + 1} wait to be accepted"
            yield Look("queue", "adds", text, "sock_diag")


def connect_programs(row: Row) -> list[policy.Program]:
    """BPF programs that decide over calls of the process; empty where that cannot be seen."""
    cgroup = policy.cgroup_of(row["process.pid"]) if "process.pid" in row else None
    hook = {"AF_INET": "connect4", "AF_INET6": "connect6", "AF_UNIX": "connect_unix"}.get(
        str(row.get("connect.family"))
    )
    if cgroup is None or hook is None:
        return []
    try:
        return policy.programs(cgroup, (hook,))
    except OSError:
        return []


def deniers(row: Row) -> Iterator[Look]:
    """Who could have refused the call."""
    pid, error, cause = row.get("process.pid"), row.get("connect.errno"), cause_of(row)
    evidence: dict[str, Any] = row.get("connect.evidence") or {}
    if pid is None or "syns" in evidence:
        return
    found = connect_programs(row)
    for program in found:
        name = f" {program.name!r}" if program.name else ""
        rather = "cgroup_bpf" if cause == "unknown" and error in ("EPERM", "ECONNREFUSED") else None
        text = f"BPF program {program.id}{name} decides over {program.hook} on its cgroup"
        yield Look("policy", "adds", text, "bpf(2)", rather)
    mode = policy.seccomp_mode(pid)
    if mode:
        yield Look(
            "policy",
            "adds",
            "it has a seccomp filter" if mode == 2 else "seccomp is strict",
            f"/proc/{pid}/status",
        )
    names = policy.modules()
    if names and error in ("EPERM", "EACCES"):
        only = cause == "unknown" and error == "EACCES" and mode == 0 and not found and nothing_forbids(row)
        text = f"security modules that can refuse: {', '.join(names)}"
        yield Look("policy", "adds", text, "the kernel's list of LSMs", "lsm" if only else None)


def nothing_forbids(row: Row) -> bool:
    """Whether the routing table lets a call pass: then EACCES comes from elsewhere."""
    place = destination(row)
    if place is None or policy.cgroup_of(row["process.pid"]) is None:
        return False
    found = routes.lookup(place[0])
    return found.error is None and found.kind in ("unicast", "local")


FINDERS: dict[str, tuple[Finder, ...]] = {
    "rst_from_peer": (route, listener, rules),
    "no_listener": (listener, rules),
    "syn_unanswered": (patience, route, neighbour, listener, rules),
    "icmp_port_unreachable": (route, rules, deniers),
    "icmp_host_unreachable": (route, rules),
    "icmp_net_unreachable": (route, rules),
    "icmp_admin_prohibited": (route, rules),
    "no_route": (route, device, deniers),
    "no_device": (device,),
    "route_prohibits": (route, deniers),
    "not_unicast": (route,),
    "broadcast_not_allowed": (route,),
    "no_source_address": (route,),
    "reverse_path_filter": (route, rules),
    "tc_drop": (route, patience),
    "icmp_protocol_unreachable": (route, rules),
    "icmp_time_exceeded": (route,),
    "icmp_other": (route,),
    "unix_peer_taken": (file,),
    "earlier_attempt_failed": (),
    "socket_listens": (),
    "neighbour_failed": (route, neighbour),
    "netfilter_drop": (rules, patience),
    "netfilter_reject": (rules,),
    "cgroup_bpf": (deniers,),
    "callout_policy": (deniers,),
    "lsm": (deniers,),
    "seccomp": (deniers,),
    "ports_exhausted": (ports,),
    "address_in_use": (ports,),
    "unix_no_path": (file,),
    "unix_no_listener": (file,),
    "unix_backlog_full": (file,),
    "unix_permission": (file, deniers),
    "unix_wrong_type": (file,),
    "closed_by_application": (patience, route, neighbour, rules),
    "process_died": (),
    "bad_descriptor": (),
    "not_a_socket": (),
    "bad_pointer": (),
    "bad_length": (),
    "family_mismatch": (),
    "family_unsupported": (),
    "already_connected": (),
    "already_in_progress": (),
    "interrupted": (),
}
ALWAYS: tuple[Finder, ...] = (room.early_data, room.queue, room.descriptors)  # each where it matters
LAYERS: Iterable[Finder] = (route, rules, neighbour, listener, patience)
UNKNOWN: Iterable[Finder] = (route, neighbour, listener, rules, file, deniers)
