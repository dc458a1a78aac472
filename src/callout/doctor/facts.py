"""The vocabulary of the doctor: what was found on a host, and what that means for callout.

Rule of this file: plain frozen values, no I/O. ``None`` in a fact means "could not be found out".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["ok", "warn", "no"]
Fate: TypeAlias = Literal["loaded", "refused", "absent", "not tried"]


class Check(NamedTuple):
    """One line of the report.

    ``name`` is dotted, its first part is the group; ``state``: ``ok``, ``warn`` (something to know) or ``no``
    (is not there); ``remedy``: what to do about it, "" if there is nothing to do.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


class Trial(NamedTuple):
    """What became of one program, loaded and attached alone; ``error`` is one line, "" if it worked."""

    fate: Fate
    error: str = ""


@dataclass(frozen=True)
class Host:
    """What the files of /proc and /sys tell. The defaults are those of a host that tells nothing."""

    release: str = "unknown"
    machine: str = "unknown"
    btf_size: int | None = None  # bytes
    lockdown: str | None = None  # none, integrity, confidentiality; "" where the kernel has no lockdown
    lsms: tuple[str, ...] | None = None
    seccomp_actions: tuple[str, ...] | None = None
    seccomp_mode: int = 0  # of this process: 0 none, 1 strict, 2 filter (proc_pid_status(5))
    effective: int = 0  # capability sets of this process, as bit masks
    bounding: int = 0
    namespaces: Mapping[str, bool] = field(default_factory=dict)  # pid, user, cgroup: is ours the host's?
    unprivileged_bpf: int | None = None
    perf_paranoid: int | None = None
    tracefs: str | None = None  # where it is mounted
    tracefs_opens: str = ""  # why a mount of our own cannot be made, "" if it can
    cgroup2: str | None = None  # where it is mounted
    cgroup1: tuple[str, ...] = ()  # where version 1 hierarchies are mounted
    userns: Mapping[str, int] = field(default_factory=dict)  # those of host.USERNS_SYSCTLS that exist
    tools: Mapping[str, str | None] = field(default_factory=dict)  # program: its path


@dataclass(frozen=True)
class Facts:
    """All that the report rests on.

    ``libbpf`` is its version, None if the native part of the package does not load (``libbpf_error`` says
    why). ``tier`` is what a trace uses here, None if it cannot run (``tier_error``).
    """

    host: Host
    libbpf: str | None = None
    libbpf_error: str = ""
    trials: Mapping[str, Trial] = field(default_factory=dict)
    tier: str | None = None
    tier_error: str = ""
