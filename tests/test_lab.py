"""The laboratory's pure parts: what scenarios say, lines of reports, their order, answers when it cannot."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.capture.tiers import TIERS
from callout.cause import meanings
from callout.errors import UsageError
from callout.lab import (
    SCENARIOS,
    Expected,
    Scenario,
    cgroup,
    demo,
    libc,
    named,
    namespace,
    process,
    tools,
)
from callout.lab.address import UNSPEC, inet, inet6, unix
from callout.lab.entries import taking
from callout.lab.report import (
    PIPE_BUF,
    Announced,
    Arranged,
    Attempt,
    Failed,
    Impossible,
    Ready,
    Refused,
    Report,
    from_line,
    to_line,
)
from callout.lab.runner import perform_all
from callout.lab.ways import Made, Way
from callout.lab.ways.base import granted
from callout.lab.world import World
from callout.schema import FIELD_TYPES
from callout.sockaddr import decode_sockaddr
from callout.verdict import BY_ERRNO, SUCCESS, VERDICTS, errno_name

EXPECTATIONS = [
    pytest.param(expected, id=f"{scenario.name}-{row}")
    for scenario in SCENARIOS
    for row, expected in enumerate(scenario.expected)
]
# Errors whose verdict the error alone does not tell (callout.verdict.verdict_of)
BY_CAUSE = {
    ("EINVAL", "no_route"): "unreachable",
    ("EINVAL", "wrong_source"): "unreachable",
    ("ECONNRESET", "closed_by_application"): "aborted",
}
BY_ICMP = {"ENOPROTOOPT": "unreachable"}  # of a call; else it is of setsockopt(2)
UNEXPLAINED = SUCCESS | {"interrupted"}  # nothing failed, or the verdict says all


def test_demo_is_these_in_this_order() -> None:
    assert [scenario.name for scenario in demo()] == [
        "tcp_ok", "tcp_refused", "tcp_nb_ok", "tcp_nb_refused", "close_pending", "tcp6_ok", "udp_ok",
        "unix_path", "unix_missing", "bad_fd", "rt_none", "tcp_timeout", "nf_rst", "nf_admin",
    ]  # fmt: skip


def test_names_are_unique_and_needs_exist() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    assert {need for scenario in SCENARIOS for need in scenario.requirements} <= namespace.NEEDS.keys()


@pytest.mark.parametrize("expected", EXPECTATIONS)
def test_expectation_is_in_the_words_of_the_interface(expected: Expected) -> None:
    assert expected.verdict in VERDICTS
    assert expected.cause is None or expected.cause in meanings()
    assert (expected.cause is None) == (expected.verdict in UNEXPLAINED)
    if expected.errno is not None:
        number = getattr(errno, expected.errno)
        by_errno = BY_ICMP.get(expected.errno, BY_ERRNO.get(number, "invalid"))
        assert BY_CAUSE.get((expected.errno, expected.cause or ""), by_errno) == expected.verdict
    if expected.return_ not in (None, 0, -errno.EINPROGRESS, -errno.EINTR):
        assert expected.errno == errno_name(-expected.return_)


@pytest.mark.parametrize("expected", EXPECTATIONS)
def test_expectation_names_tiers_and_fields_that_there_are(expected: Expected) -> None:
    assert {*expected.without, *(expected.seen_by or ())} <= {tier.name for tier in TIERS}
    assert set(expected.without.values()) <= meanings().keys() - {expected.cause}
    assert expected.fields.keys() <= FIELD_TYPES.keys()
    if expected.late is not None:
        assert (expected.late.verdict in VERDICTS, expected.late.return_) == (True, expected.return_)


def test_cause_on_a_tier_that_lacks_evidence() -> None:
    expected = Expected("denied", "EPERM", "lsm", -errno.EPERM, without={"tracepoint": "unknown"})
    assert [expected.cause_on(tier) for tier in ("trampoline", "tracepoint")] == ["lsm", "unknown"]


def test_named_keeps_the_order_and_refuses_what_does_not_exist() -> None:
    assert [scenario.name for scenario in named(["udp_ok", "tcp_ok"])] == ["tcp_ok", "udp_ok"]
    assert named() == SCENARIOS
    with pytest.raises(UsageError, match="no scenario 'tcp_perhaps'\n  there are: alg_con, already, "):
        named(["tcp_ok", "tcp_perhaps"])


def test_requirements_follow_from_rules_and_routes() -> None:
    scenario = Scenario("x", "x", "x", print, (), needs=("ip", "ipv6"), firewall="drop", routes="route show")
    assert scenario.requirements == ("ip", "ipv6", "nft")


@pytest.mark.parametrize(
    ("address", "notation"),
    [
        (inet("192.0.2.1", 443), '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}'),
        (
            inet6("2001:db8::1", 53),
            "{sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}',
        ),
        (unix("/run/x.sock"), '{sa_family=AF_UNIX, sun_path="/run/x.sock"}'),
        (unix("\0x"), '{sa_family=AF_UNIX, sun_path=@"x"}'),
        (UNSPEC, '{sa_family=AF_UNSPEC, sa_data="' + "\\0" * 14 + '"}'),
    ],
)
def test_addresses_mean_what_strace_reads_in_them(address: bytes, notation: str) -> None:
    assert decode_sockaddr(address) == notation


text = st.text(max_size=60)
whole = st.integers(-(2**31), 2**31)
reports: st.SearchStrategy[Report] = st.one_of(
    st.builds(Ready, pid=whole, scenarios=st.lists(text, max_size=9).map(tuple)),
    st.builds(
        Attempt, scenario=text, pid=whole, tid=whole, fd=whole, sockaddr=text, addrlen=whole, return_=st.none() | whole,
        error=st.none() | text, time=whole,
    ),
    st.builds(
        Announced,
        attempt=st.builds(
            Attempt, scenario=text, pid=whole, tid=whole, fd=whole, sockaddr=text, addrlen=whole, return_=st.none(),
            error=st.none(), time=whole, call=text, pointer=whole, socket=st.just({"domain": 2}), command=text,
        ),
    ),
    st.builds(Arranged, scenario=text, what=text),
    st.builds(Impossible, scenario=text, reason=text),
    st.builds(Failed, scenario=text, reason=text),
    st.builds(Refused, message=text, remedy=text),
)  # fmt: skip


@given(reports)
def test_report_survives_its_line(report: Report) -> None:
    line = to_line(report)
    assert line.index(b"\n") == len(line) - 1
    assert from_line(line) == report


def test_line_of_an_attempt() -> None:
    attempt = Attempt("tcp_refused", 7, 8, 3, "0200", 2, -errno.ECONNREFUSED, "ECONNREFUSED", 9)
    assert to_line(attempt) == (
        b'{"report": "attempt", "scenario": "tcp_refused", "pid": 7, "tid": 8, "fd": 3, "sockaddr": "0200", '
        b'"addrlen": 2, "return": -111, "error": "ECONNREFUSED", "time": 9, "call": "connect", "pointer": 0, '
        b'"socket": {}, "command": ""}\n'
    )


@given(st.text(min_size=PIPE_BUF // 12, max_size=2 * PIPE_BUF))
def test_long_traceback_fits_one_write_and_keeps_its_end(reason: str) -> None:
    line = to_line(Failed("x", reason))
    kept = from_line(line)
    assert len(line) <= PIPE_BUF
    assert isinstance(kept, Failed)
    assert kept.reason
    assert reason.endswith(kept.reason)


def test_order_is_forks_then_the_rest_with_slow_ones_beside() -> None:
    order: list[str] = []

    def act(world: World) -> None:
        order.append(world.name)

    def scenario(name: str, *, slow: bool = False, forks: bool = False) -> Scenario:
        return Scenario(name, "test", "test", act, (), slow=slow, forks=forks)

    lineup = [scenario("a"), scenario("slow", slow=True), scenario("b"), scenario("forks", forks=True)]
    assert perform_all(lineup, report_fd=-1) == []
    assert order[0] == "forks"
    assert [name for name in order if name != "slow"] == ["forks", "a", "b"]
    assert sorted(order) == ["a", "b", "forks", "slow"]


def test_slow_ones_that_fork_run_in_a_process_of_their_own() -> None:
    here = os.getpid()
    receive, report = os.pipe()

    def act(world: World) -> None:
        os.write(report, b"elsewhere" if os.getpid() != here else b"here")

    assert perform_all([Scenario("x", "test", "test", act, (), slow=True, forks=True)], report) == []
    os.close(report)
    with open(receive, "rb") as told:
        assert told.read() == b"elsewhere"


def test_process_that_breaks_off_is_reported() -> None:
    def breaks(world: World) -> None:
        process.run(lambda: os._exit(7))

    receive, report = os.pipe()
    with open(receive, "rb") as lines:
        broken = perform_all(
            [
                Scenario("beside", "test", "test", breaks, (), slow=True, forks=True),
                Scenario("first", "test", "test", breaks, (), forks=True),
            ],
            report,
        )
        os.close(report)
        told = [from_line(line) for line in lines]
    assert sorted(broken) == ["beside", "first"]
    assert sorted(failed.scenario for failed in told if isinstance(failed, Failed)) == ["beside", "first"]
    for failed in told:
        assert isinstance(failed, Failed)
        assert failed.reason.endswith("RuntimeError: the process was to end with 0, but ended with 7\n")


def test_attempt_that_finds_out_that_a_way_cannot_be_had_is_reported() -> None:
    """A tracer sees it, too."""
    here = inet("127.0.0.1", 9)

    def act() -> Made:
        with socket.socket() as caller:
            return granted(caller, here, libc.connect(caller.fileno(), b"", 0))  # EINVAL, nothing is sent

    way = Way("empty", "connect", "an empty address", "connect", "established", act)
    scenario = Scenario("empty", "test", "test", taking(way), ())
    receive, report = os.pipe()
    with open(receive, "rb") as lines:
        assert perform_all([scenario], report) == []
        os.close(report)
        attempt, impossible = map(from_line, lines)
    assert isinstance(attempt, Attempt)
    assert (attempt.scenario, attempt.sockaddr, attempt.error) == ("empty", here.hex(), "EINVAL")
    assert impossible == Impossible(
        "empty", "not possible here: the kernel refused the call (Invalid argument)"
    )


def test_program_that_redirects() -> None:
    """w2 = 127.0.0.4; *(u32 *)(r1 + 4) = r2; w2 = htons(8385); *(u32 *)(r1 + 24) = r2; r0 = 1; exit."""
    assert cgroup.redirect("127.0.0.4", 8385).hex(" ", 8) == (
        "b40200007f000004 6321040000000000 b402000020c10000 6321180000000000 b700000001000000 9500000000000000"
    )


def test_scenario_that_breaks_off_is_reported_and_the_others_go_on() -> None:
    done: list[str] = []

    def breaks(world: World) -> None:
        raise RuntimeError("the peer is not there")

    receive, report = os.pipe()
    with open(receive, "rb") as lines:
        broken = perform_all(
            [
                Scenario("breaks", "test", "test", breaks, ()),
                Scenario("goes_on", "test", "test", lambda world: done.append(world.name), ()),
            ],
            report,
        )
        os.close(report)
        (failed,) = map(from_line, lines)
    assert (broken, done) == (["breaks"], ["goes_on"])
    assert isinstance(failed, Failed)
    assert failed.scenario == "breaks"
    assert failed.reason.endswith("RuntimeError: the peer is not there\n")


@pytest.fixture
def no_tools_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "located", tools.located.__wrapped__)


@pytest.mark.usefixtures("no_tools_known")
def test_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda tool, path: None)
    assert tools.feed("nft", "-f", "-", text="") == "nft is not installed (apt install nftables)"
    assert tools.feed("ip", "-batch", "-", text="") == "ip is not installed (apt install iproute2)"


@pytest.mark.usefixtures("no_tools_known")
def test_failing_tool_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nft"
    tool.write_text('#!/bin/sh\necho "no such $(cat) on $*" >&2\necho second >&2\nexit 1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert tools.feed("nft", "-f", "-", text="rule") == "nft failed: no such rule on -f -"


def test_import_stays_light() -> None:
    source = Path(namespace.__file__).parents[2]
    code = (
        "import sys, callout.lab.child, callout.lab.runner\n"
        "print(*{'numpy', 'callout._native'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"
