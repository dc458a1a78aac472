"""bench: the pure parts by value; the load generator's counts against strace's, the floor's against both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # bench is no part of the installed package

from bench.build import BenchError, Programs, build_floor, build_load
from bench.measure import Rest, Sample, Workload
from bench.overhead import parse, plan
from bench.report import Run, page
from bench.session import Load, attached
from bench.summary import Cell, summarise, summarise_rests
from bench.tracers import (
    TRACERS,
    Output,
    Tally,
    Tracer,
    bpftrace_tally,
    chosen,
    count_tally,
    floor_tally,
    no_tally,
    strace_tally,
    summary_tally,
)

BY_NAME = {tracer.name: tracer for tracer in TRACERS}


# ---- command lines and tallies ----


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("{floor} --pid {pid} --ready-file {ready}", ["/a b/floor", "--pid", "7", "--ready-file", "/r"]),
        ("strace -o {out} {load}", ["strace", "-o", "/o", "load", "udp"]),
        ("sh -c 'exec \"$@\"' sh x", ["sh", "-c", 'exec "$@"', "sh", "x"]),
        ("", []),
    ],
)
def test_placeholders_are_filled_after_splitting(command: str, expected: list[str]) -> None:
    values = {"floor": "/a b/floor", "pid": "7", "ready": "/r", "out": "/o"}
    assert Tracer("t", command, no_tally).argv(values, ["load", "udp"]) == expected


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        Tracer("t", "x {nowhere}", no_tally).argv({}, [])


def test_every_command_has_only_known_placeholders() -> None:
    known = dict.fromkeys(("pid", "out", "ready", "summary", "floor", "callout", "bench"), "x")
    assert not [word for tracer in TRACERS for word in tracer.argv(known, ["load"]) if "{" in word]


@pytest.mark.parametrize(
    ("tally", "texts", "expected"),
    [
        (floor_tally, {"stdout": '{"events":5,"lost":2,"failed":0}\n'}, Tally(5, 2)),
        (
            bpftrace_tally,
            {
                "out": "Attaching 3 probes...\nconnect 1 1\n\nconnect 1 1\nLost 7 events\n",
                "stderr": "Lost 1 events",
            },
            Tally(2, 8),
        ),
        (count_tally, {"out": "\n@connects: 41\n@up: 1\n"}, Tally(41, 0)),
        (count_tally, {"out": "\n@up: 1\n"}, Tally(0, 0)),
        (
            strace_tally,
            {
                "out": "1 connect(3, {sa_family=AF_INET}, 16) = 0\n"
                "2 connect(4, {sa_family=AF_INET} <unfinished ...>\n"
                "2 <... connect resumed>, 16) = 0\n"
            },
            Tally(2, 0),
        ),
        (summary_tally, {"summary": '{"attempts":9,"rows":6,"lost":3}'}, Tally(6, 3)),
        (no_tally, {}, Tally(0, 0)),
    ],
)
def test_tallies(tally: object, texts: dict[str, str], expected: Tally, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("stdout", "stderr", "out", "summary")}
    for name, path in files.items():
        path.write_text(texts.get(name, ""))
    assert callable(tally)
    assert tally(Output(**files)) == expected


def test_chosen_by_the_beginning_of_the_name_and_always_with_the_base() -> None:
    able, remarks = chosen(["floor"])
    assert ([tracer.name for tracer in able], remarks) == (["untraced", "floor", "floor, enter only"], ())


def test_chosen_refuses_a_name_that_begins_no_tracer() -> None:
    with pytest.raises(ValueError, match="no tracer is called 'tcpdump'"):
        chosen(["tcpdump"])


def test_what_is_not_installed_is_named() -> None:
    assert Tracer("t", "", no_tally, ("sh", "no-such-program")).missing() == ("no-such-program",)


# ---- loads and their order ----


def test_runs_interleave_and_the_base_has_no_start_up() -> None:
    a, b = BY_NAME["untraced"], BY_NAME["floor"]
    assert list(plan(["udp", "rest"], 2, [a, b])) == [
        ("udp", 0, a), ("udp", 0, b), ("udp", 1, a), ("udp", 1, b), ("rest", 0, b), ("rest", 1, b),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "most", "expected"),
    [
        (Workload("tcp", "tcp", 0.2), 10**9, Load("tcp", 200)),
        (Workload("tcp", "tcp", 0.2), 50, Load("tcp", 50)),
        (Workload("tcp", "tcp", 0.0001), 10**9, Load("tcp", 1)),
        (Workload("2k/s", "udp", rate=2000), 10**9, Load("udp", 10_000, 2000)),
    ],
)
def test_workload_size(workload: Workload, most: int, expected: Load) -> None:
    assert workload.load(1000, most) == expected


@pytest.mark.parametrize(
    "argv", [["--only", "sctp"], ["--tracers", "tcpdump"], ["--rounds", "0"], ["--count", "0"], ["--what"]]
)
def test_usage_errors(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert (ended.value.code, argv[0] in capsys.readouterr().err) == (2, True)


# ---- figures ----

SAMPLE = Sample(
    tracer="untraced", workload="udp", round=0, attempts=1000, seconds=0.5, p50_ns=600, p99_ns=900,
    rows=0, lost=0, cpu_start=0.0, cpu=0.0, peak_kib=0,
)  # fmt: skip


def traced(number: int, p50: int, **changes: float) -> Sample:
    """The floor's sample of a round: 1000 rows in 1 s, unless told otherwise."""
    told = {"rows": 1000, "seconds": 1.0, "cpu": 0.002, "cpu_start": 0.01, "peak_kib": 2048, **changes}
    return replace(SAMPLE, tracer="floor", round=number, p50_ns=p50, **told)  # type: ignore[arg-type]


