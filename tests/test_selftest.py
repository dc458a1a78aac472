"""The self-test without a kernel: what rows mean for a way, what is told of it, and the page of many kernels."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callout.capture.tiers import SOCKET_PROGRAMS, TIERS
from callout.doctor import findings
from callout.doctor.findings import Finding
from callout.doctor.paths import PATHS
from callout.doctor.selftest import Observed, own_cgroup
from callout.errors import NotPermittedError
from callout.lab.address import inet
from callout.lab.ways import WAYS, Way
from callout.lab.ways.i386 import Page
from callout.lab.ways.message import Message, send_message, send_messages, system_call
from callout.lab.ways.stage import Taken

ADDRESS = inet("127.0.0.1", 9)
TEXT = '{sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}'
NAMES = {way.name: way for way in WAYS}
SHARED = frozenset(program.name for program in SOCKET_PROGRAMS)
REPORT = {"way": "udp4", "pid": 7, "fd": 3, "address": ADDRESS.hex(), "result": 0, "note": ""}
ROW = {
    "process.pid": 7,
    "connect.id": 1,
    "connect.entry": "connect",
    "connect.sockaddr": TEXT,
    "connect.fd": 3,
    "connect.return": 0,
    "connect.verdict": "associated",
}


def seen(
    *rows: dict[str, Any],
    tier: str = "tracepoint",
    late: frozenset[int] = frozenset(),
    without: frozenset[str] = frozenset(),
    hierarchy: bool = True,
    also: frozenset[str] = frozenset(),
    **report: Any,
) -> Observed:
    """What one process did and what was seen of it."""
    entries = frozenset(p.name for t in TIERS if t.name == tier for p in t.programs)
    taken = [Taken({**REPORT, **report})]
    attached = (SHARED | entries) - without
    return Observed(tier, attached, taken, {7: list(rows)} if rows else {}, late, hierarchy, also)


def found(observed: Observed) -> Finding:
    """What became of the way that was taken."""
    return findings.judge(NAMES[observed.taken[0].way], observed.taken[0], observed)


def changed(**values: Any) -> dict[str, Any]:
    """The row of a perfect trace, with changes."""
    return {**ROW, **{f"connect.{name}": value for name, value in values.items()}}


@pytest.mark.parametrize(
    ("observed", "result", "text", "broken"),
    [
        (seen(ROW), "seen", "seen", False),
        (seen(ROW, note="in a dry run"), "seen", "seen (in a dry run)", False),
        (seen(changed(**{"return": None, "fd": None})), "partly", "seen without fd, return", False),
        (seen(changed(verdict="pending")), "wrong", "seen, but verdict is pending, not associated", True),
        (
            seen(changed(entry="kernel", **{"return": None})),
            "wrong",
            "seen without return, but entry is kernel, not connect",
            True,
        ),
        (seen(changed(fd=4)), "wrong", "seen, but fd is 4, not 3", True),
        (seen(changed(swapped={"entry": "x"})), "wrong", "seen, but it says swapped", True),
        (
            seen(ROW, changed(entry="sendto", id=2)),
            "wrong",
            "seen, but in 2 rows: connect associated, sendto associated",
            True,
        ),
        (seen(ROW, late=frozenset({1})), "wrong", "seen, but its row came only when the trace ended", True),
        (seen(ROW, fd=None), "wrong", "seen, but fd is 3, not None", True),
        (seen(), "not seen", "not seen: although it is claimed", True),
        (
            seen(way="unix_sendto"),
            "not seen",
            "not seen: only with --sends, for which every send on a socket pays",
            False,
        ),
        (
            seen(way="unix_sendto", also=frozenset({"sends"})),
            "not seen",
            "not seen: tp_btf/sock_send_length is not to be had here",
            False,
        ),
        (
            seen(way="unix_sendto", tier="trampoline"),
            "not seen",
            "not seen: fexit/unix_dgram_sendmsg is not to be had here",
            False,
        ),
        (
            seen(way="sctp_connectx"),
            "not seen",
            "not seen: the tracepoint tier has no program that observes it",
            False,
        ),
        (
            seen(way="i386_udp"),
            "not seen",
            "not seen: only with --ia32, for which every system call of this host pays",
            False,
        ),
        (
            seen(changed(entry="connect_ia32", verdict="established", **{"return": None}), way="i386_tcp"),
            "partly",
            "seen without return (only with --ia32, for which every system call of this host pays)",
            False,
        ),
        (
            seen(changed(entry="sendto", **{"return": None}), way="udp4_sendto"),
            "partly",
            "seen without return (only with --sends, for which every send on a socket pays)",
            False,
        ),
        (seen(way="i386_udp", tier="kprobe"), "not seen", "not seen: although it is claimed", True),
        (seen(way="i386_tcp"), "not seen", "not seen: although it is claimed", True),
        (
            seen(
                way="udp4_sendto",
                hierarchy=False,
                without=frozenset({"datagram_sendmsg4", "datagram_sendmsg6"}),
            ),
            "not seen",
            "not seen: no cgroup v2 hierarchy is mounted",
            False,
        ),
    ],
)
def test_what_rows_mean(observed: Observed, result: str, text: str, broken: bool) -> None:
    finding = found(observed)
    assert (finding.result, finding.text(), finding.broken) == (result, text, broken)


def test_ways_that_were_not_taken() -> None:
    observed = seen(ROW)
    way = NAMES["udp4"]
    gone = Taken({"way": "udp4", "pid": 7, "not_here": "no such sockets"})
    failed = Taken({"way": "udp4", "pid": 7, "failed": "Traceback\n  x\nOSError: no\n"})
    told = [findings.judge(way, taken, observed) for taken in (gone, failed, None)]
    assert [(finding.text(), finding.broken) for finding in told] == [
        ("not possible here: no such sockets", False),
        ("could not be tried: OSError: no", True),
        ("could not be tried: its process told nothing", True),
    ]


def test_lines_and_screen() -> None:
    observed = seen(changed(**{"return": None}))
    one = found(observed)
    two = Finding(NAMES["unix_sendto"], "not seen", False, why="no program observes it yet")
    assert [tuple(check) for check in findings.checks([one, two], "kprobe")] == [
        (
            "selftest",
            "ok",
            "with the kprobe tier, 1 of the 2 ways that are possible here are seen; "
            "all as the table of coverage says",
            "",
        ),
        ("way.udp4", "warn", "connect(2), UDP over IPv4: seen without return", ""),
        (
            "way.unix_sendto",
            "no",
            "sendto(2), Unix datagrams, by abstract name: not seen: no program observes it yet",
            "",
        ),
    ]
    assert json.loads(findings.ndjson([one], "kprobe", "6.1.0")) == {
        "way": "udp4",
        "what": "connect(2), UDP over IPv4",
        "path": "connect",
        "kernel": "6.1.0",
        "tier": "kprobe",
        "result": "partly",
        "claimed": True,
        "missing": ["return"],
        "wrong": [],
        "text": "seen without return",
    }
    lost = Finding(NAMES["udp4"], "not seen", True, why="although it is claimed")
    (summary, _) = findings.checks([lost], "kprobe")
    assert (summary.state, summary.detail) == (
        "no",
        "with the kprobe tier, 0 of the 1 ways that are possible here are seen; "
        "1 not as the table of coverage says",
    )


def test_every_path_has_a_way_and_every_way_a_path() -> None:
    assert {way.path for way in WAYS} == {path.name for path in PATHS}
    assert len(NAMES) == len(WAYS)
    partly = {path.name for path in PATHS if path.partly_by}
    assert {way.path for way in WAYS if way.in_part} >= partly


@pytest.mark.parametrize("send", [send_message, send_messages])
def test_messages_are_laid_out_as_the_kernel_reads_them(send: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            assert send(caller, Message(inet("127.0.0.1", server.getsockname()[1]), b"words")) == 0
            assert server.recv(10) == b"words"
            assert send(caller, Message(b"\0\0")) == -22  # EINVAL: shorter than an address


def test_system_calls_by_number() -> None:
    assert system_call(20 if os.uname().machine == "x86_64" else 66, -1, b"", 0) == -9  # writev(2): EBADF


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a page below 4 GiB is of x86-64")
def test_what_an_i386_call_reads_lies_where_it_can_read_it() -> None:
    page = Page()
    places = [page.put(data) for data in (b"x", b"y" * 16, b"z" * 17)]
    assert [place - places[0] for place in places] == [0, 16, 32]
    assert max(places) < 1 << 32


def test_no_hierarchy_no_cgroup() -> None:
    with own_cgroup(None) as place:
        assert place is None


def test_a_hierarchy_that_takes_no_cgroup(tmp_path: Path) -> None:
    root = tmp_path / "absent"
    with pytest.raises(NotPermittedError, match="cannot make a cgroup of its own"), own_cgroup(str(root)):
        raise AssertionError("entered")


def script() -> ModuleType:
    """scripts/coverage.py, which is no module of the package."""
    place = Path(__file__).parents[1] / "scripts/coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_page", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(kernel: str, tier: str, way: str, result: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "tier": tier,
        "way": way,
        "what": f"what {way} is",
        "result": result,
        "text": text,
        **more,
    }


def test_the_page() -> None:
    module = script()
    refused = (
        "callout: no tier of programs can be loaded here\n  kprobe: loading: EINVAL\n  `callout doctor` ..."
    )
    records = [
        record("6.18.4-x", "tracepoint", "a", "seen", "seen"),
        record("6.18.4-x", "tracepoint", "b", "partly", "seen without fd"),
        record("6.18.4-x", "tracepoint", "c", "not seen", "not seen: only with --sends, for which ..."),
        record("6.18.4-x", "tracepoint", "a", "seen", "seen", also=["sends"]),
        record("6.18.4-x", "tracepoint", "c", "seen", "seen", also=["sends"]),
        record(
            "6.1.0-9-amd64",
            "kprobe",
            "c",
            "not seen",
            "not seen: only with --sends, for which ...",
            emulated=True,
        ),
        record("6.1.0-9-amd64", "kprobe", "c", "not seen", "not seen: y", emulated=True, also=["sends"]),
        record("6.1.0-9-amd64", "kprobe", "a", "not here", "not possible here: x", emulated=True),
        record("6.1.0-9-amd64", "kprobe", "b", "partly", "seen without fd", emulated=True),
        {"kernel": "6.18.4-x", "tier": "kprobe", "refused": refused},
    ]
    assert module.page(records) == module.HEAD + (
        "| way | what it is | 6.1 (Debian)<br>kprobe | 6.18<br>tracepoint |\n"
        "| --- | --- | --- | --- |\n"
        "| `a` | what a is | - (1) | seen |\n"
        "| `b` | what b is | in part (2) | in part (2) |\n"
        "| `c` | what c is | no (3) | `--sends` (4) |\n"
        "\n## Notes\n\n"
        "1. not possible here: x\n"
        "2. seen without fd\n"
        "3. not seen: y\n"
        "4. not seen: only with --sends, for which ...\n"
        "\n## Tiers that do not load\n\n"
        "- 6.18, kprobe: loading: EINVAL\n"
    )


def test_the_page_in_the_repository_has_every_way_and_every_needed_kernel() -> None:
    page = (Path(__file__).parents[1] / "docs/coverage.md").read_text()
    rows = [line.split(" | ")[0].strip("| `") for line in page.splitlines() if line.startswith("| `")]
    assert rows == [way.name for way in WAYS]
    head = next(line for line in page.splitlines() if line.startswith("| way"))
    for kernel in ("6.1 (Debian)", "6.12 (Debian)", "6.18"):
        assert f"{kernel}<br>tracepoint" in head
    for kernel in ("6.1 (Debian)", "6.12 (Debian)"):
        assert f"{kernel}<br>trampoline" in head
        assert f"{kernel}<br>kprobe" in head


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_way_without_a_row_is_never_seen(way: Way) -> None:
    assert found(seen(way=way.name)).result == "not seen"
