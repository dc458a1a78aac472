"""What kernel, process and host mean for a trace.

Rule of this file: pure; each function yields the checks of one group or makes one check. What a setting means
is said with its source.
"""

from __future__ import annotations

from collections.abc import Iterator

from callout.capture import privileges
from callout.doctor.facts import Check, Facts, Host, State

BTF_REMEDY = "boot a kernel built with CONFIG_DEBUG_INFO_BTF (Debian 12, Ubuntu 22.04 and later have it)"
LIBBPF_REMEDY = "install the package for this Python and architecture again"
ON_THE_HOST = "run it on the host"
# What it means for a trace when a namespace is not the host's: state, meaning, remedy.
NAMESPACES: dict[str, tuple[State, str, str]] = {
    "pid": (
        "warn",
        "not the host's: rows and -p have the host's process numbers, not those of ps here",
        f"{ON_THE_HOST}, or start the container with --pid=host",
    ),
    "user": ("no", "not the host's: its capabilities do not count for bpf(2)", "run it as root of the host"),
    "cgroup": (
        "warn",
        "not the host's: paths of cgroups begin at this container's root",
        f"{ON_THE_HOST}, or start the container with --cgroupns=host",
    ),
}
PACKAGES = {"nft": "nftables", "ip": "iproute2"}  # as Debian, Fedora, Arch and Alpine name them


def kernel(facts: Facts) -> Iterator[Check]:
    """The kernel and its own rules."""
    host = facts.host
    yield Check("kernel.release", "ok", f"Linux {host.release}, {host.machine}")
    if host.btf_size is None:
        yield Check("kernel.btf", "no", f"{privileges.BTF} is missing", BTF_REMEDY)
    else:
        yield Check("kernel.btf", "ok", f"{privileges.BTF}, {host.btf_size:,} bytes")
    yield lockdown(host.lockdown)
    if host.lsms is None:
        yield unseen("kernel.lsm")
    else:
        yield Check("kernel.lsm", "ok", ", ".join(host.lsms))
    yield seccomp(host)
    yield setting("unprivileged_bpf_disabled", host.unprivileged_bpf, "CAP_BPF")
    yield setting("perf_event_paranoid", host.perf_paranoid, "CAP_PERFMON")
    yield tracefs(host)


def unseen(name: str) -> Check:
    """A fact that only securityfs tells."""
    return Check(name, "warn", "not known: securityfs is not mounted", "run it as root of the host")


def setting(name: str, value: int | None, exempt: str) -> Check:
    """A sysctl that restricts users without a capability; Documentation/admin-guide/sysctl/kernel.rst."""
    told = "not a setting of this kernel" if value is None else str(value)
    return Check(f"kernel.{name}", "ok", f"{told}; {exempt}, which tracing needs, is exempt")


def lockdown(mode: str | None) -> Check:
    """Kernel lockdown: only ``confidentiality`` is in our way (lockdown_reason in linux/security.h)."""
    if mode is None:
        return unseen("kernel.lockdown")
    if mode == "confidentiality":
        return Check(
            "kernel.lockdown",
            "no",
            "confidentiality: programs may not read kernel memory; kprobes and tracefs are closed",
            "boot with lockdown=integrity, or without lockdown",
        )
    return Check("kernel.lockdown", "ok", f"{mode}: not in the way" if mode else "not in this kernel")


def seccomp(host: Host) -> Check:
    """What seccomp(2) offers, and whether a filter is on this very process."""
    if host.seccomp_actions is None:
        offer = "actions not known: no /proc/sys/kernel/seccomp/actions_avail"
    elif "user_notif" in host.seccomp_actions:
        offer = f"user notification; {' '.join(host.seccomp_actions)}"
    else:
        offer = f"no user notification; {' '.join(host.seccomp_actions)}"
    if host.seccomp_mode:
        return Check(
            "kernel.seccomp",
            "warn",
            f"a filter is on this process and may refuse bpf(2) and perf_event_open(2); {offer}",
            "run it outside of the container or unit that set the filter",
        )
    return Check("kernel.seccomp", "ok" if "user_notif" in (host.seccomp_actions or ()) else "warn", offer)


