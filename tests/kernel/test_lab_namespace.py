"""The laboratory for real: every attempt ends as its scenario says, and the host stays as it was."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from callout.errors import NotPermittedError
from callout.lab import SCENARIOS, Scenario, child, demo
from callout.lab.report import Announced, Arranged, Attempt, Impossible, Ready, Refused, Report, from_line
from callout.lab.runner import COMM

pytestmark = pytest.mark.kernel
SOURCE = str(child.ROOT)
NOBODY = 65534


def lab(
    python: str = sys.executable, *before: str, user: int | None = None
) -> subprocess.CompletedProcess[str]:
    """All scenarios, without a gate, as another user or after another command."""
    groups: list[int] | None = None if user is None else []
    return subprocess.run(
        [*before, python, "-B", "-m", "callout.lab"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE},
        cwd="/",
        user=user,
        group=user,
        extra_groups=groups,
        capture_output=True,
        text=True,
        check=False,
    )


def interpreter_of_nobody() -> str:
    """One that nobody may run: not the one in root's home, perhaps."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            probe = subprocess.run(
                [python, "-B", "-c", "import callout.lab.runner"],
                env={"PYTHONPATH": SOURCE}, cwd="/", user=NOBODY, group=NOBODY, extra_groups=[],
                capture_output=True, check=False,
            )  # fmt: skip
        except OSError:
            continue
        if probe.returncode == 0:
            return python
    pytest.skip("needs a Python 3.11 and a source tree that the user nobody may read")


def checked(done: subprocess.CompletedProcess[str]) -> list[Report]:
    reports = [from_line(line) for line in done.stdout.splitlines()]
    if reports and isinstance(reports[0], Refused):
        pytest.skip(f"needs root or user namespaces: {reports[0].message}")
    assert done.stderr == ""
    return reports


@cache
def as_this_user() -> list[Report]:
    return checked(lab())


@cache
def as_nobody() -> list[Report]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become nobody")
    return checked(lab(interpreter_of_nobody(), user=NOBODY))