def test_differences_are_taken_within_a_round_and_medians_last() -> None:
    untraced = [replace(SAMPLE, round=n, p50_ns=p50) for n, p50 in enumerate((600, 700, 1000))]
    floor = [traced(0, 1100), traced(1, 1300, rows=990, lost=9, peak_kib=4096), traced(2, 1700, cpu=0.004)]
    orphan = traced(3, 9999)
    assert summarise([*untraced, *floor, orphan])[("floor", "udp")] == Cell(
        p50_ns=1300, added_ns=600, throughput=0.5, cpu_per_million=2.0, cpu_share=0.002, cpu_start=0.01,
        peak_kib=4096, attempts=3000, rows=2990, lost=9, unaccounted=1,
    )  # fmt: skip


def test_a_call_that_is_no_connect_must_give_no_row() -> None:
    assert [traced(0, 100, rows=rows).unaccounted for rows in (1000, 999, 1001)] == [0, 1, -1]
    assert [replace(traced(0, 100, rows=rows), workload="getpid").unaccounted for rows in (0, 3)] == [0, -3]


def test_rests_take_medians_and_keep_the_unseen_unseen() -> None:
    rests = [Rest("a", 0.1, 0.5, 0.01), Rest("a", 0.3, 0.7, 0.03), Rest("b", 1.0, None, 0.0)]
    assert summarise_rests(rests) == {"a": Rest("a", 0.2, 0.6, 0.02), "b": Rest("b", 1.0, None, 0.0)}


PAGE = """\
# What callout costs

Generated by the command below; edit `bench/report.py`, not this page.

- Machine: a machine
- Kernel: Linux 6.0
- Command: `python -m bench.overhead`
- Medians of 1 interleaved rounds: the tracers take turns on the same load.
- strace: left out

## Added to each call, ns

The p50 of one call under the tracer minus the untraced p50 of the same round; in brackets the untraced p50
itself. `udp` connects one socket to two destinations in turn, no traffic; `refused`, `tcp` and `unix` connect
a new socket to a closed port or to a listener of the same thread, which accepts and resets: the least that a
connection can take; `served` is timed from socket to close, a request and its answer with another process
between them: the least that it takes in practice; `nonblock` is timed until SO_ERROR is read; `getpid` has
nothing to do with connect(2): the tax on every other system call.

| tracer | udp | getpid | udp ÷ floor |
|---|---:|---:|---:|
| untraced | (600) | (100) | - |
| floor | +500 | +50 | 1.0 |
| bpftrace | +5,000 | - | 10.0 |

## Throughput, as a share of the untraced one

| tracer | udp | getpid |
|---|---:|---:|
| untraced | 1.00 | 1.00 |
| floor | 0.50 | 0.50 |
| bpftrace | 0.50 | - |

## CPU seconds of the tracer per million attempts

User and system time of the tracer's own process from the first attempt until it has no backlog; what its
hooks cost inside the traced process is in the first table. Loads run as fast as they can; `2k/s` and `20k/s`
are UDP attempts at that pace, `2k/s of 32` the same by 32 threads, each with a socket and two destinations.

| tracer | udp | 2k/s | 2k/s, of one CPU |
|---|---:|---:|---:|
| floor | 2.00 | 2.00 | 0.20% |
| bpftrace | 2.00 | - | - |

## Delivery and memory

All runs together. Rows and losses that the tracer counted must add up to the attempts: `unaccounted` is 0.
Peak RSS is the highest resident set in any run (VmHWM). The ring of a tracer that reads it by libbpf, as the
floor does, counts twice in it, because libbpf maps its data pages twice in a row; callout maps its rings once.

| tracer | attempts | rows | counted losses | unaccounted | peak RSS, MiB |
|---|---:|---:|---:|---:|---:|
| floor | 2,000 | 2,000 | 0 | 0 | 2 |
| bpftrace | 1,000 | 600 | 300 | 100 | 2 |

## Start-up and idling

From starting the tracer until everything is attached, and until the first row can be read; CPU use while
attached to a process that does nothing.

`callout --help` takes 50 ms.

| tracer | ready, ms | first row, ms | idle, of one CPU |
|---|---:|---:|---:|
| floor | 6 | - | 0.20% |
| bpftrace | 150 | 1,500 | 0.03% |

## Commands

- floor: `{floor} --pid {pid} --ready-file {ready}`
"""


