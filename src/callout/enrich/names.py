"""The name that a process meant by an address: `destination.domain`, where it comes from, and how sure that is.

Rule of this file: observed, never asked. What this very connection said (TLS) comes before what was asked (DNS), and
that before what a file says. Looked up once per distinct key and batch; only connections that said something
themselves, and addresses whose names changed meanwhile, are looked at row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from callout.batch import Coded, Plain, compact, distinct
from callout.enrich import resolvers
from callout.enrich.heard import Heard
from callout.enrich.hosts import Hosts
from callout.enrich.nametable import AT_LEAST, Asker, NameTable

if TYPE_CHECKING:
    from callout.batch import Array, Batch, Column
    from callout.enrich import Kernel, Options
    from callout.tls import Hello

KEY = np.dtype(
    [("ip", "i4"), ("process", "i4"), ("cgroup", "i4"), ("transport", "i4"), ("netns", "u4"), ("port", "i4")]
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
    port: int
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
        """Adds destination.domain and what belongs to it."""
        codes, told = self._tell(batch)
        began = plain(batch.key("began"))
        when = np.array([one.when for one in told], np.int64)[codes]
        ech = np.array([one.ech for one in told], bool)[codes]
        batch.add("destination.domain", compact(codes, [one.name for one in told]))
        batch.add("connect.domain_source", compact(codes, [one.source for one in told]))
        batch.add("connect.domain_age", Plain(began - when, when > 0))
        batch.add("connect.domain_confidence", compact(codes, [one.confidence for one in told]))
        batch.add("connect.ech", Plain(ech, ech))
        batch.add("connect.resolver", compact(codes, [one.resolver for one in told]))

    def memory(self) -> dict[str, int]:
        """Bytes kept, about."""
        heard = self._heard.memory() if self._heard else {}
        return {"names": self.table.memory(), **heard, "names: hosts files": self._hosts.memory()}

    def close(self) -> None:
        """Nothing is held."""

    def _tell(self, batch: Batch) -> tuple[Array, list[Told]]:
        """The number of each row among the distinct things told, and those."""
        ips, processes, cgroups, transports = (
            coded(column)
            for column in (
                batch.column("destination.ip"),
                batch.key("process"),
                batch.key("cgroup"),
                batch.column("network.transport"),
            )
        )
        ports, began = batch.column("destination.port"), plain(batch.key("began"))
        assert isinstance(ports, Plain)
        keys = np.zeros(len(batch), KEY)
        keys["ip"], keys["transport"] = ips.codes, transports.codes
        keys["process"], keys["cgroup"] = processes.codes, cgroups.codes
        keys["netns"] = plain(batch.column("connect.netns"))
        keys["port"] = (
            ports.data if ports.valid is None else np.where(ports.valid, ports.data.astype(np.int64), -1)
        )
        codes, first = distinct(keys)
        aims = [
            Aim(
                netns,
                address_of(ips.values[ip]),
                port,
                transports.values[transport] if transport >= 0 else None,
                Asker(processes.values[process], cgroups.values[cgroup]),
            )
            if ip >= 0
            else None
            for ip, process, cgroup, transport, netns, port in keys[first].tolist()
        ]
        earliest = began[first]
        np.minimum.at(earliest, codes, began)
        latest = began[first]
        np.maximum.at(latest, codes, began)
        told = [
            Told() if aim is None else self._one(aim, time)
            for aim, time in zip(aims, earliest.tolist(), strict=True)
        ]
        changed = [
            number
            for number, (aim, since, until) in enumerate(
                zip(aims, earliest.tolist(), latest.tolist(), strict=True)
            )
            if aim and since < until and self.table.horizon(aim.netns, aim.address, since, until)
        ]
        cookies = plain(batch.column("connect.cookie"))
        known = np.fromiter(self._heard.cookies(), np.uint64) if self._heard else np.zeros(0, np.uint64)
        apart = np.isin(cookies.astype(np.uint64), known) | np.isin(codes, changed)
        for row in np.flatnonzero(apart).tolist():
            if (aim := aims[codes[row]]) is not None:
                hello = self._heard.hello(int(cookies[row])) if self._heard else None
                codes[row] = len(told)
                told.append(self._one(aim, int(began[row]), hello))
                aims.append(None)
        return codes, told

    def _one(self, aim: Aim, began: int, hello: Hello | None = None) -> Told:
        found = self.table.find(aim.netns, aim.address, aim.asker, began)
        told = Told()
        if found is not None:
            told = Told(found.name, "dns", found.confidence, found.when)
        elif aim.asker.process is not None:
            name = self._hosts.of(aim.asker.process[1]).get(aim.address)
            told = Told(name, "hosts", "low") if name else told
        if hello is not None:
            told = greeted(told, hello)
        return told._replace(resolver=resolvers.way(aim.port, aim.transport, aim.address, told.name))


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
