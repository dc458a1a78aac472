"""What this host's settings make of an attempt: how long it waits, how many SYNs, how many ports there are.

Rule of this file: pure arithmetic over settings that somebody else has read; no clock, no files. Each function names
the kernel code that it follows, and the tests compare it with what a kernel does.

Sources: tcp_write_timeout, retransmits_timed_out, tcp_model_timeout and tcp_retransmit_timer in net/ipv4/tcp_timer.c;
__inet_hash_connect in net/ipv4/inet_hashtables.c; Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from dataclasses import dataclass

RTO_INITIAL = 1.0  # seconds: TCP_TIMEOUT_INIT, include/net/tcp.h; a sockops program may set another one
RTO_MAX = 120.0  # seconds: TCP_RTO_MAX; since 6.15 the sysctl tcp_rto_max_ms, where it is there
TRIES_MOST = 255  # TCP_SYNCNT and tcp_syn_retries end far below


@dataclass(frozen=True)
class SynSettings:
    """What decides how long a TCP attempt without an answer lasts.

    ``retries``: net.ipv4.tcp_syn_retries, or the socket's TCP_SYNCNT. ``linear``: tcp_syn_linear_timeouts (6.5 and
    later; 0 before). ``rto_max``, ``user_timeout`` (TCP_USER_TIMEOUT; None: not set) in seconds.
    """

    retries: int = 6
    linear: int = 0
    rto_initial: float = RTO_INITIAL
    rto_max: float = RTO_MAX
    user_timeout: float | None = None


@dataclass(frozen=True)
class SynSchedule:
    """When each SYN leaves, in seconds from the first (which is 0), and when the kernel gives up: ETIMEDOUT."""

    sent: tuple[float, ...]
    gives_up: float


def syn_schedule(s: SynSettings) -> SynSchedule:
    """The SYNs of an attempt that nobody answers.

    The timer fires after each RTO. It gives up when as many SYNs were sent again as retries and linear timeouts
    allow, or once the time has passed that the retries alone would have taken (or TCP_USER_TIMEOUT): so linear
    timeouts lengthen a long wait by their number of seconds, and a short one not at all.
    """
    sent, now, rto = [0.0], 0.0, s.rto_initial
    limit = s.user_timeout if s.user_timeout else model_timeout(s.retries, s.rto_initial, s.rto_max)
    wait = rto
    while True:
        now += wait
        again = len(sent) - 1
        if again >= s.retries + s.linear or (again and now >= limit) or again >= TRIES_MOST:
            return SynSchedule(tuple(sent), now)
        sent.append(now)
        if len(sent) - 1 > s.linear:
            rto = min(rto * 2, s.rto_max)
        wait = rto
        if s.user_timeout:  # tcp_clamp_rto_to_user_timeout
            wait = min(rto, max(s.user_timeout - now, 0.001))


def model_timeout(boundary: int, rto_base: float, rto_max: float) -> float:
    """Seconds that ``boundary`` doublings take, as tcp_model_timeout has it."""
    threshold = int(rto_max / rto_base).bit_length() - 1
    if boundary <= threshold:
        return ((2 << boundary) - 1) * rto_base
    return ((2 << threshold) - 1) * rto_base + (boundary - threshold) * rto_max


@dataclass(frozen=True)
class PortUse:
    """Local ports for calls without bind(2) to one destination. ``taken`` are those in use towards it."""

    low: int
    high: int
    reserved: int
    taken: int

    @property
    def available(self) -> int:
        """Ports of net.ipv4.ip_local_port_range that are not reserved."""
        return max(0, self.high - self.low + 1 - self.reserved)

    @property
    def left(self) -> int:
        """Those that one destination can still be called from."""
        return max(0, self.available - self.taken)

    @property
    def share(self) -> float:
        """Part of them that is taken, 0 to 1."""
        return min(1.0, self.taken / self.available) if self.available else 1.0


def reserved_ports(text: str, low: int, high: int) -> int:
    """How many ports of a range net.ipv4.ip_local_reserved_ports takes away: ``8080,9000-9010``."""
    taken: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        taken.update(range(max(low, int(first)), min(high, int(last or first)) + 1))
    return len(taken)


def backlog(asked: int, somaxconn: int) -> int:
    """Connections that wait for accept(2) at most: listen(2) is cut to net.core.somaxconn, without an error.

    A queue is full only when it holds more than that (sk_acceptq_is_full), so it takes one more.
    """
    return min(asked, somaxconn) + 1


FASTOPEN = (
    (0x1, "for calls"),
    (0x2, "for listeners"),
    (0x4, "without a cookie, for calls"),
    (0x200, "without a cookie, for listeners"),
    (0x400, "for all listeners, asked or not"),
)


def fastopen(value: int) -> list[str]:
    """What net.ipv4.tcp_fastopen allows, in words; an empty list: nothing."""
    return [words for bit, words in FASTOPEN if value & bit]


@dataclass(frozen=True)
class FastOpen:
    """Fast Open towards one host. ``value``: net.ipv4.tcp_fastopen, None where there is none. ``cookie``: bytes of the
    cookie that is kept for the host, 0 for none. ``dropped``: SYNs with data to it that were lost. ``blackholes``: how
    often this network namespace gave Fast Open up for a while, ``blackhole_timeout`` seconds at first (0: never).
    """

    value: int | None
    cookie: int = 0
    dropped: int = 0
    blackholes: int = 0
    blackhole_timeout: int | None = None

    @property
    def calls(self) -> bool:
        """Whether the switch allows it for calls (TFO_CLIENT_ENABLE, include/net/tcp.h)."""
        return bool((self.value or 0) & 0x1)

    @property
    def without_cookie(self) -> bool:
        """Whether the first SYN may carry data, too (TFO_CLIENT_NO_COOKIE)."""
        return self.calls and bool((self.value or 0) & 0x4)


def fastopen_facts(f: FastOpen, ip: str) -> list[str]:
    """What a call with Fast Open to an address comes to under this state, in words."""
    if not f.calls:
        return [f"tcp_fastopen is {f.value or 0}: Fast Open is off for calls"]
    told = [f"tcp_fastopen is {f.value}: it is on {', '.join(fastopen(f.value or 0))}"]
    if f.cookie:
        told.append(f"a cookie of {ip} is kept ({f.cookie} bytes): the SYN leaves with the first data")
    elif f.without_cookie:
        told.append(f"no cookie of {ip} is kept, and none is needed: the SYN leaves with the first data")
    else:
        told.append(f"no cookie of {ip} is kept: the SYN goes without data, and asks for one")
    if f.dropped:
        told.append(
            f"{f.dropped} SYN{'s' * (f.dropped != 1)} with data to {ip} were lost: it waits before it tries again"
        )
    if f.blackholes:
        pause = f" for {seconds(f.blackhole_timeout)} at first" if f.blackhole_timeout else ""
        times = "once" if f.blackholes == 1 else f"{f.blackholes} times"
        told.append(f"Fast Open was given up {times}{pause}, because something on the way swallowed it")
    return told


@dataclass(frozen=True)
class Descriptors:
    """Open files. ``open`` of a process and its ``limit`` (RLIMIT_NOFILE; None: not known); those of the whole host
    and its ``host_limit`` (fs.file-max).
    """

    open: int | None
    limit: int | None
    host_open: int
    host_limit: int

    @property
    def full(self) -> bool:
        """Whether the process can open nothing more."""
        return self.open is not None and self.limit is not None and self.open >= self.limit

    @property
    def host_full(self) -> bool:
        """Whether nobody without CAP_SYS_ADMIN can (fs/file_table.c, alloc_empty_file)."""
        return self.host_open >= self.host_limit


def dgram_queue(max_dgram_qlen: int) -> int:
    """Datagrams that wait in a Unix socket's queue at most, for senders that are not its peer.

    A queue is full when it holds more than net.unix.max_dgram_qlen (unix_recvq_full), so it takes one more; a socket
    keeps the value that held when it was made.
    """
    return max_dgram_qlen + 1


def seconds(value: float) -> str:
    """A duration as people say it: ``3 s``, ``127 s``, ``2.5 s``, ``15 min 24 s``."""
    if value >= 600:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{value:.0f} s" if abs(value - round(value)) < 0.05 else f"{value:.1f} s"
