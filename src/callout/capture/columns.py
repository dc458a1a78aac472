"""From the kernel's records to the columns of the schema.

Rule of this file: values in, columns out; each column is computed when it is asked for, once per distinct
value.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from callout import verdict
from callout.batch import Batch, Coded, Column, Plain, coded, compact, distinct
from callout.btf import Btf
from callout.capture import identity
from callout.sockaddr import decode_sockaddr, family_name, parse_sockaddr

Records = np.ndarray[Any, Any]

TYPE_NAMES = {
    1: "SOCK_STREAM",
    2: "SOCK_DGRAM",
    3: "SOCK_RAW",
    4: "SOCK_RDM",
    5: "SOCK_SEQPACKET",
    6: "SOCK_DCCP",
    10: "SOCK_PACKET",
}
# IANA protocol numbers of sockets of the internet families; 262 is IPPROTO_MPTCP (include/uapi/linux/in.h)
TRANSPORTS = {
    6: "tcp",
    17: "udp",
    1: "icmp",
    58: "ipv6-icmp",
    33: "dccp",
    132: "sctp",
    136: "udplite",
    262: "mptcp",
}

# What a judgement rests on, as one contiguous key per row.
EVIDENCE = np.dtype(
    [
        ("family", "u2"), ("type", "u1"), ("state", "u1"), ("protocol", "u2"), ("asked", "u2"),
        ("addrlen", "i4"), ("ret", "i4"),
        ("flags", "u4"),
        ("err", "u2"), ("soft", "u2"), ("drop", "u2"), ("syns", "u1"), ("phase", "u1"),
        ("local", "u1"), ("bound", "u1"), ("pad", "u2"),
    ]
)  # fmt: skip


class Decoder:
    """Turns records of one object into batches: knows its enumerations and this kernel's drop reasons."""

    def __init__(self, btf: Btf, drop_reasons: Callable[[int], str] | None = None) -> None:
        self.flags = btf.enum("attempt_flag")
        self.phases = btf.enum("record_phase")
        self.entries = {
            number: name.removeprefix("ENTRY_").lower() for name, number in btf.enum("entry_path").items()
        }
        self._drop_reason = drop_reasons or identity.drop_reason
        self._host = os.uname().nodename
        self._lost: dict[int, int] = {}
        self._offset = 0

    def offset(self) -> int:
        """Nanoseconds from CLOCK_BOOTTIME to UTC: kept until the clock is set, so that start times stay."""
        _, now = min(clocks() for _ in range(3))  # the least interrupted of three
        if abs(now - self._offset) > 1_000_000:
            self._offset = now
        return self._offset

    def batch(self, records: Records) -> Batch:
        """A batch over ``records``, which must not change afterwards."""
        return Batch(len(records), Columns(self, records).sources()) if len(records) else EMPTY

    def warm(self, records: Records) -> None:
        """Runs every column once, so that the first real batch does not pay for imports and first calls."""
        sources = Columns(self, records).sources()
        for source in sources.values():
            source()
        self._lost.clear()

    def lost_before(self, records: Records) -> Column:
        """How many records each CPU lost since its record before this one.

        A record cut off by an interrupt, or given up before it was submitted, has an older count: not a loss.
        """
        cpus, lost = records["cpu"], records["lost"].astype(np.int64)
        before = np.zeros(len(records), np.int64)
        for cpu in np.unique(cpus).tolist():
            rows = np.flatnonzero(cpus == cpu)
            counts = np.maximum.accumulate(np.append(self._lost.get(cpu, 0), lost[rows]))
            before[rows] = np.diff(counts)
            self._lost[cpu] = int(counts[-1])
        return Plain(before, before != 0)


