"""Facts from the files of /proc and /sys.

Rule of this file: a file that is missing or may not be read is a fact that is not known, never an error. All
is read below ``root``, so that a test can stand up a host of files. Sources: proc(5), capabilities(7),
namespaces(7).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from callout.capture import cgroups
from callout.doctor.detached import read_detached, why_not
from callout.doctor.facts import Host

# include/linux/proc_ns.h: the inode numbers of the initial namespaces, the same since Linux 3.8 (cgroup: 4.6)
INITIAL = {"pid": 0xEFFFFFFC, "user": 0xEFFFFFFD, "cgroup": 0xEFFFFFFB}
USERNS_SYSCTLS = (
    "user/max_user_namespaces",
    "kernel/unprivileged_userns_clone",  # Debian's
    "kernel/apparmor_restrict_unprivileged_userns",  # Ubuntu's
)
TOOLS = ("nft", "ip")
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not in every user's PATH


def text(path: Path) -> str | None:
    """What is in a file, without surrounding blanks; None if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The whole number in a file; None if there is none to be read."""
    content = text(path)
    return int(content) if content is not None and re.fullmatch(r"-?\d+", content) else None


def status(content: str | None) -> dict[str, str]:
    """The fields of a process's status file."""
    return dict(re.findall(r"^(\w+):\s*(.*)$", content or "", re.MULTILINE))


def bracketed(content: str | None, exists: bool) -> str | None:
    """The word in brackets of ``none [integrity] confidentiality``; "" if it is known that there is none."""
    if content is None:
        return None if exists else ""
    match = re.search(r"\[(\w+)\]", content)
    return match[1] if match else None


def namespaces(root: Path) -> dict[str, bool]:
    """Whether each of our namespaces is the initial one; those that cannot be read are left out."""
    found = {}
    for name, inode in INITIAL.items():
        try:
            found[name] = os.readlink(root / "proc/self/ns" / name) == f"{name}:[{inode}]"
        except OSError:
            continue  # not known
    return found


def size(path: Path) -> int | None:
    """Bytes of a file, None if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def gather(
    root: Path = Path("/"),
    unmounted: Callable[[str, str], str | None] = read_detached,
    refusal: Callable[[str], str] = why_not,
) -> Host:
    """Looks at this host.

    ``unmounted`` reads a file of a file system that is not mounted, ``refusal`` tells why one cannot be.
    """
    kernel, security = root / "proc/sys/kernel", root / "sys/kernel/security"
    mounts = text(root / "proc/self/mounts") or ""
    mounted = [(fields[2], fields[1]) for fields in map(str.split, mounts.splitlines()) if len(fields) > 2]
    own = status(text(root / "proc/self/status"))
    lsms = text(security / "lsm") or unmounted("securityfs", "lsm")
    lockdown = text(security / "lockdown") or unmounted("securityfs", "lockdown")
    actions = text(kernel / "seccomp/actions_avail")
    settings = {name: number(root / "proc/sys" / name) for name in USERNS_SYSCTLS}
    search = os.pathsep.join((os.environ.get("PATH", ""), *SBIN))
    trees = [where for kind, where in mounted if kind == "tracefs"]
    return Host(
        release=text(kernel / "osrelease") or "unknown",
        machine=os.uname().machine,
        btf_size=size(root / "sys/kernel/btf/vmlinux"),
        # where the list of LSMs can be read and does not name it, there is no lockdown
        lockdown=bracketed(lockdown, exists=lsms is None or "lockdown" in lsms.split(",")),
        lsms=None if lsms is None else tuple(lsms.strip().split(",")),
        seccomp_actions=None if actions is None else tuple(actions.split()),
        seccomp_mode=int(own.get("Seccomp", "0")),
        effective=int(own.get("CapEff", "0"), 16),
        bounding=int(own.get("CapBnd", "0"), 16),
        namespaces=namespaces(root),
        unprivileged_bpf=number(kernel / "unprivileged_bpf_disabled"),
        perf_paranoid=number(kernel / "perf_event_paranoid"),
        tracefs=trees[0] if trees else None,
        tracefs_opens=refusal("tracefs"),
        cgroup2=cgroups.hierarchy(mounts),
        cgroup1=tuple(where for kind, where in mounted if kind == "cgroup"),
        userns={name: value for name, value in settings.items() if value is not None},
        tools={name: shutil.which(name, path=search) for name in TOOLS},
    )
