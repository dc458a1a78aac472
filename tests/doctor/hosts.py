"""A server on which all works, what is known of it, and of servers that differ from it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from callout.doctor import programs, report
from callout.doctor.facts import Facts, Host, Trial

ROOT = 0x1FFFFFFFFFF
SERVER = Host(
    release="6.12.9-amd64",
    machine="x86_64",
    btf_size=6123456,
    lockdown="integrity",
    lsms=("lockdown", "capability", "yama", "apparmor"),
    seccomp_actions=("kill_process", "trap", "errno", "user_notif", "allow"),
    effective=ROOT,
    bounding=ROOT,
    namespaces={"pid": True, "user": True, "cgroup": True},
    unprivileged_bpf=2,
    perf_paranoid=3,
    tracefs="/sys/kernel/tracing",
    cgroup2="/sys/fs/cgroup",
    userns={"user/max_user_namespaces": 63000},
    tools={"nft": "/usr/sbin/nft", "ip": None},
)
LOADED = {program.name: Trial("loaded") for program in programs.ALL}


def facts(tier: str | None = "trampoline", **changes: Any) -> Facts:
    """A server on which all works, with changes."""
    known = {field.name for field in fields(Host)}
    there = {name: value for name, value in changes.items() if name in known}
    rest = {name: value for name, value in changes.items() if name not in known}
    given = {"libbpf": "1.5", "trials": LOADED, "tier": tier, **rest}
    return Facts(replace(SERVER, **there), **given)


def lines(found: Facts, *names: str) -> list[tuple[str, str, str]]:
    """State, detail and remedy of the named checks."""
    checks = {check.name: check for check in report.report(found)}
    return [(checks[name].state, checks[name].detail, checks[name].remedy) for name in names]
