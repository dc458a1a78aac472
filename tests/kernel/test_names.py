"""Names of destinations, from a real DNS server, a real TLS library and a hosts file, and from liars."""

from __future__ import annotations

import csv
import random
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.name
import pytest

from callout.capture.kernel import KernelSource
from callout.capture.tiers import NAMES
from callout.enrich.names import Names
from callout.enrich.nametable import AT_LEAST
from callout.enrichment import Enrichment

from .network import Client, Network, network
from .watch import PATIENCE, Watch, finish, traced

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
        enrichment.begin(source)
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


def test_a_resolver_behind_a_translated_address(net: Network, watch: Named) -> None:
    """As Docker's: 127.0.0.11 port 53 leads to another port. The query has that one when it is seen."""
    net.dnsmasq("--port=5353", "--host-record=behind.test,127.0.0.40")
    rules = (
        "add table ip nat; add chain ip nat output { type nat hook output priority -100; }; "
        "add rule ip nat output ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.1:5353"
    )
    done = net.run(["nft", rules])
    if done.returncode:
        pytest.skip(f"nft: {done.stderr.strip()}")
    question = struct.pack(">6H", 4712, 0x100, 1, 0, 0, 0) + b"\6behind\4test\0\0\1\0\1"
    for number, ask in enumerate(
        (
            f"s.sendto({question!r}, ('127.0.0.11', 53))",
            f"(s.connect(('127.0.0.11', 53)), s.send({question!r}))",
        )
    ):
        client = net.client()
        client.do(f"(s := socket.socket(type=socket.SOCK_DGRAM), {ask}, s.settimeout(20), s.recv(512))")
        client.do(f"connect('127.0.0.40', {20 + number})")
        assert told(watch.row("127.0.0.40", 20 + number, client)) == ("behind.test", "dns", "high")


def test_the_hosts_file_of_the_process(net: Network, watch: Named) -> None:
    client = net.client()
    client.do("connect('192.0.2.77')")
    client.do("connect('127.0.0.1')")
    row = watch.row("192.0.2.77", 9, client)
    assert told(row) == ("from-hosts.test", "hosts", "low")
    assert "connect.domain_age" not in row
    assert told(watch.row("127.0.0.1", 9, client)) == (None, None, None)


SERVER = """
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
listener = socket.create_server(("192.0.2.78", 443))
print(flush=True)
while True:
    connection, _ = listener.accept()
    try:
        context.wrap_socket(connection, server_side=True).close()
    except OSError:
        pass
"""
GREET = """
def greet(name):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("192.0.2.78", 443)) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.version()
"""