def test_the_whole_page() -> None:
    getpid, paced = ({"workload": name} for name in ("getpid", "2k/s"))
    samples = [
        SAMPLE,
        replace(SAMPLE, p50_ns=100, **getpid),  # type: ignore[arg-type]
        replace(SAMPLE, **paced),  # type: ignore[arg-type]
        traced(0, 1100),
        replace(traced(0, 150, rows=0), **getpid),  # type: ignore[arg-type]
        replace(traced(0, 1100), **paced),  # type: ignore[arg-type]
        replace(traced(0, 5600, rows=600, lost=300), tracer="bpftrace"),
    ]
    rests = [Rest("floor", 0.006, None, 0.002), Rest("bpftrace", 0.15, 1.5, 0.0003)]
    run = Run(
        machine="a machine",
        kernel="Linux 6.0",
        command="python -m bench.overhead",
        rounds=1,
        cells=summarise(samples),
        rests=summarise_rests(rests),
        help_seconds=0.05,
        remarks=["strace: left out"],
    )
    expected = PAGE + f"- bpftrace: `{BY_NAME['bpftrace'].command}`\n"
    assert page(run) == expected


# ---- the C programs ----


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this session's programs go."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="session")
def load(built: Path) -> Path:
    """The load generator, compiled, where it can have a network namespace."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: cc")
    program = build_load(built)
    tried = subprocess.run(
        [program, "udp", "--netns", "--count", "1"], capture_output=True, text=True, check=False
    )
    if "unshare" in tried.stderr:
        pytest.skip(f"no network namespace of its own here: {tried.stderr.strip()}")
    return program


@pytest.fixture(scope="session")
def programs(built: Path, load: Path) -> Programs:
    """Both programs, where BPF programs may be loaded."""
    effective = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("CapEff"))
    if not all(int(effective.split()[1], 16) >> bit & 1 for bit in (38, 39)):  # CAP_PERFMON, CAP_BPF
        pytest.skip("needs CAP_PERFMON and CAP_BPF")
    try:
        return Programs(load=load, floor=build_floor(built))
    except BenchError as error:
        if "is not installed" not in str(error):
            raise
        pytest.skip(str(error))


REFUSED = {"ECONNREFUSED": 40}
COUNTS = [
    (["udp", "--count", "40"], 40, {}),
    (["udp", "--count", "41", "--threads", "2"], 41, {}),
    (["tcp", "--count", "40"], 40, {}),
    (["nonblock", "--count", "40"], 40, {}),
    (["unix", "--count", "40"], 40, {}),
    (["refused", "--count", "40"], 40, REFUSED),
    (["refused", "--count", "40", "--rate", "4000", "--threads", "4"], 40, REFUSED),
    (["mixed", "--count", "200"], 200, REFUSED),
]


@pytest.mark.parametrize(("argv", "attempts", "errnos"), COUNTS)
def test_the_generator_counts_what_strace_counts(
    argv: list[str], attempts: int, errnos: dict[str, int], load: Path, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no second opinion: strace is not installed")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=connect", "-o", str(trace), str(load), *argv, "--netns"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    report = json.loads(done.stdout)
    lines = trace.read_text()
    failed = sum(errnos.values())
    assert (
        {key: report[key] for key in ("mode", "attempts", "ok", "failed", "errnos", "complete")},
        lines.count("connect("),
        lines.count("ECONNREFUSED"),
    ) == (
        {
            "mode": argv[0],
            "attempts": attempts,
            "ok": attempts - failed,
            "failed": failed,
            "errnos": errnos,
            "complete": True,
        },
        attempts,
        failed,
    )


@pytest.mark.parametrize("mode", ["send", "send-udp", "sendto-udp", "sendto-unix"])
def test_the_generator_sends_what_it_reports(mode: str, load: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no second opinion: strace is not installed")
    trace = tmp_path / "trace"
    calls = ["strace", "-f", "-e", "trace=sendto,recvfrom", "-o", str(trace)]
    command = [*calls, str(load), mode, "--count", "100", "--netns"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = trace.read_text()
    named = lines.count("sa_family=")
    report = json.loads(done.stdout)
    assert (report["attempts"], report["ok"], report["complete"]) == (100, 100, True)
    assert (lines.count("sendto("), lines.count("recvfrom(")) == (100, 100)
    assert named == (100 if mode.startswith("sendto") else 0)


def test_getpid_makes_the_calls_that_it_reports_and_no_connect(load: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no second opinion: strace is not installed")
    trace = tmp_path / "trace"
    calls = "trace=getpid,connect"
    command = [
        "strace",
        "-f",
        "-e",
        calls,
        "-o",
        str(trace),
        str(load),
        "getpid",
        "--count",
        "100",
        "--netns",
    ]
    report = json.loads(
        subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    )
    own = 2  # the program's own: whether this is the main thread, and the pid in the report
    assert (
        report["attempts"],
        trace.read_text().count("getpid()") - own,
        "connect(" in trace.read_text(),
    ) == (
        100,
        100,
        False,
    )


def test_a_load_that_nobody_lets_go_makes_no_attempt(load: Path) -> None:
    done = subprocess.run(
        [load, "udp", "--netns", "--wait"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == b""


@pytest.mark.parametrize(
    "argv", [["sctp"], [], ["udp", "--count", "0"], ["udp", "--threads", "x"], ["udp", "tcp"]]
)
def test_usage_errors_of_the_generator(argv: list[str], load: Path) -> None:
    assert subprocess.run([load, *argv], capture_output=True, timeout=60, check=False).returncode == 2


def floor_sees(options: str, wanted: Load, programs: Programs) -> Tally:
    """What the floor, with more options, delivers of a load."""
    tracer = replace(BY_NAME["floor"], command=BY_NAME["floor"].command + options)
    with attached(tracer, wanted, programs) as session:
        session.go()
        session.report(60.0)
        return session.stop()


@pytest.mark.parametrize(
    ("options", "wanted", "expected"),
    [
        ("", Load("udp", 5000), Tally(5000, 0)),
        ("", Load("mixed", 500), Tally(500, 0)),
        ("", Load("udp", 5000, threads=2), Tally(5000, 0)),
        ("", Load("getpid", 500), Tally(0, 0)),
        (" --enter-only", Load("mixed", 500), Tally(500, 0)),
        # A ring of one page holds 15 records of 256 + 8 bytes and is drained at the end only.
        (" --ring-bytes 4096 --drain-ms 3600000", Load("udp", 5000), Tally(15, 4985)),
        (" --enter-only --ring-bytes 4096 --drain-ms 3600000", Load("udp", 5000), Tally(15, 4985)),
    ],
)
def test_the_floor_accounts_for_every_attempt(
    options: str, wanted: Load, expected: Tally, programs: Programs
) -> None:
    assert floor_sees(options, wanted, programs) == expected


def test_a_tracer_that_ends_at_once_is_told_from_a_slow_one(load: Path) -> None:
    broken = Tracer("broken", "sh -c 'echo no such hook >&2; exit 3'", no_tally)
    with (
        pytest.raises(BenchError, match=r"^broken: ended with 3 before it was ready: no such hook$"),
        attached(broken, Load("udp", 1), Programs(load, load)),
    ):
        pass


def test_a_wrapping_tracer_starts_the_load_itself(load: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with attached(BY_NAME["strace --seccomp-bpf"], Load("mixed", 50), Programs(load, load)) as session:
        session.go()
        report = session.report(60.0)
        assert (report["attempts"], session.stop()) == (50, Tally(50, 0))
