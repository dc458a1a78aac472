"""The name that a process meant by an address: `destination.domain`, where it comes from, and how sure that is.

Rule of this file: observed, never asked. What this very connection said (TLS) comes before what was asked (DNS), and
that before what a file says. Looked up once per distinct key and batch; only connections that said something
themselves, and addresses whose names changed meanwhile, are looked at row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from callout.batch import Coded, Plain, compact, distinct, repeated, same, spread
from callout.enrich import resolvers
from callout.enrich.heard import Heard
from callout.enrich.hosts import Hosts
from callout.enrich.nametable import AT_LEAST, Asker, NameTable

if TYPE_CHECKING:
    from callout.batch import Array, Batch, Column
    from callout.enrich import Kernel, Options
    from callout.footprint import Table
    from callout.tls import Hello

KEY = np.dtype(
    [
        ("ip", "i4"),
        ("transport", "i4"),
        ("process", "i4"),
        ("cgroup", "i4"),
        ("netns", "u4"),
        ("port", "u2"),
        ("ported", "u2"),
    ]
)


class Told(NamedTuple):
    """What is told of an attempt; ``when`` the answer came, 0 where there was none."""

    name: str | None = None
    source: str | None = None
    confidence: str | None = None
    when: int = 0
    ech: bool = False
    resolver: str | None = None


class Aim(NamedTuple):
    """What an attempt's name depends on, besides its time and what it said itself."""

    netns: int
    address: str
    port: int | None
    transport: str | None
    asker: Asker


class Names:
    """The enricher. ``at_least``: see ``nametable.AT_LEAST``."""

    kinds: tuple[str, ...] = ("RECORD_PACKET",)

    def __init__(self, options: Options | None = None, at_least: int = AT_LEAST) -> None:
        self.table = NameTable(at_least=at_least)
        self._hosts = Hosts()
        self._heard: Heard | None = None

    def begin(self, kernel: Kernel) -> None:
        """What was asked before is not known."""
        self._heard = Heard(kernel.btf, self.table)

    def greeted(self, cookie: int) -> bool:
        """Whether it is known what the connection of a socket cookie said first."""
        return self._heard is not None and self._heard.hello(cookie) is not None

    def feed(self, kind: str, records: Array) -> None:
        """Takes packets."""
        assert self._heard
        self._heard.take(records)

    def add(self, batch: Batch) -> None:
        """Adds destination.domain and what belongs to it; where it follows from the kind of a row, by kind."""
        self._add(batch, batch if batch.few is None else batch.few)

    def again(self, batch: Batch) -> None:
        """Looks once more for the names of rows that have waited for them."""
        self._add(batch, batch)

    def _add(self, batch: Batch, few: Batch) -> None:
        began, said = plain(batch.key("began")), self._said(batch)
        aimed = few.memo.get("aims")
        codes, aims = aimed if aimed is not None else aims_of(few)
        few.memo["aims"] = codes, aims
        if said is None and self.table.latest <= (first := int(began.min())):
            told = [self._one(aim, first) for aim in aims]
            if few is not batch:
                before, named = few.memo.get("named", (None, None))
                if before != told:
                    named = few.view()
                    put(named, codes, told)
                    few.memo["named"] = told, named
                batch.share(named)
            else:
                put(batch, codes, told)
        else:
            codes = codes if few is batch or batch.codes is None else codes[batch.codes]
            few = batch
            codes, told = self._apart(batch, codes, aims, began, said)
            put(batch, codes, told)
        if any(one.when for one in told):
            when = spread(Plain(np.array([one.when for one in told], np.int64)), codes)
            answered = plain(when if few is batch or batch.codes is None else spread(when, batch.codes))
            batch.add("connect.domain_age", Plain(began - answered, answered != 0))

    def memory(self) -> list[Table]:
        """What is kept, about."""
        heard = self._heard.memory() if self._heard else []
        return [self.table.memory(), *heard, *self._hosts.memory()]

    def close(self) -> None:
        """Nothing is held."""

    def _said(self, batch: Batch) -> Array | None:
        """The rows whose connections said something themselves; None where there are none."""
        known = list(self._heard.cookies()) if self._heard else []
        if not known:
            return None
        cookies = plain(batch.column("connect.cookie"))
        said = np.isin(cookies, np.array(known, cookies.dtype))
        return said if said.any() else None

    def _apart(
        self, batch: Batch, codes: Array, aims: list[Aim | None], began: Array, said: Array | None
    ) -> tuple[Array, list[Told]]:
        """The number of each row among the distinct things told, and those; ``codes``: among the aims."""
        earliest = np.full(len(aims), np.iinfo(np.int64).max)
        latest = np.zeros(len(aims), np.int64)
        np.minimum.at(earliest, codes, began)
        np.maximum.at(latest, codes, began)
        changed = [
            aim is not None and since < until and self.table.changed(aim.netns, aim.address, since, until)
            for aim, since, until in zip(aims, earliest.tolist(), latest.tolist(), strict=True)
        ]
        told = [self._one(aim, time) for aim, time in zip(aims, earliest.tolist(), strict=True)]
        cookies = plain(batch.column("connect.cookie"))
        apart = np.array(changed)[codes]
        codes = codes.copy()
        for row in np.flatnonzero(apart if said is None else apart | said).tolist():
            if (aim := aims[codes[row]]) is not None:
                hello = self._heard.hello(int(cookies[row])) if self._heard else None
                codes[row] = len(told)
                told.append(self._one(aim, int(began[row]), hello))
        return codes, told

    def _one(self, aim: Aim | None, began: int, hello: Hello | None = None) -> Told:
        if aim is None:
            return Told()
        found = self.table.find(aim.netns, aim.address, aim.asker, began)
        told = Told()
        if found is not None:
            told = Told(found.name, "dns", found.confidence, found.when)
        elif aim.asker.process is not None and not loopback(aim.address):  # which have no name in hosts files
            name = self._hosts.of(aim.asker.process).get(aim.address)
            told = Told(name, "hosts", "low") if name else told
        if hello is not None:
            told = greeted(told, hello)
        return told._replace(resolver=resolvers.way(aim.port, aim.transport, aim.address, told.name))