@pytest.fixture(scope="module")
def server(net: Network, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A TLS server at 192.0.2.78, port 443."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=sni.test", "-keyout", pem, "-out", f"{pem}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    process = net.start([sys.executable, "-c", SERVER, str(pem)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline()


def sent(client: Client, port: int, *pieces: bytes) -> None:
    """A connection to a listener of the client's own, on which these pieces are sent, each by itself."""
    client.do(
        f"(l := socket.create_server(('192.0.2.78', {port})), s := socket.create_connection(('192.0.2.78', {port})), "
        f"s.setsockopt(6, socket.TCP_NODELAY, 1), c := l.accept()[0], "
        f"[(s.send(piece), c.recv(len(piece), socket.MSG_WAITALL)) for piece in {pieces!r}], s.close(), l.close())"
    )


def hello(name: str, *extensions: tuple[int, bytes]) -> bytes:
    """The first bytes of a TLS client."""
    data = name.encode()
    server_name = struct.pack(">HBH", len(data) + 3, 0, len(data)) + data
    body = b"".join(
        struct.pack(">HH", kind, len(value)) + value for kind, value in ((0, server_name), *extensions)
    )
    message = b"\3\3" + bytes(33) + b"\0\2\x13\1\1\0" + struct.pack(">H", len(body)) + body
    return b"\x16\3\1" + struct.pack(">H", len(message) + 4) + b"\1" + len(message).to_bytes(3) + message


@pytest.mark.usefixtures("server")
def test_the_name_that_a_tls_client_sends(net: Network, watch: Named) -> None:
    client = net.client()
    client.do(f"exec({GREET!r}, globals())")
    assert str(client.do("greet('Sni.Test')")).startswith("TLS")
    row = watch.row("192.0.2.78", 443, client)
    assert told(row) == ("sni.test", "sni", "high")
    assert "connect.domain_age" not in row
    assert "connect.ech" not in row


@pytest.mark.usefixtures("server")
def test_rows_wait_for_it_also_among_related_calls(net: Network, tmp_path: Path) -> None:
    """And all rows stay in the order of time."""
    client = net.client()
    client.do(f"exec({GREET!r}, globals())")
    with traced(tmp_path, "-o", "ndjson", "-e", "network", "-p", str(client.pid)) as process:
        client.do("greet('related.test')")
        rows, _ = finish(process)
    (attempt,) = [row for row in rows if row["event"]["action"] == "connect"]
    assert attempt["destination"]["domain"] == "related.test"
    assert attempt["connect"]["domain_source"] == "sni"
    times = [row["@timestamp"] for row in rows]
    assert len(times) > 3
    assert times == sorted(times)


def test_a_hello_in_pieces(net: Network, watch: Named) -> None:
    whole = hello("pieces.test", (51, bytes(6000)))
    client = net.client()
    sent(client, 444, whole[:100], whole[100:4500], whole[4500:])
    assert told(watch.row("192.0.2.78", 444, client)) == ("pieces.test", "sni", "high")


def test_an_encrypted_hello(net: Network, watch: Named) -> None:
    client = net.client()
    sent(client, 445, hello("outer.test", (0xFE0D, bytes(200))))
    row = watch.row("192.0.2.78", 445, client)
    assert told(row) == ("outer.test", "sni", "low")
    assert row["connect.ech"] is True


def test_what_is_no_hello_tells_nothing(net: Network, watch: Named) -> None:
    client = net.client()
    sent(client, 446, b"\x16\3\1\x40\0\1" + b"x" * 500, hello("late.test"))
    assert told(watch.row("192.0.2.78", 446, client)) == (None, None, None)


LIAR = """
import socket, sys
answers = eval(sys.argv[1])
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.66", 53))
print(flush=True)
for answer in answers:
    question, who = server.recvfrom(512)
    server.sendto(answer.replace(b"ID", question[:2]), who)
"""
QUESTION = b"\3bad\4test\0\0\1\0\1"


def answer(
    address: str, question: bytes = QUESTION, number: bytes = b"ID", owner: bytes = b"\xc0\x0c"
) -> bytes:
    """An answer with one address."""
    record = owner + b"\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address)
    return number + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record


def ask(client: Client, question: bytes = QUESTION) -> None:
    """Asks the liar, as one who listens to anything."""
    message = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + question
    client.do(
        "(s := socket.socket(type=socket.SOCK_DGRAM), s.connect(('127.0.0.66', 53)), "
        f"s.send({message!r}), s.recv(4096), s.close())"
    )


def lie(net: Network, *answers: bytes) -> None:
    """A server at 127.0.0.66 that answers with these, one after the other."""
    process = net.start([sys.executable, "-c", LIAR, repr(answers)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline()


def test_liars(net: Network, watch: Named) -> None:
    lies = {
        "127.0.66.1": (answer("127.0.66.1"), ("bad.test", "dns", "high")),
        "127.0.66.2": (answer("127.0.66.2", owner=b"\5other\4test\0"), (None, None, None)),
        "127.0.66.3": (answer("127.0.66.3", number=b"\0\0"), ("bad.test", "dns", "low")),
        "127.0.66.4": (answer("127.0.66.4", question=b"\4good\4test\0\0\1\0\1"), ("good.test", "dns", "low")),
        "127.0.66.5": (answer("127.0.66.5", owner=b"\xc0\x19"), (None, None, None)),
        "127.0.66.6": (answer("127.0.66.6")[:-2], (None, None, None)),
        "127.0.66.7": (b"ID\x81\x80\xff\xff\xff\xff\0\0\0\0" + QUESTION, (None, None, None)),
        "127.0.66.8": (b"x", (None, None, None)),
    }
    lie(net, *(message for message, _ in lies.values()))
    client = net.client()
    for _ in lies:
        ask(client)
    for address in lies:
        client.do(f"connect('{address}')")
    found = {address: told(watch.row(address, 9, client)) for address in lies}
    assert found == {address: expected for address, (_, expected) in lies.items()}


def test_hostile_messages_on_the_wire(net: Network, watch: Named) -> None:
    """The corpus, and what a thousand changes make of an honest answer: no lie sticks, and honest answers are heard."""
    changes = random.Random(9018)
    honest = answer("127.0.66.20")
    with Path(__file__).parents[1].joinpath("test_dns_hostile.csv").open(newline="") as corpus:
        hostile = [bytes.fromhex(row["message"]) for row in csv.DictReader(corpus)]
    lies = [data.replace(b"\0\1", b"ID", 1) or b"x" for data in hostile]
    for _ in range(1000):
        changed = bytearray(honest)
        for _ in range(changes.randint(1, 6)):
            changed[changes.randrange(2, len(changed))] = changes.randrange(256)
        lies.append(bytes(changed[: changes.randint(3, len(changed))]))
    lie(net, *lies, answer("127.0.66.21"))
    client = net.client()
    for _ in lies:
        ask(client)
    client.do("connect('127.0.66.22')")
    assert told(watch.row("127.0.66.22", 9, client)) == (None, None, None)
    ask(client)
    client.do("connect('127.0.66.21')")
    assert told(watch.row("127.0.66.21", 9, client)) == ("bad.test", "dns", "high")
    assert watch.source.counters().lost == 0


def test_resolvers_that_cannot_be_overheard(watch: Named, tmp_path: Path) -> None:
    """They are said as such; for DNS over HTTPS the addresses of the public ones are known."""
    with network(tmp_path, "addr add 9.9.9.9/32 dev lo", "addr add 192.0.2.99/32 dev lo") as hidden:
        watch.net, before = hidden, watch.net
        client = hidden.client()
        for ip, port in (("9.9.9.9", 443), ("192.0.2.99", 443), ("192.0.2.99", 853), ("192.0.2.99", 53)):
            client.do(f"connect('{ip}', {port})")
        last = watch.row("192.0.2.99", 53, client)
        ways = [
            watch.row(ip, port, client).get("connect.resolver")
            for ip, port in (("9.9.9.9", 443), ("192.0.2.99", 443), ("192.0.2.99", 853))
        ]
        watch.net = before
    assert [*ways, last["connect.resolver"]] == ["doh", None, "dot", "dns"]


def test_an_answer_to_nobody_is_not_believed(net: Network, watch: Named) -> None:
    client = net.client()
    client.do(
        "(a := socket.socket(type=socket.SOCK_DGRAM), a.bind(('127.0.0.67', 53)), "
        "b := socket.socket(type=socket.SOCK_DGRAM), b.bind(('127.0.0.67', 5000)), "
        f"a.sendto({answer('127.0.66.9')!r}, ('127.0.0.67', 5000)), b.recv(512))"
    )
    client.do("connect('127.0.66.9')")
    assert told(watch.row("127.0.66.9", 9, client)) == (None, None, None)


def test_names_of_any_bytes_are_harmless_and_exact(net: Network, watch: Named) -> None:
    question = b"\x0a\x1b[31m\xff.\\ \x00\4test\0\0\1\0\1"
    lie(net, answer("127.0.66.10", question))
    client = net.client()
    ask(client, question)
    client.do("connect('127.0.66.10')")
    domain = watch.row("127.0.66.10", 9, client)["destination.domain"]
    assert domain == r"\027[31m\255\.\\\032\000.test"
    assert dns.name.from_text(domain).to_wire() == question[:-4]


def test_a_flood_costs_no_attempt(net: Network) -> None:
    with named(net) as watch:
        flood, client = net.client(), net.client()
        question = b"\0\1\1\0\0\1\0\0\0\0\0\0" + QUESTION
        flood.do(
            "(s := socket.socket(type=socket.SOCK_DGRAM), s.connect(('127.0.0.68', 53)), "
            f"sum([s.send({question!r}) for _ in range(1)]))"
        )
        flood.do(
            "(r := socket.socket(type=socket.SOCK_DGRAM), r.bind(('127.0.0.68', 53)), "
            "s := socket.socket(type=socket.SOCK_DGRAM), s.connect(('127.0.0.68', 53)), "
            f"[s.send({question!r}) for _ in range(20000)], 1)[-1]"
        )
        client.do("[connect('127.0.0.69', 1000 + number) for number in range(500)]")
        mine = watch.until(lambda rows: sum(row["process.pid"] == client.pid for row in rows) >= 500)
        ports = sorted(row["destination.port"] for row in mine if row["process.pid"] == client.pid)
        assert ports == list(range(1000, 1500))
        counters = watch.source.counters()
        assert counters.lost == 0
        assert counters.lost_others["packets with names lost"] > 0
        assert sum(table.bytes for table in watch.enrichment.memory()) < 10_000_000
        assert all(table.entries <= table.most for table in watch.enrichment.memory())


def test_without_names(tmp_path: Path, net: Network) -> None:
    with traced(tmp_path, "--no-names", "-o", "ndjson", "destination.port = 14") as process:
        net.client().do("lookup('www.test') and connect('127.0.0.9', 14)")
        net.client().do("connect('192.0.2.77', 14)")
        rows, _ = finish(process)
    assert len(rows) == 2
    assert not any("domain" in row["destination"] for row in rows)


def test_a_filter_and_an_alias(tmp_path: Path, net: Network) -> None:
    with traced(
        tmp_path, "-o", "ndjson", "fd.sip.name = www.test and destination.port in (15, 16)"
    ) as process:
        client = net.client()
        client.do("connect('127.0.0.9', 16)")
        client.do("lookup('www.test') and connect('127.0.0.9', 15)")
        rows, _ = finish(process)
    assert [(row["destination"]["port"], row["connect"]["domain_confidence"]) for row in rows] == [
        (15, "high")
    ]


def test_an_answer_that_has_expired(tmp_path: Path) -> None:
    with network(tmp_path) as net, named(net, at_least=0) as watch:
        net.dnsmasq("--local-ttl=0", "--host-record=short.test,127.0.0.30")
        client = net.client()
        client.do("lookup('short.test', socket.AF_INET)")
        client.do("connect('127.0.0.30')")
        row = watch.row("127.0.0.30", 9, client)
        assert told(row) == ("short.test", "dns", "medium")
        assert row["connect.domain_age"] > 0
