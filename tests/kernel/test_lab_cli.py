"""`callout lab` as a user runs it: list, run, check and step by step, with root and without."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from callout.lab import SCENARIOS, child

from .test_lab_namespace import interpreter_of_nobody
from .watch import CALLOUT, PATIENCE, TIER, run

pytestmark = pytest.mark.kernel
NOBODY = 65534
ON = ["--tier", TIER] if TIER else []
QUICK = [s.name for s in SCENARIOS if not s.slow and not s.needs and not s.forks and not s.alone][:12]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_run_shows_code_row_and_reason() -> None:
    done = run(["lab", "tcp_refused", *ON, "-o", "table"])
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "int fd = socket(AF_INET, SOCK_STREAM, 0);",
        'fd.connect_ex(("127.0.0.1", 5432))',
        'sin_addr=inet_addr("127.0.0.1")}, 16) = -1 ECONNREFUSED (Connection refused)',
        "refused (ECONNREFUSED: no_listener)",
        "Nothing listens on that port of this host.",
    ):
        assert words in done.stdout


def test_a_swapped_address_is_told() -> None:
    done = run(["lab", "swap_datagram", *ON, "-o", "ndjson"])
    (scene,) = lines(done.stdout)
    if scene["impossible"]:
        pytest.skip(scene["impossible"])
    (attempt,) = scene["attempts"]
    assert attempt["why"] == (
        "it was sent to that peer; the caller's memory had {sa_family=AF_INET, sin_port=htons(8956), "
        'sin_addr=inet_addr("127.0.0.1")} around the kernel\'s copy, which used 127.0.0.2:8956'
    )
    assert attempt["row"]["destination"] == {"ip": "127.0.0.2", "port": 8956}
    assert 'sin_addr=inet_addr("127.0.0.1")' in attempt["strace"]  # what who reads memory believes


def test_run_as_ndjson_has_the_whole_row() -> None:
    done = run(["lab", "run", "tcp_refused", "udp_late", *ON])
    refused, late = lines(done.stdout)
    (attempt,) = refused["attempts"]
    assert attempt["claimed"]["connect.verdict"] == attempt["row"]["connect"]["verdict"] == "refused"
    assert attempt["row"]["destination"] == {"ip": "127.0.0.1", "port": 5432}
    assert [row["connect"]["cause"] for row in late["attempts"][0]["later"]] == ["icmp_port_unreachable"]
    assert (refused["differences"], late["differences"]) == ([], [])


def test_names_are_patterns_and_come_in_the_order_of_the_list() -> None:
    done = run(["lab", "run", "udp_u*", "tcp_ok", "udp_ok", *ON, "-o", "ndjson"])
    assert [one["name"] for one in lines(done.stdout)] == [
        "tcp_ok",
        "udp_ok",
        "udp_unspec",
        "udp_unspec_short",
    ]


def test_check_finds_all_as_claimed_or_known() -> None:
    done = run(["lab", "check", *ON])
    found = lines(done.stdout)
    assert [one["name"] for one in found] == [scenario.name for scenario in SCENARIOS]
    wrong = [one for one in found if one["result"] not in ("as claimed", "known", "impossible")]
    assert (wrong, done.returncode) == ([], 0)
    assert all(one["reason"] for one in found if one["result"] in ("known", "impossible"))


LIAR = """
import dataclasses, sys
from callout import lab
from callout.cli import main
from callout.lab import outcomes
liar = dataclasses.replace(lab.SCENARIOS[1], expected=(outcomes.ESTABLISHED,))
lab.SCENARIOS = (liar,)
sys.exit(main(["lab", "check", "-o", sys.argv[1], *sys.argv[2:]]))
"""


@pytest.mark.parametrize("form", ["table", "ndjson"])
def test_check_fails_where_a_claim_is_wrong(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIAR, form, *ON], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    for words in (
        "the call's return is -ECONNREFUSED, claimed 0",
        "connect.verdict is refused, claimed established",
    ):
        assert words in done.stdout


def test_nobody_sees_what_happened_and_is_told_why_there_is_no_row() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become nobody")
    import numpy

    path = os.pathsep.join([str(child.ROOT), str(Path(numpy.__file__).parents[1])])

    def as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [interpreter_of_nobody(), "-B", *words], env={"PATH": os.environ["PATH"], "PYTHONPATH": path}, cwd="/",
            user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    if (probe := as_nobody("-c", "import numpy")).returncode:
        pytest.skip(f"nobody's Python has no NumPy: {probe.stderr.strip()[-100:]}")
    done = as_nobody("-m", "callout", "lab", "tcp_refused", "un_eacces", "-o", "table")
    if done.returncode == 3:
        pytest.skip(f"needs user namespaces: {done.stderr}")
    assert done.stderr.startswith("callout: not traced: tracing this host needs CAP_BPF")
    assert done.stderr.count("\n") == 1
    assert "= -1 ECONNREFUSED (Connection refused)" in done.stdout
    assert "not possible here: only one user exists in this user namespace (run it as root)" in done.stdout
    assert "callout-demo[" not in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lab", "tcp_refusd"], "there is no scenario 'tcp_refusd'\n  did you mean tcp_refused"),
        (["lab", "run"], "which scenarios?"),
        (["lab", "run", "--all", "tcp_ok"], "give names or --all, not both"),
        (["lab", "list", "nonesuchword"], "no scenario has 'nonesuchword'"),
        (["lab", "check", "--pause"], "--pause goes with run"),
        (["lab", "run", "tcp_ok", "--pause", "-o", "table"], "standard input is no terminal"),
        (["lab", "run", "tcp_ok", "--pause", "-o", "ndjson"], "--pause is for people"),
    ],
)
def test_what_cannot_be_done_is_told(words: list[str], message: str) -> None:
    done = run(words, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_list_finds_words() -> None:
    done = run(["lab", "list", "af_unix", "EAGAIN"])
    found = lines(done.stdout)
    assert {"un_eagain", "unix_eagain"} <= {one["name"] for one in found}
    assert all("EAGAIN" in one["errno"] and one["family"] == ["AF_UNIX"] for one in found)


def test_pause_makes_each_call_when_enter_is_pressed() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*CALLOUT, "lab", "run", "eisconn", "--pause", *ON, "-o", "table"],
        stdin=follower, stdout=follower, stderr=follower, env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
    )  # fmt: skip
    os.close(follower)
    text = ""
    presses = 0
    end = time.monotonic() + PATIENCE
    try:
        while True:
            assert time.monotonic() < end, text
            if not select.select([leader], [], [], 1)[0]:
                continue
            try:
                part = os.read(leader, 65536)
            except OSError:  # EIO: the other end is closed
                break
            text += part.decode()
            if text.count("-- Enter ") > presses:
                if presses == 1:
                    assert "established" not in text  # the first call has not been made
                presses += 1
                os.write(leader, b"\n")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert presses == 3
    assert text.index("-- Enter to make the call") < text.index("-- Enter to make the next call")
    assert text.index("-- Enter to make the next call") < text.index("(EISCONN: already_connected)")


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    """No process and no cgroup, also after Ctrl-C."""
    from callout.capture.cgroups import hierarchy

    def groups() -> set[str]:
        root = hierarchy()
        return (
            set() if root is None else {name for name in os.listdir(root) if name.startswith("callout-lab")}
        )

    before = groups()
    process = subprocess.Popen([*CALLOUT, "lab", "run", "tcp_unanswered", *ON], stdout=subprocess.PIPE)
    end = time.monotonic() + PATIENCE
    while hierarchy() and os.geteuid() == 0 and not groups() - before:
        assert time.monotonic() < end
        assert process.poll() is None
        os.sched_yield()
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + 15
    assert groups() <= before