def aims_of(batch: Batch) -> tuple[Array, list[Aim | None]]:
    """The number of each row among the distinct aims, and those; None for what has no address."""
    ips, transports = coded(batch.column("destination.ip")), coded(batch.column("network.transport"))
    processes, cgroups = coded(batch.key("process")), coded(batch.key("cgroup"))
    ports = batch.column("destination.port")
    assert isinstance(ports, Plain)
    known = np.ones(1, bool) if ports.valid is None else ports.valid
    parts = {
        "ip": ips.codes,
        "transport": transports.codes,
        "process": processes.codes,
        "cgroup": cgroups.codes,
        "netns": plain(batch.column("connect.netns")),
        "port": ports.data,
        "ported": known if len(known) == len(batch) else repeated(known, len(batch)),
    }
    alike = len(batch) > 1 and all(same(part) for part in parts.values())
    keys = np.zeros(1 if alike else len(batch), KEY)
    for name, part in parts.items():
        keys[name] = part[: len(keys)]
    codes, first = distinct(keys)
    if alike:
        codes = repeated(codes, len(batch))
    aims: list[Aim | None] = []
    for ip, transport, process, cgroup, netns, port, ported in keys[first].tolist():
        aims.append(
            Aim(
                netns,
                address_of(ips.values[ip]),
                port if ported else None,
                transports.values[transport] if transport >= 0 else None,
                Asker(processes.values[process], cgroups.values[cgroup]),
            )
            if ip >= 0
            else None
        )
    return codes, aims


def put(batch: Batch, codes: Array, told: list[Told]) -> None:
    """Adds what is told: ``codes`` is the number of each row in it. There is no age where all is of no time."""
    batch.add("destination.domain", compact(codes, [one.name for one in told]))
    batch.add("connect.domain_source", compact(codes, [one.source for one in told]))
    batch.add("connect.domain_age", Plain(np.zeros(len(batch), np.int64), np.zeros(len(batch), bool)))
    batch.add("connect.domain_confidence", compact(codes, [one.confidence for one in told]))
    ech = spread(Plain(np.array([one.ech for one in told], bool)), codes)
    batch.add("connect.ech", Plain(plain(ech), plain(ech)))
    batch.add("connect.resolver", compact(codes, [one.resolver for one in told]))


def greeted(told: Told, hello: Hello) -> Told:
    """What is told of an attempt whose connection began with a TLS hello.

    With Encrypted Client Hello the name in the clear is the provider's, so one that was asked for is the better one.
    """
    asked = told.name if told.source == "dns" and told.confidence == "high" else None
    if hello.name is None or (hello.ech and told.source == "dns"):
        return told._replace(ech=hello.ech)
    if hello.ech:
        return Told(hello.name, "sni", "low", ech=True)
    return Told(hello.name, "sni", "high" if asked in (None, hello.name) else "medium")


def loopback(address: str) -> bool:
    """Whether an address is one of this host's own (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3)."""
    return address.startswith("127.") or address == "::1"


def address_of(ip: str) -> str:
    """An address as answers have it: one of IPv4 in IPv6 clothes is an IPv4 address."""
    return ip.removeprefix("::ffff:") if "." in ip else ip


def plain(column: Column) -> Array:
    """The numbers of a column."""
    assert isinstance(column, Plain)
    return column.data


def coded(column: Column) -> Coded:
    """A column of few values."""
    assert isinstance(column, Coded)
    return column
