"""The doctor on this host: it answers as a trace does, leaves nothing behind, and its claims on the ways out hold."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from callout.capture.cgroups import hierarchy
from callout.capture.kernel import KernelSource
from callout.capture.tiers import OPTIONS, TIERS
from callout.cli import doctor
from callout.doctor import host, programs
from callout.doctor.detached import detached, read_detached
from callout.doctor.findings import findings
from callout.doctor.selftest import Observed, observe
from callout.lab.ways import WAYS, Way

from .watch import CALLOUT, PATIENCE, TIER, run, traced

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up rights")
SETPRIV = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
ALL_NEEDED = "CAP_BPF CAP_PERFMON CAP_NET_ADMIN"
UNTRIED = "not tried: needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN; "


def checks_of(text: str) -> dict[str, dict[str, str | None]]:
    """The report by name of check."""
    return {check["check"]: check for check in map(json.loads, text.splitlines())}


def descriptors() -> list[str]:
    """What this process holds of BPF, perf and mounts: programs, maps and links live as long as these."""
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.append(os.readlink(entry))
        except FileNotFoundError:
            continue  # the descriptor that read the directory
    return sorted(name for name in held if name.startswith("anon_inode:"))


@pytest.mark.kernel
def test_the_answer_is_that_of_a_trace() -> None:
    with KernelSource() as source:
        assert source.tier is not None
        tier = source.tier
        attached = {state.program.name for state in source.states if state.error is None}
    done = run(["doctor"])
    found = checks_of(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert found["tracing"] == {
        "check": "tracing",
        "state": "ok",
        "detail": f"works here, with the {tier.name} tier",
        "remedy": None,
    }
    chosen = [name for name, check in found.items() if str(check["detail"]).startswith("chosen; ")]
    assert chosen == [f"tier.{tier.name}"]
    loaded = {n.split(".")[-1] for n, check in found.items() if " loaded; gives: " in str(check["detail"])}
    assert attached <= loaded


@pytest.mark.kernel
def test_nothing_stays_attached() -> None:
    before = descriptors()
    found = programs.gather(host.gather())
    assert "loaded" in {trial.fate for trial in found.trials.values()}
    assert descriptors() == before


@pytest.mark.kernel
def test_detached_file_systems_leave_no_mount() -> None:
    before = Path("/proc/self/mounts").read_text()
    with detached("securityfs") as root:
        assert Path("/proc/self/mounts").read_text() == before
        lsm = os.open("lsm", os.O_RDONLY, dir_fd=root)
        text = os.read(lsm, 4096).decode()
        os.close(lsm)
    assert read_detached("securityfs", "lsm") == text
    assert read_detached("securityfs", "no such file") is None
    assert read_detached("no such file system", "lsm") is None


@ROOT
@SETPRIV
def test_without_privileges() -> None:
    done = subprocess.run(
        # reading is kept, so that an interpreter below /root can be started at all
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search",
         "--ambient-caps=+dac_read_search", *CALLOUT, "doctor"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    found = checks_of(done.stdout)
    remedy = f"run it as root (sudo), or from a unit with AmbientCapabilities={ALL_NEEDED}"
    assert found["tracing"] == {
        "check": "tracing",
        "state": "no",
        "detail": "does not work here: needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
        "remedy": remedy,
    }
    untried = {name.split(".")[-1] for name, check in found.items() if UNTRIED in str(check["detail"])}
    assert untried == {program.name for program in programs.ALL}


@ROOT
@SETPRIV
@pytest.mark.kernel
def test_where_the_bounding_set_lacks_a_capability() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-perfmon,-sys_admin", *CALLOUT, "doctor"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert checks_of(done.stdout)["process.capabilities"] == {
        "check": "process.capabilities",
        "state": "no",
        "detail": "missing: CAP_PERFMON; held: CAP_BPF CAP_NET_ADMIN",
        "remedy": "run it on the host, or give the container or unit CAP_PERFMON",
    }


OF_MODULES = {"sctp_connectx", "sctp_sendto"}  # their functions may not be in a form that can be hooked


@pytest.fixture(scope="module")
def observed() -> Observed:
    """Every way out, taken once under a live trace; then nothing of it may be left."""
    before = descriptors()
    seen = observe(TIER)
    assert descriptors() == before
    root = hierarchy()
    assert root is None or not (Path(root) / f"callout-selftest-{os.getpid()}").exists()
    return seen


@pytest.mark.kernel
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_table_of_ways_out_is_true_here(observed: Observed, way: Way) -> None:
    (finding,) = (one for one in findings(observed) if one.way == way)
    if finding.result == "not here":
        pytest.skip(f"{way.name}: {finding.text()}")
    assert not finding.broken, finding.text()
    assert (finding.result in ("seen", "partly")) == finding.claimed, finding.text()


@pytest.mark.kernel
def test_with_its_options_a_tier_sees_every_way_whole() -> None:
    """What the table says of --sends and --ia32, where their programs load."""
    seen = observe(TIER, tuple(OPTIONS))
    (tier,) = (tier for tier in TIERS if tier.name == seen.tier)
    if lacking := [p.hook for o in tier.options for p in o.programs if p.name not in seen.attached]:
        pytest.skip(f"not to be had here: {', '.join(lacking)}")
    if not seen.hierarchy:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    less = {one.way.name: one.text() for one in findings(seen) if one.result not in ("seen", "not here")}
    assert set(less) <= OF_MODULES, less


@pytest.mark.kernel
def test_every_process_that_took_a_way_is_accounted_for(observed: Observed) -> None:
    """One mark, and no row of a process that is not known."""
    known = {taken.pid for taken in observed.taken}
    others = [row for pid, rows in observed.rows.items() for row in rows if pid not in known]
    assert [row["destination.port"] for row in others] == [9]
    assert {taken.way for taken in observed.taken} == {way.name for way in WAYS}


@pytest.mark.kernel
def test_self_test_on_the_command_line() -> None:
    tier = ["--tier", TIER] if TIER else []
    done = run(["doctor", "--selftest", "-o", "ndjson", *tier])
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["way"] for line in told] == [way.name for way in WAYS]
    assert {line["kernel"] for line in told} == {os.uname().release}
    broken = any(
        line["result"] in ("wrong", "failed") or (line["result"] == "not seen" and line["claimed"])
        for line in told
    )
    assert (done.returncode, done.stderr) == (int(broken), "")


def test_a_tier_that_is_not_there() -> None:
    done = run(["doctor", "--tier", "kprobe"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "--tier goes with --selftest" in done.stderr


@ROOT
@SETPRIV
@pytest.mark.kernel
def test_self_test_without_privileges_leaves_nothing() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", *CALLOUT, "doctor", "--selftest"],
        capture_output=True, text=True, timeout=PATIENCE * 3, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    root = hierarchy()
    assert root is None or list(Path(root).glob("callout-selftest-*")) == []


def test_help_is_the_docstring() -> None:
    done = run(["doctor", "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert str(doctor.__doc__) in done.stdout


@pytest.mark.kernel
def test_what_a_trace_keeps_in_memory() -> None:
    """Every table has a bound and keeps it; the maps are those of the object; it is not all of the process."""
    done = run(["doctor", "--memory", "-o", "ndjson"])
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    tables = {line["name"]: line for line in lines if line["kind"] == "table"}
    assert tables.keys() >= {"processes", "what they run", "cgroups", "containers", "names: answers"}
    assert all(line["entries"] <= line["most"] for line in tables.values())
    assert all(0 <= line["bytes"] <= line["most_bytes"] for line in tables.values())
    assert tables["processes"]["entries"] >= 2, "this one and the doctor"
    rings = {line["name"]: line["bytes"] for line in lines if line["kind"] == "ring"}
    assert rings["ring"] >= 16 << 20
    assert any(line["name"] == "flights (hash)" for line in lines if line["kind"] == "map")
    now, peak = (line["bytes"] for line in lines if line["kind"] == "process")
    assert sum(line["bytes"] for line in tables.values()) < now <= peak
    shown = run(["doctor", "--memory", "-o", "table"])
    assert "tables of this process" in shown.stdout
    assert "rings in the kernel" in shown.stdout


@pytest.mark.kernel
def test_a_running_trace_tells_its_memory(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with (
        told.open("wb") as errors,
        traced(tmp_path, "-o", "ndjson", "process.pid = 0", stderr=errors) as tracer,
    ):
        tracer.send_signal(signal.SIGUSR1)
        end = time.monotonic() + PATIENCE
        while b"kill -USR1" not in told.read_bytes():
            assert time.monotonic() < end
            assert tracer.poll() is None
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait(PATIENCE) == 0
    assert b"names: answers" in told.read_bytes()
