"""Names of destinations, from a real DNS server, a real TLS library and a hosts file, and from liars."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callout.capture.kernel import KernelSource
from callout.capture.tiers import NAMES
from callout.enrich.names import Names
from callout.enrich.nametable import AT_LEAST
from callout.enrichment import Enrichment

from .network import Client, Network, network
from .watch import PATIENCE, Watch

pytestmark = pytest.mark.kernel
Row = dict[str, Any]

RECORDS = (
    "--local-ttl=300",
    "--host-record=a.test,127.0.0.9,2001:db8::77",
    "--cname=alias.test,a.test",
    "--cname=www.test,alias.test",
    "--host-record=one.test,127.0.0.20",
    "--host-record=two.test,127.0.0.20",
)


class Named(Watch):
    """Rows with their names, as the pipeline makes them."""

    def __init__(self, source: KernelSource, enrichment: Enrichment, net: Network) -> None:
        super().__init__(source)
        self.enrichment = enrichment
        self.net = net

    def gather(self) -> None:
        self.source.wait()
        batch = self.source.read()
        self.enrichment.add(batch)
        self.seen += [row for row in batch.rows() if row.get("connect.netns") == self.net.netns]

    def row(self, ip: str, port: int, who: Client | None = None) -> Row:
        """The last attempt to an address, by a client."""

        def of(rows: list[Row]) -> list[Row]:
            return [
                row
                for row in rows
                if (row.get("destination.ip"), row.get("destination.port")) == (ip, port)
                and (who is None or row["process.pid"] == who.pid)
            ]

        return of(self.until(lambda rows: bool(of(rows))))[-1]


@contextmanager
def named(net: Network, at_least: int = AT_LEAST) -> Iterator[Named]:
    """Watches a network, with names."""
    with (
        Enrichment(makers=[lambda _: Names(at_least=at_least)]) as enrichment,
        KernelSource(listeners=enrichment.listeners) as source,
    ):
        missing = [state for state in source.states if state.program in NAMES and state.error]
        if missing:
            pytest.skip(f"programs on packets: {missing[0].error}")
        enrichment.begin(source.btf)
        yield Named(source, enrichment, net)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network with a DNS server."""
    directory = tmp_path_factory.mktemp("net")
    big = directory / "big"
    big.write_text("".join(f"127.1.0.{number} big.test\n" for number in range(1, 61)))
    with network(directory) as made:
        made.dnsmasq(*RECORDS, f"--addn-hosts={big}")
        yield made


@pytest.fixture(scope="module")
def watch(net: Network) -> Iterator[Named]:
    """One trace for most tests."""
    with named(net) as w:
        yield w


def told(row: Row) -> tuple[Any, ...]:
    """What a row says of the name."""
    return tuple(
        row.get(name) for name in ("destination.domain", "connect.domain_source", "connect.domain_confidence")
    )


def test_curl_at_the_end_of_a_chain_of_aliases(net: Network, watch: Named) -> None:
    began = len(watch.seen)
    assert net.run(["curl", "-sS4", "--max-time", "20", "http://www.test:8001/"]).returncode == 7
    row = watch.row("127.0.0.9", 8001)
    assert told(row) == ("www.test", "dns", "high")
    assert 0 < row["connect.domain_age"] < PATIENCE * 1_000_000_000
    asked = [one for one in watch.seen[began:] if one.get("destination.port") == 53]
    assert {one["connect.resolver"] for one in asked} == {"dns"}
    assert "destination.domain" not in asked[0]


def test_ipv6(net: Network, watch: Named) -> None:
    client = net.client()
    assert client.do("lookup('www.test', socket.AF_INET6)") == ["2001:db8::77"]
    client.do("connect('2001:db8::77')")
    assert told(watch.row("2001:db8::77", 9, client)) == ("www.test", "dns", "high")


def test_two_names_on_one_address(net: Network, watch: Named) -> None:
    first, second, third = net.client(), net.client(), net.client()
    first.do("lookup('one.test')")
    second.do("lookup('two.test')")
    for client in (first, second, third):
        client.do("connect('127.0.0.20')")
    assert told(watch.row("127.0.0.20", 9, first)) == ("one.test", "dns", "high")
    assert told(watch.row("127.0.0.20", 9, second)) == ("two.test", "dns", "high")
    assert told(watch.row("127.0.0.20", 9, third)) == ("two.test", "dns", "low")
    first.do("lookup('two.test')")
    first.do("connect('127.0.0.20', 10)")
    assert told(watch.row("127.0.0.20", 10, first)) == ("two.test", "dns", "medium")


def test_asked_by_another_process(net: Network, watch: Named) -> None:
    asker, other = net.client(), net.client()
    other.do("connect('127.1.0.60', 11)")
    asker.do("lookup('big.test', socket.AF_INET)")
    other.do("connect('127.1.0.60', 12)")
    assert told(watch.row("127.1.0.60", 12, other)) == ("big.test", "dns", "medium")
    assert told(watch.row("127.1.0.60", 11, other)) == (None, None, None)


def test_a_large_answer_over_tcp(net: Network, watch: Named) -> None:
    client = net.client()
    assert len(client.do("lookup('big.test', socket.AF_INET)")) == 60
    client.do("connect('127.1.0.60')")
    assert told(watch.row("127.1.0.60", 9, client)) == ("big.test", "dns", "high")
    tcp = [
        row for row in watch.seen if row["process.pid"] == client.pid and row["network.transport"] == "tcp"
    ]
    assert tcp[0]["destination.port"] == 53


def test_a_question_sent_without_connect(net: Network, watch: Named) -> None:
    """As musl asks."""
    client = net.client()
    question = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + b"\3one\4test\0\0\1\0\1"
    answer = client.do(
        f"(s := socket.socket(type=socket.SOCK_DGRAM)).sendto({question!r}, ('127.0.0.1', 53)) and s.recv(512)"
    )
    assert "one" in answer
    client.do("connect('127.0.0.20', 13)")
    assert told(watch.row("127.0.0.20", 13, client)) == ("one.test", "dns", "high")


def test_the_hosts_file_of_the_process(net: Network, watch: Named) -> None:
    client = net.client()
    client.do("connect('192.0.2.77')")
    client.do("connect('127.0.0.1')")
    row = watch.row("192.0.2.77", 9, client)
    assert told(row) == ("from-hosts.test", "hosts", "low")
    assert "connect.domain_age" not in row
    assert told(watch.row("127.0.0.1", 9, client)) == (None, None, None)


def test_an_answer_that_has_expired(tmp_path: Path) -> None:
    with network(tmp_path) as net, named(net, at_least=0) as watch:
        net.dnsmasq("--local-ttl=0", "--host-record=short.test,127.0.0.30")
        client = net.client()
        client.do("lookup('short.test', socket.AF_INET)")
        client.do("connect('127.0.0.30')")
        row = watch.row("127.0.0.30", 9, client)
        assert told(row) == ("short.test", "dns", "medium")
        assert row["connect.domain_age"] > 0