def tracefs(host: Host) -> Check:
    """The tracepoint tier reads the numbers of its tracepoints there."""
    if host.tracefs:
        return Check("kernel.tracefs", "ok", f"mounted at {host.tracefs}")
    if not host.tracefs_opens:
        return Check("kernel.tracefs", "ok", "not mounted; callout opens its own, seen by nobody else")
    return Check(
        "kernel.tracefs",
        "warn",
        f"not mounted; callout cannot open its own ({host.tracefs_opens}): no tracepoint tier",
        "mount -t tracefs none /sys/kernel/tracing, or run it with CAP_SYS_ADMIN",
    )


def process(facts: Facts) -> Iterator[Check]:
    """What this process may do, and how far it sees."""
    host = facts.host
    lacking = privileges.missing(host.effective)
    held = [name for name in privileges.NEEDED if name not in lacking]
    if lacking:
        told = f"missing: {' '.join(lacking)}" + (f"; held: {' '.join(held)}" if held else "")
        yield Check("process.capabilities", "no", told, capability_remedy(host))
    else:
        yield Check("process.capabilities", "ok", f"held: {' '.join(held)}")
    for name, (state, meaning, remedy) in NAMESPACES.items():
        check = f"process.{name}_namespace"
        if name not in host.namespaces:
            yield Check(check, "warn", f"not known: /proc/self/ns/{name} cannot be read")
        elif host.namespaces[name]:
            yield Check(check, "ok", "the host's")
        else:
            yield Check(check, state, meaning, remedy)


def capability_remedy(host: Host) -> str:
    """How to get what is missing; different where the bounding set has closed the door (capabilities(7))."""
    lacking = privileges.missing(host.effective)
    barred = [name for name in lacking if name in privileges.missing(host.bounding)]
    if barred:
        return f"{ON_THE_HOST}, or give the container or unit {' '.join(barred)}"
    return f"run it as root (sudo), or from a unit with AmbientCapabilities={' '.join(lacking)}"


def host(facts: Facts) -> Iterator[Check]:
    """What else is on this host."""
    if facts.libbpf is None:
        yield Check("host.libbpf", "no", facts.libbpf_error, LIBBPF_REMEDY)
    elif facts.libbpf.startswith("0."):
        yield Check("host.libbpf", "warn", facts.libbpf, privileges.OLD_LIBBPF)
    else:
        yield Check("host.libbpf", "ok", facts.libbpf)
    yield cgroups(facts.host)
    yield user_namespaces(facts.host)
    for name, path in facts.host.tools.items():
        if path:
            yield Check(f"host.{name}", "ok", path)
        else:
            lack = "not found: `trace --demo` needs it"
            yield Check(f"host.{name}", "warn", lack, f"install {PACKAGES[name]}")


def cgroups(host: Host) -> Check:
    """Which hierarchy there is: --cgroup needs version 2 (cgroups(7))."""
    if host.cgroup2:
        kind = "hybrid, version 2" if host.cgroup1 else "version 2"
        return Check("host.cgroup", "ok", f"{kind} at {host.cgroup2}")
    told = "version 1 only" if host.cgroup1 else "none is mounted"
    return Check("host.cgroup", "warn", f"{told}: --cgroup cannot be used", "mount -t cgroup2 none DIRECTORY")


def user_namespaces(host: Host) -> Check:
    """Whether users without privileges can make namespaces of their own (user_namespaces(7))."""
    most = host.userns.get("user/max_user_namespaces")
    closed = [
        setting
        for setting, barred in (
            ("user.max_user_namespaces=0", most == 0),
            ("kernel.unprivileged_userns_clone=0", host.userns.get("kernel/unprivileged_userns_clone") == 0),
            (
                "kernel.apparmor_restrict_unprivileged_userns=1",
                host.userns.get("kernel/apparmor_restrict_unprivileged_userns") == 1,
            ),
        )
        if barred
    ]
    if most is None:
        return Check("host.user_namespaces", "warn", "not in this kernel")
    if closed:
        told = f"closed to users without privileges: {', '.join(closed)}"
        return Check("host.user_namespaces", "warn", told, "run as root what makes a network namespace")
    return Check("host.user_namespaces", "ok", f"open, up to {most:,}")