@pytest.mark.parametrize("run", [as_this_user, as_nobody], ids=["this_user", "nobody"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_attempts_end_as_expected(scenario: Scenario, run: Callable[[], list[Report]]) -> None:
    reports = [report for report in run() if not isinstance(report, Ready | Refused | Arranged | Announced)]
    mine = [report for report in reports if report.scenario == scenario.name]
    for report in mine:  # it may be an attempt that found out
        if isinstance(report, Impossible):
            pytest.skip(report.reason)
    made = sorted((report for report in mine if isinstance(report, Attempt)), key=lambda made: made.time)
    assert len(made) == len(scenario.expected), mine
    for attempt, expected in zip(made, scenario.expected, strict=True):
        if not attempt.command:  # what came of the call of another program, only a tracer sees
            assert (attempt.return_, attempt.error) == (expected.return_, expected.errno), mine
    assert len(made) == len(mine)


def spawn(*names: str) -> child.Child:
    try:
        return child.spawn(names)
    except NotPermittedError as error:
        pytest.skip(f"needs root or user namespaces: {error.message}")


@pytest.fixture
def gated() -> Iterator[child.Child]:
    with spawn("tcp_ok", "udp_unspec", "process_died") as started:
        yield started


def test_child_waits_at_the_gate_in_a_network_of_its_own(gated: child.Child) -> None:
    proc = Path(f"/proc/{gated.pid}")
    assert gated.scenarios == ("tcp_ok", "process_died", "udp_unspec")
    assert not gated.finished()
    assert (proc / "comm").read_text() == f"{COMM}\n"
    assert os.readlink(proc / "ns/net") != os.readlink("/proc/self/ns/net")
    assert os.readlink(proc / "ns/mnt") != os.readlink("/proc/self/ns/mnt")
    readable, _, _ = select.select([gated._reports], [], [], 0)
    assert readable == []


def test_gate_opens_and_all_is_reported(gated: child.Child) -> None:
    gated.release()
    made = gated.attempts()
    assert [attempt.scenario for attempt in made] == ["process_died", "tcp_ok", "udp_unspec", "udp_unspec"]
    assert made[0].pid not in (gated.pid, os.getpid())
    assert {(attempt.pid, attempt.tid) for attempt in made[1:]} == {(gated.pid, gated.pid)}
    assert [attempt.time for attempt in made] == sorted(attempt.time for attempt in made)
    assert gated.process.wait() == 0
    assert gated.finished()


def test_child_gives_up_when_the_gate_is_torn_down(gated: child.Child) -> None:
    assert gated.process.stdin is not None
    gated.process.stdin.close()
    assert gated.attempts() == []
    assert gated.process.wait() == 0


def test_slow_scenarios_run_in_threads_of_the_child() -> None:
    with spawn("tcp_unanswered") as started:
        started.release()
        (made,) = started.attempts()
    assert made.pid == started.pid
    assert made.tid != started.pid


def test_closing_kills_the_child(gated: child.Child) -> None:
    gated.close()
    assert gated.process.returncode == -signal.SIGKILL


def test_closing_before_the_end_leaves_nothing() -> None:
    with spawn("tcp_unanswered") as started:
        started.release()
    assert started.process.returncode == -signal.SIGKILL


PARENT = """
import signal
from callout.lab.child import spawn
print(spawn(["tcp_ok"]).pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("user", [None, NOBODY], ids=["this_user", "nobody"])
def test_child_dies_with_its_parent(user: int | None) -> None:
    """Also when it went through a user namespace. Stopped, it cannot end by itself at the torn-down gate."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("needs root, to become nobody")
    spawn("tcp_ok").close()  # skips where there is no lab
    python = sys.executable if user is None else interpreter_of_nobody()
    parent = subprocess.Popen(
        [python, "-B", "-c", PARENT], stdout=subprocess.PIPE, env={"PYTHONPATH": SOURCE}, cwd="/",
        user=user, group=user, extra_groups=None if user is None else [],
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        handle = os.pidfd_open(int(parent.stdout.readline()))
        try:
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
            parent.kill()
            readable, _, _ = select.select([handle], [], [], 10)  # a bound for the failure only
            assert readable == [handle]
        finally:
            if not select.select([handle], [], [], 0)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def test_demo_is_possible_wherever_the_tools_are() -> None:
    try:
        started = child.spawn_demo()
    except NotPermittedError as error:
        pytest.skip(f"needs root or user namespaces: {error.message}")
    with started:
        lacking = {report.scenario for report in started.impossible}
        names = [scenario.name for scenario in demo()]
        assert list(started.scenarios) == [name for name in names if name not in lacking]
        if not lacking:
            assert started.scenarios == tuple(names)


def test_host_stays_as_it_was() -> None:
    watched = ("net/dev_mcast", "net/route", "net/if_inet6", "mounts")
    settings = ("ipv4/tcp_syn_retries", "ipv4/ip_local_port_range")

    def state() -> list[str]:
        """Interfaces with their groups, routes, addresses, mounts and the settings that scenarios change."""
        files = [f"/proc/self/{name}" for name in watched] + [f"/proc/sys/net/{name}" for name in settings]
        return [Path(file).read_text() for file in files] + sorted(os.listdir("/run"))

    before = state()
    with spawn("port_exhaustion", "unix_path", "unix_refused", "rt_unreach", "nf_rst") as started:
        during = state()
        started.release()
        started.attempts()
    assert (during, state()) == (before, before)


def test_refusal_says_why_and_what_to_do() -> None:
    """In a user namespace that may have no further network namespace, neither way in is left."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs unshare (apt install util-linux)")
    script = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    inner = (unshare, "--user", "--map-root-user", "sh", "-c", script, "sh")
    if subprocess.run([*inner, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs user namespaces")
    done = lab(sys.executable, *inner)
    (refused,) = map(from_line, done.stdout.splitlines())
    assert isinstance(refused, Refused)
    assert refused.message == (
        "no private network namespace can be had here (unshare: No space left on device)"
    )
    assert refused.remedy.startswith(
        "run it as root, or allow unprivileged user namespaces: see the sysctls "
    )
    assert (done.returncode, done.stderr) == (3, "")
