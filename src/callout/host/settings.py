"""The settings of the network namespace that this thread is in, as numbers.

Rule of this file: reads /proc, and knows no meaning: that is in ``computed``. None: this kernel has no such setting, or
it cannot be read. Source: Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from callout.computed import RTO_MAX, Descriptors, SynSettings, reserved_ports

NET = Path("/proc/sys/net")
FILES = Path("/proc/sys/fs/file-nr")


@dataclass(frozen=True)
class Settings:
    """Values of one network namespace, by the names of their sysctls."""

    tcp_syn_retries: int | None
    tcp_syn_linear_timeouts: int | None
    tcp_rto_max_ms: int | None
    tcp_fastopen: int | None
    tcp_tw_reuse: int | None
    port_range: tuple[int, int] | None
    reserved: int
    somaxconn: int | None
    max_dgram_qlen: int | None
    conntrack_count: int | None
    conntrack_max: int | None
    bindv6only: int | None

    def syn(self, retries: int | None = None, user_timeout: float | None = None) -> SynSettings:
        """What decides how long an unanswered attempt lasts; ``retries``: TCP_SYNCNT of the socket."""
        return SynSettings(
            retries=retries or self.tcp_syn_retries or 6,
            linear=self.tcp_syn_linear_timeouts or 0,
            rto_max=RTO_MAX if self.tcp_rto_max_ms is None else self.tcp_rto_max_ms / 1000,
            user_timeout=user_timeout or None,
        )

    @property
    def conntrack_full(self) -> bool:
        """Whether connection tracking has no room: new connections are dropped."""
        return bool(self.conntrack_max and (self.conntrack_count or 0) >= self.conntrack_max)


def read_settings() -> Settings:
    """The settings where this thread is."""
    ports = text("ipv4/ip_local_port_range")
    low, high = (int(part) for part in ports.split()) if ports else (0, 0)
    return Settings(
        tcp_syn_retries=number("ipv4/tcp_syn_retries"),
        tcp_syn_linear_timeouts=number("ipv4/tcp_syn_linear_timeouts"),
        tcp_rto_max_ms=number("ipv4/tcp_rto_max_ms"),
        tcp_fastopen=number("ipv4/tcp_fastopen"),
        tcp_tw_reuse=number("ipv4/tcp_tw_reuse"),
        port_range=(low, high) if ports else None,
        reserved=reserved_ports(text("ipv4/ip_local_reserved_ports") or "", low, high),
        somaxconn=number("core/somaxconn"),
        max_dgram_qlen=number("unix/max_dgram_qlen"),
        conntrack_count=number("netfilter/nf_conntrack_count"),
        conntrack_max=number("netfilter/nf_conntrack_max"),
        bindv6only=number("ipv6/bindv6only"),
    )


def text(name: str) -> str | None:
    """A setting as it is printed; None where it is not there or not to be read."""
    try:
        return (NET / name).read_text()
    except OSError:
        return None


def number(name: str) -> int | None:
    """A setting that is one number."""
    found = text(name)
    return None if found is None else int(found)


def descriptors(pid: int | None) -> Descriptors:
    """Open files of a process and of the host. Raises OSError.

    Sources: proc_pid_limits(5), proc_sys_fs(5) (file-nr).
    """
    opened, _, most = FILES.read_text().split()
    count, limit = (None, None) if pid is None else files_of(pid)
    return Descriptors(count, limit, int(opened), int(most))


def files_of(pid: int) -> tuple[int | None, int | None]:
    """Descriptors of a process, and how many it may have; None for what cannot be seen, or has no limit."""
    try:
        count = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return count, int(soft) if soft.isdigit() else None
    except OSError:
        return None, None
    return count, None