class Columns:
    """The columns of one array of records."""

    def __init__(self, decoder: Decoder, records: Records) -> None:
        self.d = decoder
        self.r = records
        self.offset = decoder.offset()
        self._cache: dict[str, Any] = {}
        # must be read batch by batch, in order, whether or not a sink asks for it
        self._lost_before = decoder.lost_before(records)

    def sources(self) -> dict[str, Callable[[], Column]]:
        """A function for each column, in the order of the schema."""
        r = self.r
        return {
            "@timestamp": lambda: Plain(self.time(r["began"])),
            "event.kind": lambda: self.constant("event"),
            "event.category": lambda: self.constant(["network"]),
            "event.type": lambda: self.judged(event_type),
            "event.action": lambda: coded(
                r["phase"], lambda p: "attempt" if p == self.d.phases["PHASE_ATTEMPT"] else "connect"
            ),
            "event.outcome": lambda: self.judged(outcome),
            "event.duration": self.duration,
            "host.name": lambda: self.constant(self.d._host),
            "process.pid": lambda: Plain(r["pid"]),
            "process.thread.id": lambda: Plain(r["tid"]),
            "process.parent.pid": lambda: Plain(r["ppid"]),
            "process.name": lambda: coded(r["comm"], os.fsdecode),
            "process.start": lambda: Plain(self.time(r["start"])),
            "process.entity_id": self.entity_id,
            "user.id": lambda: Plain(r["uid"]),
            "user.name": lambda: coded(r["uid"], lambda uid: identity.user_name(int(uid))),
            "user.effective.id": lambda: Plain(r["euid"], r["euid"] != r["uid"]),
            "group.id": lambda: Plain(r["gid"]),
            "source.ip": self.source_ip,
            "source.port": lambda: Plain(
                r["sport"].astype(np.uint16), self.flag("FLAG_LOCAL") & (r["sport"] != 0)
            ),
            "destination.ip": lambda: self.destination("ip"),
            "destination.port": lambda: self.destination_port(),
            "destination.address": lambda: self.destination("address"),
            "network.transport": lambda: self.by_socket(transport),
            "network.type": lambda: self.destination("type"),
            "connect.id": lambda: Plain(r["id"]),
            "connect.entry": lambda: coded(r["entry"], lambda e: self.d.entries.get(int(e))),
            "connect.fd": lambda: Plain(r["fd"]),
            "connect.addrlen": lambda: Plain(r["addrlen"]),
            "connect.family": self.family,
            "connect.type": lambda: self.by_socket(lambda s: TYPE_NAMES.get(s[1], str(s[1]))),
            "connect.protocol": lambda: Plain(r["protocol"], r["family"] != 0),
            "connect.sockaddr": self.sockaddr,
            "connect.nonblocking": lambda: Plain(self.flag("FLAG_NONBLOCK"), r["family"] != 0),
            "connect.return": lambda: Plain(r["ret"], self.flag("FLAG_RETURNED")),
            "connect.verdict": lambda: self.judged(lambda e, j: None if self.is_attempt(e) else j.verdict),
            "connect.errno": lambda: self.judged(lambda e, j: j.errno),
            "connect.cause": lambda: self.judged(lambda e, j: j.cause),
            "connect.evidence": lambda: self.judged(evidence),
            "connect.cookie": lambda: Plain(r["cookie"], r["cookie"] != 0),
            "connect.netns": lambda: Plain(r["netns"], r["netns"] != 0),
            "connect.lost_before": lambda: self._lost_before,
        }

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """A value that several columns share."""
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    def constant(self, value: Any) -> Coded:
        """The same value in every row."""
        return Coded(np.zeros(len(self.r), np.int32), [value])

    def flag(self, name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where one of the attempt_flag bits is set."""
        on: np.ndarray[Any, np.dtype[np.bool_]] = (self.r["flags"] & self.d.flags[name]) != 0
        return on

    def time(self, boot: Records) -> Records:
        """CLOCK_BOOTTIME nanoseconds as UTC."""
        return (boot.astype(np.int64) + self.offset).view("datetime64[ns]")

    def duration(self) -> Column:
        """From the attempt to its verdict."""
        r = self.r
        known = r["ended"] >= r["began"]
        return Plain(np.where(known, r["ended"] - r["began"], 0).astype(np.int64), known & (r["ended"] != 0))

    def entity_id(self) -> Column:
        """Start time and pid name a process for good; the start is on CLOCK_BOOTTIME, so it never moves."""
        keys = np.empty(len(self.r), [("start", "u8"), ("pid", "u4"), ("pad", "u4")])
        keys["start"], keys["pid"], keys["pad"] = self.r["start"], self.r["pid"], 0
        return coded(keys, lambda key: f"{key['start']:x}-{key['pid']:x}")

    def by_socket(self, value: Callable[[tuple[int, int, int]], str | None]) -> Column:
        """A column that depends on the kind of socket: family, type, protocol. No value without a socket."""

        def keys() -> tuple[Any, list[tuple[int, int, int]]]:
            k = np.empty(len(self.r), [("family", "u2"), ("type", "u2"), ("protocol", "u4")])
            k["family"], k["type"], k["protocol"] = self.r["family"], self.r["type"], self.r["protocol"]
            codes, first = distinct(k)
            return codes, [tuple(row) for row in k[first].tolist()]

        codes, kinds = self.once("socket", keys)
        return compact(codes, [value(kind) if kind[0] else None for kind in kinds])

    def asked(self) -> tuple[Any, list[tuple[bytes, int, int, bool]]]:
        """Codes and distinct (bytes, addrlen, pointer, unreadable) of the address in user memory."""

        def make() -> tuple[Any, list[tuple[bytes, int, int, bool]]]:
            r = self.r
            odd = self.flag("FLAG_UNREADABLE") | (r["addrlen"] < 2)
            k = np.empty(len(r), [("data", "V128"), ("pointer", "u8"), ("addrlen", "i4"), ("odd", "i4")])
            k["data"] = (
                r["sockaddr"].view("V128").ravel()
                if r["sockaddr"].flags.c_contiguous
                else np.ascontiguousarray(r["sockaddr"]).view("V128").ravel()
            )
            k["pointer"], k["addrlen"], k["odd"] = (
                np.where(odd, r["pointer"], 0),
                r["addrlen"],
                self.flag("FLAG_UNREADABLE"),
            )
            codes, first = distinct(k)
            rows = k[first]
            return codes, [
                (bytes(data)[: max(0, min(length, 128))], length, pointer, bool(unreadable))
                for data, pointer, length, unreadable in rows.tolist()
            ]

        return self.once("asked", make)  # type: ignore[no-any-return]

    def sockaddr(self) -> Column:
        """strace's notation; where it prints a pointer, so do we."""
        codes, rows = self.asked()

        def text(data: bytes, length: int, pointer: int, unreadable: bool) -> str:
            if unreadable or length < 2:
                return f"{pointer:#x}" if pointer else "NULL"
            return decode_sockaddr(data, length)

        return compact(codes, [text(*row) for row in rows])

    def family(self) -> Column:
        """Family of the socket; of the address where there is no socket."""
        codes, rows = self.asked()
        asked = np.array(
            [int.from_bytes(d[:2], "little") if n >= 2 and not bad else -1 for d, n, _, bad in rows], np.int32
        )
        numbers = np.where(self.r["family"] != 0, self.r["family"].astype(np.int32), asked[codes])
        return coded(numbers, lambda n: None if n < 0 else family_name(int(n)))

    def peers(self) -> tuple[Any, list[dict[str, Any]]]:
        """Codes and distinct destinations: what the kernel used where that is known, else what was asked."""

        def make() -> tuple[Any, list[dict[str, Any]]]:
            r = self.r
            asked_codes, asked = self.asked()
            used = self.flag("FLAG_PEER") & (r["peer_family"] != 0)
            k = np.zeros(len(r), [("ip", "V16"), ("port", "u2"), ("family", "u2"), ("asked", "i4")])
            k["ip"][used] = np.ascontiguousarray(r["daddr"]).view("V16").ravel()[used]
            k["port"], k["family"] = np.where(used, r["dport"], 0), np.where(used, r["peer_family"], 0)
            k["asked"] = np.where(used, -1, asked_codes)
            codes, first = distinct(k)
            places = []
            for ip, port, family, index in k[first].tolist():
                if index < 0:
                    places.append(place(ip_text(bytes(ip), family), port, None))
                else:
                    data, length, _, unreadable = asked[index]
                    a = parse_sockaddr(data, length) if not unreadable and length >= 2 else None
                    places.append(place(a.ip, a.port, a.address) if a else place(None, None, None))
            return codes, places

        return self.once("peers", make)  # type: ignore[no-any-return]

    def destination(self, part: str) -> Column:
        """One part of the destination: ip, address or type."""
        codes, places = self.peers()
        return compact(codes, [p[part] for p in places])

    def destination_port(self) -> Column:
        """Port of the destination, where its family has one."""
        codes, places = self.peers()
        ports = np.array([-1 if p["port"] is None else p["port"] for p in places], np.int32)[codes]
        return Plain(np.maximum(ports, 0).astype(np.uint16), ports >= 0)

    def source_ip(self) -> Column:
        """Local address, once the kernel chose it."""
        r = self.r
        k = np.zeros(len(r), [("ip", "V16"), ("family", "u2")])
        k["ip"] = np.ascontiguousarray(r["saddr"]).view("V16").ravel()
        k["family"] = np.where(self.flag("FLAG_LOCAL"), r["peer_family"], 0)
        return coded(k, lambda key: local_text(key["ip"].tobytes(), int(key["family"])))

    def judged(self, value: Callable[[verdict.Evidence, verdict.Judgement], Any]) -> Column:
        """A column that depends on the evidence: judged once per distinct combination."""
        codes, pairs = self.once("judged", self._judge)
        return compact(codes, [value(e, j) for e, j in pairs])

    def is_attempt(self, e: verdict.Evidence) -> bool:
        """A row of --phases, which has no verdict yet."""
        return e.ret is None and e.state is None and not e.given_up

    def _judge(self) -> tuple[Any, list[tuple[verdict.Evidence, verdict.Judgement]]]:
        r = self.r
        k = np.zeros(len(r), EVIDENCE)
        for name in (
            "family",
            "type",
            "state",
            "protocol",
            "addrlen",
            "ret",
            "flags",
            "err",
            "soft",
            "drop",
            "syns",
            "phase",
        ):
            k[name] = r[name]
        k["asked"] = np.ascontiguousarray(r["sockaddr"][:, :2]).view("<u2").ravel()
        k["local"] = (r["daddr"] == r["saddr"]).all(axis=1)
        k["bound"] = r["bound"] != 0
        codes, first = distinct(k)
        pairs = []
        for row in k[first]:
            e = self._evidence({name: row[name].item() for name in EVIDENCE.names or ()})
            pairs.append((e, verdict.judge(e)))
        return codes, pairs

    def _evidence(self, v: dict[str, int]) -> verdict.Evidence:
        has = {name: bool(v["flags"] & bit) for name, bit in self.d.flags.items()}
        return verdict.Evidence(
            family=v["family"], type=v["type"], protocol=v["protocol"],
            asked_family=0 if has["FLAG_UNREADABLE"] or v["addrlen"] < 2 else v["asked"],
            addrlen=v["addrlen"],
            ret=v["ret"] if has["FLAG_RETURNED"] else None,
            state=v["state"] if has["FLAG_SETTLED"] else None,
            err=v["err"], soft=v["soft"], syns=v["syns"],
            drop=self.d._drop_reason(v["drop"]) if v["drop"] else "",
            followed=has["FLAG_FOLLOWED"], rst=has["FLAG_RST"], exiting=has["FLAG_EXITING"],
            local=bool(v["local"]), bound=bool(v["bound"]),
            no_file=has["FLAG_NO_FILE"], not_socket=has["FLAG_NOT_SOCKET"], unreadable=has["FLAG_UNREADABLE"],
            given_up=v["phase"] == self.d.phases["PHASE_PENDING"],
        )  # fmt: skip


EMPTY = Batch(0, {})


def clocks() -> tuple[int, int]:
    """Nanoseconds that reading the clocks took, and how far UTC is ahead of CLOCK_BOOTTIME."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    utc = time.time_ns()
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return after - before, utc - (before + after) // 2


def ip_text(data: bytes, family: int) -> str | None:
    """An address as text; None for families without."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[:4])
    return socket.inet_ntop(socket.AF_INET6, data) if family == socket.AF_INET6 else None


def local_text(data: bytes, family: int) -> str | None:
    """The local address; the unspecified one means that none was chosen yet."""
    return None if not any(data) else ip_text(data, family)


def place(ip: str | None, port: int | None, address: str | None) -> dict[str, Any]:
    """A destination by its parts."""
    kind = None if ip is None else "ipv6" if ":" in ip else "ipv4"
    return {"ip": ip, "port": port, "address": address, "type": kind}


def transport(kind: tuple[int, int, int]) -> str | None:
    """network.transport from family, type and protocol of the socket."""
    family, type_, protocol = kind
    if family == socket.AF_UNIX:
        return "unix"
    if family in (socket.AF_INET, socket.AF_INET6):
        return TRANSPORTS.get(protocol, "raw" if type_ == socket.SOCK_RAW else str(protocol))
    return family_name(family).removeprefix("AF_").lower()


def event_type(e: verdict.Evidence, j: verdict.Judgement) -> list[str]:
    """ECS event.type."""
    return ["connection", "denied"] if j.verdict == "denied" else ["connection", "start"]


def outcome(e: verdict.Evidence, j: verdict.Judgement) -> str:
    """ECS event.outcome."""
    return "success" if j.verdict in verdict.SUCCESS else "unknown" if j.verdict == "pending" else "failure"


def evidence(e: verdict.Evidence, j: verdict.Judgement) -> dict[str, Any] | None:
    """What the cause rests on; only what was seen."""
    seen: dict[str, Any] = {}
    if e.rst:
        seen["rst"] = True
    if e.followed and (e.syns or j.verdict not in verdict.SUCCESS):
        seen["syns"] = e.syns + 1
    if e.soft:
        seen["soft_error"] = verdict.errno_name(e.soft)
    if e.drop:
        seen["drop_reason"] = e.drop
    return seen or None
