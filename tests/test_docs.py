"""The documents: what is generated is up to date, links lead somewhere, and every command does what is shown.

Commands stand in ```console blocks, after `$ `, followed by what they print on a terminal of 80 columns. `…`
stands for anything, on a line of its own for any lines. A block with `sudo` is live: it needs a kernel that
can be traced, sees also what others on this host do, and has durations and process numbers of its own. There
each record that is shown must come, in any order, whatever else comes.
"""

from __future__ import annotations

import importlib.util
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from callout.expression import parse
from callout.schema import FIELD_TYPES

HOME = Path(__file__).resolve().parent.parent
PAGES = [HOME / "README.md", HOME / "CONTRIBUTING.md", *sorted((HOME / "docs").glob("*.md"))]
PATIENCE = 120.0  # seconds after which a command hangs; none that is shown needs ten

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TOTALS = re.compile(r"[\d,]+ attempts? in |not shown: |not followed to the end: |LOST ")
# `callout` is the one under test, and whoever may run these tests needs no sudo
SHELL = 'callout() { "$PYTHON" -m callout "$@"; }; sudo() { "$@"; }; set -o pipefail; '


class Step(NamedTuple):
    """One command and what it prints."""

    command: str
    output: str


class Block(NamedTuple):
    """Commands that follow each other, and where they stand."""

    place: str
    steps: tuple[Step, ...]
    live: bool


def fenced(kind: str) -> Iterator[tuple[str, str]]:
    """Place and text of every fenced block of a kind."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] == kind:
                yield f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}", match[2]


def steps(text: str) -> tuple[Step, ...]:
    """Commands and outputs; a command goes on after a backslash at the end of its line."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", "a console block begins with a command"
    return tuple(Step(command, output) for command, output in zip(parts[1::2], parts[2::2], strict=True))


def blocks() -> Iterator[Any]:
    """Every console block, as a parameter."""
    for place, text in fenced("console"):
        block = Block(place, steps(text), live="$ sudo " in text)
        yield pytest.param(block, id=place, marks=pytest.mark.kernel if block.live else ())


