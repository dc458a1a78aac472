"""From the kernel's records to the columns of the schema.

Rule of this file: values in, columns out; each column is computed when it is asked for, once per distinct value.
"""

from __future__ import annotations

import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from callout.batch import Batch, Coded, Column, Plain, coded, compact, distinct, repeated, spread
from callout.btf import Btf
from callout.capture import heap, identity, judging
from callout.capture.addresses import Addresses
from callout.capture.kinds import HEAD, ORDERED, Kinds, each, in_order, octets
from callout.capture.memory import Associations, Copies
from callout.sockaddr import family_name
from callout.verdict import ERESTARTSYS

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
PROCESS = np.dtype([("start", "u8"), ("pid", "u4")])
KNOWN = 8  # batches of which the kinds are remembered
IMAGE = np.dtype([("start", "u8"), ("pid", "u4"), ("image", "u4")])


class Decoder:
    """Turns records of one object into batches: knows its enumerations and this kernel's drop reasons."""

    def __init__(self, btf: Btf, drop_reasons: Callable[[int], str] | None = None) -> None:
        heap.keep()
        self.flags = btf.enum("attempt_flag")
        self.phases = btf.enum("record_phase")
        self.entries = {
            number: name.removeprefix("ENTRY_").lower() for name, number in btf.enum("entry_path").items()
        }
        self.deniers = {
            number: name.removeprefix("DENIER_").lower()
            for name, number in btf.enum("denier").items()
            if number
        }
        self.drop_reason = drop_reasons or identity.drop_reason
        self.watched: frozenset[str] = frozenset()  # see tiers.Program
        self.copies = Copies()
        self.associations = Associations(self.flags, self.phases, btf.layout("attempt").dtype.itemsize)
        self._host = os.uname().nodename
        self._known: OrderedDict[bytes, Batch] = OrderedDict()
        self._lost: dict[int, int] = {}
        self.lost_now: list[int] = []  # attempts lost so far by each CPU, when a source knows
        self._offset = 0

    def offset(self) -> int:
        """Nanoseconds from CLOCK_BOOTTIME to UTC: kept until the clock is set, so that start times stay."""
        _, now = min(clocks() for _ in range(3))  # the least interrupted of three
        if abs(now - self._offset) > 1_000_000:
            self._offset = now
        return self._offset

    def batch(self, records: Records | Kinds) -> Batch:
        """A batch over ``records``, which must not change afterwards."""
        kinds = records if isinstance(records, Kinds) else each(records)
        if len(kinds):
            kinds = self.associations.resolve(kinds)
        if not len(kinds):
            return EMPTY
        if (kinds.records["flags"] & self.flags["FLAG_SWAPPED"]).any():
            kinds = each(kinds.whole())  # the kernel's copy of an address is found by the attempt's id
        kinds = in_order(kinds)
        columns = Columns(self, kinds, self.lost_before(kinds.own))
        sources: dict[str, Callable[[], Column] | None] = dict(columns.sources())
        keys, few = columns.keys(), None
        if kinds.codes is not None:
            few = self._few(kinds.records, kinds.own.dtype.itemsize, columns.offset)
            sources = {name: source if name in OWN else None for name, source in sources.items()}
            keys = {"began": keys["began"]}
        return Batch(len(kinds), sources, steady=True, keys=keys, few=few, codes=kinds.codes)

    def _few(self, records: Records, own: int, offset: int) -> Batch:
        """One row of each kind: the same one for all batches of these kinds, with what was made of it. Bounded.

        ``own``: bytes of a record up to where the kinds differ.
        """
        key = None
        if len(records) <= ORDERED:
            text = octets(records)
            key = b"%d %s %s" % (offset, text[:, :HEAD].tobytes(), text[:, own:].tobytes())
            if (known := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return known
        columns = Columns(self, each(records.copy()))  # not the buffer that they are in
        few = Batch(
            len(records),
            {name: source for name, source in columns.sources().items() if name not in OWN},
            keys={name: source for name, source in columns.keys().items() if name != "began"},
        )
        if key is not None:
            self._known[key] = few
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return few

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Runs every column once, so that the first real batch does not pay for imports and first calls."""
        records = np.zeros(2, dtype)
        records["family"] = records["sockaddr"][:, 0] = socket.AF_INET
        records["addrlen"], records["flags"] = 16, self.flags["FLAG_RETURNED"]
        sources = Columns(self, each(records)).sources()
        for source in sources.values():
            source()

    def lost_before(self, records: Records) -> Column:
        """How many records were lost before this one and after the one before.

        Each record carries the count of its own CPU. What other CPUs lost since (``lost_now``, read after the records)
        goes to the last row. A record cut off by an interrupt has an older count: not a loss.
        """
        before = np.zeros(len(records), np.int64)
        if not any(self.lost_now) and not records["lost"].any():
            return Plain(before, before != 0)
        cpus, lost = records["cpu"], records["lost"].astype(np.int64)
        for cpu in np.unique(cpus).tolist():
            rows = np.flatnonzero(cpus == cpu)
            counts = np.maximum.accumulate(np.append(self._lost.get(cpu, 0), lost[rows]))
            before[rows] = np.diff(counts)
            self._lost[cpu] = int(counts[-1])
        for cpu, count in enumerate(self.lost_now):
            before[-1] += max(0, count - self._lost.get(cpu, 0))
            self._lost[cpu] = max(count, self._lost.get(cpu, 0))
        return Plain(before, before != 0)


class Columns:
    """The columns of some attempts: those of OWN have a row for each, all others one for each kind (``r``)."""

    def __init__(self, decoder: Decoder, kinds: Kinds, lost: Column | None = None) -> None:
        """``lost``: attempts lost before each row; None where that is not told."""
        self.d = decoder
        self.lost = lost
        self.own, self._codes = kinds.own, kinds.codes
        self.r = r = kinds.records
        self.offset = decoder.offset()
        self.a = Addresses(r, decoder.flags, decoder.copies, decoder.entries)
        self.j = judging.Judging(
            r, decoder.flags, decoder.phases, decoder.deniers, decoder.drop_reason, decoder.watched
        )
        self._kinds: tuple[Any, list[tuple[int, int, int]]] | None = None

    def sources(self) -> dict[str, Callable[[], Column]]:
        """A function for each column, in the order of the schema."""
        r, a, j = self.r, self.a, self.j
        attempt = self.d.phases["PHASE_ATTEMPT"]
        found: dict[str, Callable[[], Column]] = {
            "@timestamp": lambda: Plain(self.time(self.own["began"])),
            "event.kind": lambda: self.constant("event"),
            "event.category": lambda: self.constant(["network"]),
            "event.type": lambda: j.column(judging.event_type),
            "event.action": lambda: coded(r["phase"], lambda p: "attempt" if p == attempt else "connect"),
            "event.outcome": lambda: j.column(judging.outcome),
            "event.duration": self.duration,
            "host.name": lambda: self.constant(self.d._host),
            "process.pid": lambda: Plain(r["pid"]),
            "process.thread.id": lambda: Plain(r["tid"]),
            "process.parent.pid": lambda: Plain(r["ppid"]),
            "process.name": lambda: coded(r["comm"], os.fsdecode),
            "process.start": lambda: Plain(self.time(r["start"])),
            "process.entity_id": self.entity_id,
            "user.id": lambda: Plain(r["uid"]),
            "user.effective.id": lambda: Plain(r["euid"], r["euid"] != r["uid"]),
            "group.id": lambda: Plain(r["gid"]),
            "source.ip": a.source_ip,
            "source.port": self.source_port,
            "destination.ip": lambda: a.destination("ip"),
            "destination.port": a.destination_port,
            "destination.address": lambda: a.destination("address"),
            "network.transport": lambda: self.by_socket(transport),
            "network.type": lambda: a.destination("type"),
            "connect.id": lambda: Plain(self.own["id"]),
            "connect.entry": lambda: coded(r["entry"], lambda e: self.d.entries.get(int(e))),
            "connect.fd": self.descriptor,
            "connect.addrlen": lambda: Plain(r["addrlen"], ~a.flag("FLAG_NO_ADDRESS")),
            "connect.family": a.family,
            "connect.type": lambda: self.by_socket(lambda s: TYPE_NAMES.get(s[1], str(s[1]))),
            "connect.protocol": lambda: Plain(r["protocol"], r["family"] != 0),
            "connect.sockaddr": a.sockaddr,
            "connect.nonblocking": lambda: Plain(
                a.flag("FLAG_NONBLOCK"), (r["family"] != 0) & ~a.flag("FLAG_NO_ADDRESS")
            ),
            "connect.fastopen": lambda: Plain(a.flag("FLAG_FASTOPEN"), a.flag("FLAG_FASTOPEN")),
            "connect.return": lambda: Plain(r["ret"], a.flag("FLAG_RETURNED") & (r["ret"] != -ERESTARTSYS)),
            "connect.verdict": lambda: j.column(judging.final_verdict),
            "connect.errno": lambda: j.column(lambda e, judged: judged.errno),
            "connect.cause": lambda: j.column(lambda e, judged: judged.cause),
            "connect.evidence": lambda: j.column(judging.evidence),
            "connect.swapped": a.swapped,
            "connect.rewritten_from": a.rewritten_from,
            "connect.cookie": self.cookie,
            "connect.netns": lambda: Plain(r["netns"], r["netns"] != 0),
            "connect.lost_before": self.lost_before,
        }
        return found

    def keys(self) -> dict[str, Callable[[], Column]]:
        """What enrichers look up by.

        ``process``: (start on CLOCK_BOOTTIME, pid); ``image``: the same and its number of execs; ``directory``:
        number of the working directory; ``caps``: effective capabilities, as bits; ``cgroup``: its id;
        ``began``: CLOCK_BOOTTIME.
        """
        r = self.r

        def together(dtype: np.dtype[Any]) -> Column:
            keys = np.empty(len(r), dtype)
            for name in dtype.names or ():
                keys[name] = r[name]
            return coded(keys, lambda key: tuple(key.tolist()))

        return {
            "process": lambda: together(PROCESS),
            "image": lambda: together(IMAGE),
            "directory": lambda: coded(r["directory"], int),
            "caps": lambda: coded(r["caps"], int),
            "cgroup": lambda: coded(r["cgroup"], int),
            "began": lambda: Plain(self.own["began"].astype(np.int64)),
        }

    def constant(self, value: Any) -> Coded:
        """The same value in every row."""
        return Coded(repeated(np.zeros(1, np.int32), len(self.r)), [value])

    def time(self, boot: Records) -> Records:
        """CLOCK_BOOTTIME nanoseconds as UTC."""
        return (boot.astype(np.int64) + self.offset).view("datetime64[ns]")

    def duration(self) -> Column:
        """From the attempt to its verdict."""
        began, ended = np.ascontiguousarray(self.own["began"]), np.ascontiguousarray(self.own["ended"])
        known = ended >= began  # not where there is no verdict: then it is 0
        return Plain(np.where(known, ended - began, 0).astype(np.int64), known)

    def source_port(self) -> Column:
        """Local port, which may differ where all else is alike."""
        if self._codes is None:
            return self.a.source_port()
        ports = self.own["sport"].astype(np.uint16)
        known = self.a.flag("FLAG_LOCAL") & self.a.ported()
        return Plain(ports, known.take(self._codes) & (ports != 0))

    def descriptor(self) -> Column:
        """Descriptor argument; not known where the call was not seen."""
        known: Column = Plain(~self.a.flag("FLAG_NO_FD"))
        known = known if self._codes is None else spread(known, self._codes)
        assert isinstance(known, Plain)
        return Plain(self.own["fd"], None if known.data.all() else known.data)

    def lost_before(self) -> Column:
        """Attempts lost before each row."""
        if self.lost is None:
            return Plain(np.zeros(len(self.own), np.int64), np.zeros(len(self.own), bool))
        return self.lost

    def cookie(self) -> Column:
        """Socket cookie; 0 where there is no socket."""
        cookie = np.ascontiguousarray(self.own["cookie"])
        return Plain(cookie, cookie != 0)

    def entity_id(self) -> Column:
        """Start time and pid name a process for good; the start is on CLOCK_BOOTTIME, so it never moves."""
        keys = np.empty(len(self.r), [("start", "u8"), ("pid", "u8")])
        keys["start"], keys["pid"] = self.r["start"], self.r["pid"]
        return coded(keys, lambda key: f"{key['start']:x}-{key['pid']:x}")

    def by_socket(self, value: Callable[[tuple[int, int, int]], str | None]) -> Column:
        """A column that depends on the kind of socket: family, type, protocol. No value without a socket."""
        if self._kinds is None:
            k = np.empty(len(self.r), [("family", "u2"), ("type", "u2"), ("protocol", "u4")])
            k["family"], k["type"], k["protocol"] = self.r["family"], self.r["type"], self.r["protocol"]
            codes, first = distinct(k)
            self._kinds = codes, [tuple(row) for row in k[first].tolist()]
        codes, kinds = self._kinds
        return compact(codes, [value(kind) if kind[0] else None for kind in kinds])


EMPTY = Batch(0, {})
OWN = frozenset(  # columns that are made from all records
    {
        "@timestamp",
        "event.duration",
        "source.port",
        "connect.id",
        "connect.fd",
        "connect.cookie",
        "connect.lost_before",
    }
)


def clocks() -> tuple[int, int]:
    """Nanoseconds that reading the clocks took, and how far UTC is ahead of CLOCK_BOOTTIME."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    utc = time.time_ns()
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return after - before, utc - (before + after) // 2


def transport(kind: tuple[int, int, int]) -> str | None:
    """network.transport from family, type and protocol of the socket."""
    family, type_, protocol = kind
    if family == socket.AF_UNIX:
        return "unix"
    if family in (socket.AF_INET, socket.AF_INET6):
        return TRANSPORTS.get(protocol, "raw" if type_ == socket.SOCK_RAW else str(protocol))
    return family_name(family).removeprefix("AF_").lower()
