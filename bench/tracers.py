"""The tracers that are compared: their command lines and how to read what they delivered.

Rule: a tracer is one entry of TRACERS; nothing else in the benchmark knows a tracer by name, except that
``untraced`` is the base and ``floor`` the yardstick. In a command, ``{name}`` is replaced after splitting,
and ``{load}`` alone becomes the load generator's command line (for a tracer that starts what it traces).
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.build import BENCH

CALLOUT = BENCH.parent / ".venv" / "bin" / "callout"

# bpftrace reads the tracepoints' formats from a mounted tracefs: for it alone, in its own mount namespace.
BPFTRACE = (
    "unshare --mount --propagation private"
    " sh -c 'mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"' sh bpftrace --unsafe -o {out}"
)
CALLOUT_TRACE = "{callout} trace -w {out} --ready-file {ready} --summary {summary} -p {pid}"


@dataclass(frozen=True)
class Output:
    """What a tracer left behind: its standard streams, and the files named {out} and {summary}."""

    stdout: Path
    stderr: Path
    out: Path
    summary: Path


@dataclass(frozen=True)
class Tally:
    """Events that arrived, and events that the tracer itself says it lost."""

    rows: int
    lost: int


def floor_tally(output: Output) -> Tally:
    """The floor's own JSON line."""
    report = json.loads(output.stdout.read_text())
    return Tally(report["events"], report["lost"])


def bpftrace_tally(output: Output) -> Tally:
    """One line a row; ``Lost N events`` as bpftrace prints it for the perf buffer, to either stream."""
    text = output.out.read_text(errors="replace")
    said = text + output.stderr.read_text(errors="replace")
    lost = sum(int(count) for count in re.findall(r"Lost (\d+) events", said))
    return Tally(len(re.findall(r"^connect ", text, re.MULTILINE)), lost)


def count_tally(output: Output) -> Tally:
    """The value of the map @connects that bpftrace prints at its end."""
    found = re.search(r"^@connects: (\d+)", output.out.read_text(), re.MULTILINE)
    return Tally(int(found[1]) if found else 0, 0)


def strace_tally(output: Output) -> Tally:
    """One ``connect(`` a call, be it printed whole or as ``<unfinished ...>``; ptrace loses nothing."""
    return Tally(output.out.read_text(errors="replace").count("connect("), 0)


def summary_tally(output: Output) -> Tally:
    """The object that ``callout trace --summary`` writes: rows, and losses by kind."""
    summary = json.loads(output.summary.read_text())
    return Tally(summary["rows"], summary["lost"])


def no_tally(output: Output) -> Tally:
    """Nothing traces, nothing is delivered."""
    return Tally(0, 0)


@dataclass(frozen=True)
class Tracer:
    """One way to watch connect(2).

    ``command``: empty for no tracer. ``wraps``: it starts the load itself instead of attaching to its pid.
    ``most``: upper bound of attempts in one run, for tracers so slow that more would only take time.
    ``row_mark``: bytes that {out} holds once the first row is written; empty when it cannot be seen there.
    ``exact``: rows and counted losses must add up to the attempts. Not so where a perf buffer is read: its
    losses come with the next event that fits (PERF_RECORD_LOST, perf_event_open(2)), and so the last never.
    It is stopped with SIGINT once the load is done, unless it wraps: then it ends with the load.
    """

    name: str
    command: str
    tally: Callable[[Output], Tally]
    needs: tuple[str, ...] = ()
    wraps: bool = False
    most: int = 1 << 62
    row_mark: bytes = b""
    exact: bool = True

    def missing(self) -> tuple[str, ...]:
        """Programs that it needs and that are not installed."""
        return tuple(name for name in self.needs if shutil.which(name) is None)

    def argv(self, values: Mapping[str, str], load: Sequence[str]) -> list[str]:
        """The command line; raises KeyError for a placeholder that has no value."""
        words: list[str] = []
        for word in shlex.split(self.command):
            words.extend(load if word == "{load}" else [word.format_map(values)])
        return words


UNTRACED, FLOOR = "untraced", "floor"

TRACERS = (
    Tracer(UNTRACED, "", no_tally),
    Tracer(FLOOR, "{floor} --pid {pid} --ready-file {ready}", floor_tally),
    Tracer("floor, enter only", "{floor} --enter-only --pid {pid} --ready-file {ready}", floor_tally),
    Tracer("callout, arrow", CALLOUT_TRACE + " -o arrow", summary_tally, (str(CALLOUT),)),
    Tracer(
        "callout, arrow, --no-names", CALLOUT_TRACE + " -o arrow --no-names", summary_tally, (str(CALLOUT),)
    ),
    Tracer("callout, ndjson", CALLOUT_TRACE + " -o ndjson", summary_tally, (str(CALLOUT),), row_mark=b"{"),
    Tracer(
        "bpftrace",
        BPFTRACE + " {bench}/connect.bt {pid} {ready}",
        bpftrace_tally,
        ("bpftrace", "unshare"),
        exact=False,
    ),
    Tracer(
        "bpftrace, count()",
        BPFTRACE + " {bench}/count.bt {pid} {ready}",
        count_tally,
        ("bpftrace", "unshare"),
    ),
    Tracer(
        "strace --seccomp-bpf",
        "strace -f --seccomp-bpf -e trace=connect -o {out} {load}",
        strace_tally,
        ("strace",),
        wraps=True,
        most=20_000,
        row_mark=b"connect(",
    ),
)


def chosen(names: Sequence[str]) -> tuple[tuple[Tracer, ...], tuple[str, ...]]:
    """Tracers by the beginning of their name (all without names), and a remark on each that cannot run.

    ``untraced`` always comes along, first: everything else is a difference to it. Raises ValueError for a
    name that begins none.
    """
    for name in names:
        if not any(tracer.name.startswith(name) for tracer in TRACERS):
            raise ValueError(f"no tracer is called {name!r}; there are: {'; '.join(t.name for t in TRACERS)}")
    wanted = [t for t in TRACERS if t.name == UNTRACED or not names or t.name.startswith(tuple(names))]
    able = tuple(tracer for tracer in wanted if not tracer.missing())
    remarks = tuple(
        f"{tracer.name}: left out, not installed: {', '.join(Path(name).name for name in tracer.missing())}"
        for tracer in wanted
        if tracer.missing()
    )
    return able, remarks