def terminal(command: str, directory: Path) -> tuple[int, str]:
    """Status and output of a command on a terminal of 80 columns and 24 lines, without colours."""
    environment = {**os.environ, "PYTHON": sys.executable, "NO_COLOR": "1", "TERM": "xterm", "TZ": "UTC"}
    environment.pop("COLUMNS", None)
    leader, follower = pty.openpty()
    try:
        termios.tcsetwinsize(follower, (24, 80))
        process = subprocess.Popen(
            ["bash", "-c", SHELL + command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        try:
            written = drained(leader, time.monotonic() + PATIENCE)
            status = process.wait(PATIENCE)
        finally:
            process.kill()
    finally:
        os.close(leader)
    text = written.decode().replace("\r\n", "\n")
    return status, re.sub(r"\x1b\[[0-9;]*m", "", text)  # jq before 1.7 does not know NO_COLOR


def drained(terminal: int, end: float) -> bytes:
    """All that comes from a terminal until its last user closes it."""
    parts: list[bytes] = []
    while True:
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], b"".join(parts)[-2000:]
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more (pty(7))
            return b"".join(parts)
        parts.append(part)


def pattern(shown: str) -> re.Pattern[str]:
    """What is shown, as an expression in which `…` is anything."""
    text = re.escape(shown).replace("\\\n", "\n")
    return re.compile(re.sub(r"(?m)^…(\n|\Z)", "(?s:.*)", text).replace("…", ".*"))


def steady(line: str) -> str:
    """A line without what differs from run to run: durations, times, process numbers, width of columns."""
    line = re.sub(r"  +[\d.]+(ns|µs|ms|s)$", "", line)
    line = re.sub(r"\d\d:\d\d:\d\d\.\d+|<\d+\.\d+>|(?<=after )[\d.]+(ns|µs|ms|s)", "…", line)
    line = re.sub(r"\[\d+\]|\[pid +\d+\]", "[…]", line)
    line = re.sub(r"connect\(\d+,", "connect(…,", line)
    return re.sub(r" {2,}", " ", line.rstrip())


def records(text: str) -> list[str]:
    """Lines with the indented ones that belong to them; without totals, which count everybody's attempts."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and found:
            # error and cause go to a line of their own where a long process number takes their room
            joint = " " if line.strip().startswith("(") else "\n"
            found[-1] = steady(found[-1]) + joint + steady(line).strip()
        else:
            found.append(steady(line))
    return [record for record in found if not TOTALS.match(record) and record != "…"]


def missing(shown: str, came: str) -> list[str]:
    """The records shown that did not come, each one counted once."""
    left = records(came)
    lacking = []
    for record in records(shown):
        fitting = next((one for one in left if pattern(record).fullmatch(one)), None)
        if fitting is None:
            lacking.append(record)
        else:
            left.remove(fitting)
    return lacking


@pytest.mark.parametrize("block", list(blocks()))
def test_commands_do_what_is_shown(block: Block, tmp_path: Path) -> None:
    for step in block.steps:
        words = set(re.findall(r"[\w.-]+", step.command))
        lacking = [tool for tool in ("jq",) if tool in words and not shutil.which(tool)]
        if lacking:
            pytest.skip(f"{block.place}: {', '.join(lacking)} is not installed")
        status, output = terminal(step.command, tmp_path)
        assert (status != 0) == step.output.startswith("callout: "), (step.command, status, output)
        if block.live:
            assert missing(step.output, output) == [], output
            assert bool(TOTALS.search(step.output)) <= bool(TOTALS.search(output)), output
        elif not pattern(step.output).fullmatch(output):
            assert output == step.output, step.command


@pytest.mark.kernel
@pytest.mark.parametrize("code", [pytest.param(text, id=place) for place, text in fenced("python")])
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", [line for _, block in fenced("filter") for line in block.splitlines()])
def test_filters_parse(text: str) -> None:
    assert str(parse(str(parse(text, FIELD_TYPES)), FIELD_TYPES)) == str(parse(text, FIELD_TYPES))


def generator() -> ModuleType:
    """scripts/docs.py as a module."""
    spec = importlib.util.spec_from_file_location("docs", HOME / "scripts/docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.object
def test_generated_parts_are_up_to_date() -> None:
    pages: dict[Path, str] = generator().pages()
    assert {path.name for path in pages} == {
        "cli.md",
        "fields.md",
        "filters.md",
        "lab.md",
        "limitations.md",
        "verdicts.md",
    }
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make docs`"


@pytest.mark.object
def test_every_generated_part_stands_somewhere() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert sorted(re.findall(r"<!-- generated: ([a-z-]+) -->", text)) == sorted(generator().PARTS)


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """docs/overhead.md is written by `make bench`, on a quiet machine: until then the Makefile vouches."""
    promised = set(re.findall(r"writes (docs/\w+\.md)", (HOME / "Makefile").read_text(encoding="utf-8")))
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(HOME), link
        if not target.exists():
            assert str(target.relative_to(HOME)) in promised, f"{page.name}: {link}"
        elif anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_targets_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) - targets == set()
    named = re.findall(r"`((?:bpf|src|scripts|tests|bench|docs|native)/[\w./-]+)`", text)
    assert [name for name in named if not (HOME / name).exists()] == []


def test_the_comparison_sees_differences() -> None:
    shown = "a[1] → b   refused (X: y)  16.7µs\n    why\n…\n2 attempts in 1.00s: 1 refused\n"
    assert missing(shown, "z[3] → q  established\na[22] → b  refused (X: y)  1.2ms\n    why\n") == []
    assert missing(shown, "a[22] → b  refused (X: z)  1.2ms\n    why\n") == ["a[…] → b refused (X: y)\nwhy"]
    assert missing("a\na\n", "a\n") == ["a"]
    assert pattern("x … z\n…\n").fullmatch("x y z\n1\n2\n")
    assert not pattern("x … z\n").fullmatch("x y z\n1\n")
    assert steps("$ a \\\n  b\n1\n2\n$ c\n") == (Step("a \\\n  b", "1\n2\n"), Step("c", ""))
