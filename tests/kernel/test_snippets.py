"""The code that `callout lab` shows: it compiles without a warning, holds the very bytes, and does what it says."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from callout import laboratory
from callout.capture.kernel import KernelSource
from callout.errors import NotPermittedError
from callout.lab import SCENARIOS, Scenario, snippet, snippet_c, snippet_python
from callout.lab.report import Attempt
from callout.lab.seen import claimed
from callout.narrowing import Narrowing
from callout.verdict import errno_name

from .watch import PATIENCE, TIER, Watch

pytestmark = pytest.mark.kernel
GCC = ["gcc", "-Wall", "-Werror"]

# Those whose calls need nothing around them but a network namespace with its loopback up.
SAMPLE = (
    "tcp_refused", "tcp_nb_refused", "bad_fd", "not_socket", "not_sockets", "bad_pointer", "bad_length", "tcp_badlen",
    "family_mismatch", "check_order", "unknown_family", "tcp_any_port0", "tcp6_refused", "v6_noroute", "v6_noscope",
    "v6_v4mapped_badbind", "tcp6_in4", "udp_ok", "udp_unspec", "udp_unspec_short", "udp_reconnect", "udp6", "udp_wrong",
    "un_wrong", "un_self", "raw_con", "packet_con", "netlink_con", "netlink_misc", "tcp_self", "tfo_unspec", "v6_flow",
)  # fmt: skip


@pytest.fixture(scope="module")
def made() -> dict[str, list[Attempt]]:
    """The attempts that the laboratory itself makes, by scenario."""
    try:
        run = laboratory.run(SCENARIOS, untraced="only the reports are needed")
    except NotPermittedError as error:
        pytest.skip(f"needs root or user namespaces: {error.message}")
    found: dict[str, list[Attempt]] = {}
    for attempt in run.seen.attempts:
        if not attempt.command:
            found.setdefault(attempt.scenario, []).append(attempt)
    return found


def built(source: str, options: tuple[str, ...], directory: Path) -> Path:
    """The program of a source; fails with the compiler's words."""
    file = directory / "snippet.c"
    file.write_text(source)
    done = subprocess.run(
        [*GCC, str(file), "-o", str(directory / "snippet"), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{source}\n{done.stderr}"
    return directory / "snippet"


@pytest.fixture
def gcc() -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")


@pytest.mark.usefixtures("gcc")
def test_every_c_snippet_compiles(made: dict[str, list[Attempt]], tmp_path: Path) -> None:
    """All in one run of the compiler by kind of options; each is a function of its own."""
    by_options: dict[tuple[str, ...], set[str]] = {}
    for attempts in made.values():
        by_options.setdefault(snippet_c.options(attempts), set()).add("\n".join(snippet_c.lines(attempts)))
    for options, bodies in by_options.items():
        needed = missing_for(options)
        if needed:
            pytest.skip(needed)
        functions = "\n".join(f"void f{n}(void) {{\n{body}\n}}" for n, body in enumerate(sorted(bodies)))
        headers = snippet_c.headers(options)
        built(f"{headers}\n{functions}\nint main(void) {{ return 0; }}\n", options, tmp_path)


def missing_for(options: tuple[str, ...]) -> str:
    """What the machine lacks for compiler options; empty for nothing."""
    probe = "#include <liburing.h>\n" if "-luring" in options else "#include <sys/socket.h>\n"
    done = subprocess.run(
        ["gcc", "-x", "c", "-", "-o", os.devnull, *options],
        input=f"{probe}int main(void) {{ return 0; }}\n", text=True, capture_output=True, check=False,
    )  # fmt: skip
    return f"needs gcc with {' '.join(options)}: {done.stderr.splitlines()[0]}" if done.returncode else ""


@pytest.mark.usefixtures("gcc")
def test_c_addresses_have_the_very_bytes(made: dict[str, list[Attempt]], tmp_path: Path) -> None:
    checks = []
    addresses = {
        call.address for attempts in made.values() for call in snippet.calls(attempts) if call.address
    }
    for number, data in enumerate(sorted(addresses)):
        declaration, size = snippet_c.address(data, "peer")
        expected = ", ".join(map(str, data))
        checks.append(
            f"{{ {' '.join(declaration)}\n  unsigned char expected[] = {{{expected}}};\n"
            f"  if ({size} != sizeof expected || memcmp(&peer, expected, sizeof expected))"
            f' printf("{number}: {data.hex()}\\n"); }}'
        )
    source = snippet_c.HEADERS + "int main(void) {\n" + "\n".join(checks) + "\nreturn 0; }\n"
    done = subprocess.run([built(source, (), tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert len(checks) > 100


def test_every_python_snippet_compiles(made: dict[str, list[Attempt]]) -> None:
    for name, attempts in made.items():
        assert compile(snippet_python.program(attempts), name, "exec")


class Private:
    """Commands in a network namespace with its loopback up."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One command in a namespace of its own."""
        inner = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        return subprocess.run(
            ["unshare", "--net", *inner], capture_output=True, text=True, check=False, timeout=PATIENCE
        )


def errors(attempts: list[Attempt]) -> list[str]:
    """What C snippets print: a line for each call that fails."""
    lines = []
    for attempt in attempts:
        number = -(attempt.return_ or 0)
        name = errno_name(number) if number else attempt.error if attempt.call.startswith("send") else None
        if name:
            word = "sendto" if attempt.call.startswith("send") else "connect"
            lines.append(f"{word}: {os.strerror(getattr(errno, name))}")
    return lines


@pytest.fixture
def private() -> Private:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare (apt install util-linux)")
    return Private()


@pytest.mark.usefixtures("gcc")
@pytest.mark.parametrize("name", SAMPLE)
def test_c_does_what_it_says_and_the_row_is_the_scenarios(
    made: dict[str, list[Attempt]], private: Private, tmp_path: Path, name: str
) -> None:
    if name not in made:
        pytest.skip("not possible here")
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == name)
    program = built(snippet_c.program(made[name]), snippet_c.options(made[name]), tmp_path)
    with KernelSource(Narrowing(comms=frozenset({"snippet"})), TIER) as source:
        assert source.tier is not None
        watch = Watch(source)
        done = private.run(str(program))
        assert (done.returncode, done.stderr.splitlines()) == (0, errors(made[name]))
        wanted = rows_of(scenario, source.tier.name)
        rows = watch.rows(len(wanted))
    for claim, row in zip(wanted, rows, strict=True):
        assert {field: row.get(field) for field in claim} == claim


def rows_of(scenario: Scenario, tier: str) -> list[dict[str, object]]:
    """The rows that a scenario claims on a tier."""
    visible = [e for e in scenario.expected if e.seen_by is None or tier in e.seen_by]
    return [claimed(expected, tier) for expected in visible]


@pytest.mark.parametrize("name", [name for name in SAMPLE if not name.startswith("tfo")])  # those raise
def test_python_does_what_it_says(
    made: dict[str, list[Attempt]], private: Private, tmp_path: Path, name: str
) -> None:
    if name not in made:
        pytest.skip("not possible here")
    file = tmp_path / "snippet.py"
    file.write_text(snippet_python.program(made[name]))
    done = private.run(sys.executable, str(file))
    assert (done.returncode, done.stderr) == (0, "")
    told = [re.fullmatch(r"(-?\d+)(?: (\d+))?", line) for line in done.stdout.splitlines()]
    numbers = []
    for match in told:
        assert match, done.stdout
        numbers.append(int(match[1]) if match[2] is None else (int(match[2]) if match[1] == "-1" else 0))
    assert numbers == [-(attempt.return_ or 0) for attempt in made[name]]
