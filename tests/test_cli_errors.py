"""The command line when something is wrong: one clear line, what to do about it, and an exit status."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

HELP = "  `callout trace --help` lists what there is"
ELSEWHERE = "  give a file in a directory that you may write to"
ROW = (
    '{"@timestamp":"2024-01-01T00:00:00.000000001Z","event":{"action":"connect","outcome":"success"},'
    '"process":{"pid":7},"connect":{"id":1,"verdict":"established"}}\n'
)


def callout(
    *words: str,
    before: Sequence[str] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a real run."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "callout", *words],
        stdin=stdin,
        stdout=stdout,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout or "", done.stderr


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "attempts.ndjson"
    path.write_text(ROW)
    return path


def test_the_recording_of_these_tests_is_a_good_one(recording: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    status, out, _ = callout("trace", "--from", str(recording), "--ready-file", str(ready))
    assert (status, out) == (0, ROW)
    assert ready.read_text() == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        # the command line itself
        ([], ["the following arguments are required: VERB", "  `callout --help` lists what there is"]),
        (
            ["trace", "--frobnicate"],
            ["unrecognized arguments: --frobnicate", "  `callout --help` lists what there is"],
        ),
        (["trace", "-Z", "-z"], ["argument -z/--succeeded: not allowed with argument -Z/--failed", HELP]),
        # durations and numbers
        *(
            (
                ["trace", *words],
                [
                    "argument --for: '-5' is not a duration: give seconds, or a number with ms, s, m or h",
                    HELP,
                ],
            )
            for words in (["--for", "-5"], ["--for=-5"])
        ),
        (["trace", "--count", "-1"], ["argument --count: '-1' is not a whole number from 1 on", HELP]),
        (["trace", "-P", "-4"], ["argument -P/--port: '-4' is not a port (0 to 65535)", HELP]),
        (["trace", "--for", "-Z"], ["argument --for: expected one argument", HELP]),
        (
            ["trace", "--for", "soon"],
            ["argument --for: 'soon' is not a duration: give seconds, or a number with ms, s, m or h", HELP],
        ),
        (["trace", "--for", "0"], ["argument --for: '0' is not a duration: it must be more than 0", HELP]),
        (["trace", "--count", "0"], ["argument --count: '0' is not a whole number from 1 on", HELP]),
        (["trace", "-P", "70000"], ["argument -P/--port: '70000' is not a port (0 to 65535)", HELP]),
        (["trace", "-P", "https"], ["argument -P/--port: 'https' is not a port (0 to 65535)", HELP]),
        (["trace", "-p", "x"], ["argument -p/--pid: 'x' is not a process id (1 to 4194304)", HELP]),
        # what is not on this host
        (
            ["trace", "-u", "no such user"],
            ["argument -u/--user: there is no user 'no such user' on this host", HELP],
        ),
        (["trace", "-p", "4194304"], ["there is no process 4194304", "  `ps -e` lists those that there are"]),
        # filters: a caret under the place
        (
            ["trace", "destination.prot = 443"],
            [
                "filter: unknown field 'destination.prot' (column 1)",
                "  destination.prot = 443",
                "  ^",
                "near it: destination.port, destination.ip, destination.bytes",
            ],
        ),
        (
            ["trace", "-4", "user.id = 0 and", "("],
            [
                "filter: expected a condition, but the expression ends here (column 18)",
                "  user.id = 0 and (",
                "                   ^",
            ],
        ),
        # explain
        (
            ["explain", "--sockaddr", "0200 zz"],
            ["--sockaddr: 'z' is not a hexadecimal digit", "  give bytes such as 02 00 00 50 7f 00 00 01"],
        ),
        (
            ["explain", "--sockaddr", "020"],
            ["--sockaddr: 3 hexadecimal digits do not make whole bytes", "  give two digits a byte"],
        ),
        (
            ["explain", "--sockaddr", "0200", "--addrlen", "x"],
            ["argument --addrlen: invalid int value: 'x'", "  `callout explain --help` lists what there is"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_usage(words: list[str], told: list[str]) -> None:
    assert callout(*words) == (2, "", "callout: " + "\n".join(told) + "\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["frobnicate"], "callout: argument VERB: invalid choice: 'frobnicate' (choose from "),
        (["trace", "-o", "yaml"], "callout: argument -o/--output: invalid choice: 'yaml' (choose from "),
        (["trace", "--tier", "x"], "callout: argument --tier: invalid choice: 'x' (choose from "),
        (
            ["explain", "--sockaddr", "02", "-X", "x"],
            "callout: argument -X/--style: invalid choice: 'x' (choose from ",
        ),
    ],
)
def test_choices(words: list[str], told: str) -> None:
    """How choices are quoted depends on the version of Python; that they and a remedy are there does not."""
    status, out, err = callout(*words)
    assert (status, out, err[: len(told)]) == (2, "", told)
    assert len(err.splitlines()) == 2
    assert err.endswith(" --help` lists what there is\n")


@pytest.mark.parametrize("option", ["-w", "--ready-file"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/file", "No such file or directory"),
        (".", "Is a directory"),
        ("attempts.ndjson/x", "Not a directory"),
    ],
)
def test_files_that_cannot_be_written(recording: Path, option: str, name: str, reason: str) -> None:
    path = recording.parent / name
    status, out, err = callout("trace", "--from", str(recording), option, str(path))
    assert (status, out, err) == (2, "", f"callout: cannot write {path}: {reason}\n{ELSEWHERE}\n")
    if reason != "Is a directory":
        assert sorted(recording.parent.iterdir()) == [recording]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "No such file or directory\n  give a file that -w wrote, or - for standard input"),
        (".", "Is a directory\n  give one file of it"),
    ],
    ids=["missing", "directory"],
)
def test_recordings_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    told = f"callout: {tmp_path / name}: {reason}\n"
    assert callout("trace", "--from", str(tmp_path / name)) == (4, "", told)


def test_options_that_are_for_live_tracing(recording: Path) -> None:
    status, out, err = callout("trace", "--from", str(recording), "--phases")
    options = "--demo, --tier, --sends, --ia32, --phases, --hash and -e"
    told = f"callout: --from reads a file: {options} are for live tracing\n"
    assert (status, out, err) == (2, "", told)


def test_without_the_rights(tmp_path: Path) -> None:
    """Root without capabilities, or whoever runs this. The output is not even created."""
    before: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv (util-linux) is missing: root's capabilities cannot be dropped")
        before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    path = tmp_path / "out.ndjson"
    assert callout("trace", "-w", str(path), before=before) == (
        3,
        "",
        "callout: tracing this host needs CAP_BPF and CAP_PERFMON and CAP_NET_ADMIN\n"
        "  run it as root: sudo callout ...; in a service, grant them with AmbientCapabilities=\n",
    )
    assert not path.exists()


def test_a_reader_that_went_away_is_no_error(recording: Path) -> None:
    """`callout trace | head -1`"""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        status, _, err = callout("trace", "--from", str(recording), stdout=writing)
    finally:
        os.close(writing)
    assert (status, err) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["trace", "explain --sockaddr 0200"])
def test_standard_output_is_full(recording: Path, words: str, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    given = [*words.split(), *(["--from", str(recording)] if words == "trace" else [])]
    with open("/dev/full", "w") as full:
        status, _, err = callout(*given, stdout=full.fileno(), env=environment)
    assert status == 1
    assert err.splitlines()[-1] == "callout: cannot write standard output: No space left on device"
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("form", ["ndjson", "strace", "table", "arrow"])
@pytest.mark.parametrize("where", ["-w", "stdout"])
def test_a_full_disk(recording: Path, tmp_path: Path, where: str, form: str) -> None:
    """One line, after the totals; what was not written is lost."""
    summary = tmp_path / "summary"
    words = ["trace", "--from", str(recording), "-o", form, "--summary", str(summary)]
    with open("/dev/full", "w") as full:
        if where == "-w":
            status, _, err = callout(*words, "-w", "/dev/full")
        else:
            status, _, err = callout(*words, stdout=full.fileno())
    place = "/dev/full" if where == "-w" else "standard output"
    totals = re.sub(r" in [\d.]+.?s", "", err).splitlines()
    assert totals == [
        "1 attempt",
        "LOST 1 attempt: what is shown is incomplete",
        f"callout: cannot write {place}: No space left on device",
    ]
    assert status == 1
    found = json.loads(summary.read_text())
    assert found["attempts"] == found["rows"] + found["lost"] == 1


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
from callout.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("out.ndjson", ""),
        ("out.parquet", "\n  the rows up to here are in {}.partial, which --from reads"),
    ],
)
def test_a_file_that_may_not_grow(recording: Path, tmp_path: Path, name: str, remedy: str) -> None:
    """Between two batches: what was written can be read back, and the rest is counted."""
    count, path, summary = 20_000, tmp_path / name, tmp_path / "summary"
    recording.write_text("".join(ROW.replace('"id":1', f'"id":{number}') for number in range(count)))
    words = ["trace", "--from", str(recording), "-w", str(path), "--summary", str(summary)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    told = f"callout: cannot write {path}: File too large" + remedy.format(path)
    assert done.stderr.endswith(f"what is shown is incomplete\n{told}\n")
    totals = json.loads(summary.read_text())
    assert totals["attempts"] == totals["rows"] + totals["lost"] < count
    assert totals["lost"] > 0
    status, out, err = callout("trace", "--from", str(path))
    assert status == 0, err
    assert all(line + "\n" == ROW.replace('"id":1', f'"id":{i}') for i, line in enumerate(out.splitlines()))


def test_closed_streams(recording: Path) -> None:
    """As `>&-` leaves them: Python has no such stream then, and the next file gets its number."""
    words = f"'{sys.executable}' -m callout trace --from"

    def shell(command: str) -> tuple[int, str, str]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    assert shell(f"{words} '{recording}' >&-") == (
        2,
        "",
        "callout: standard output is closed\n  use -w FILE\n",
    )
    assert shell(f"{words} - <&-") == (
        4,
        "",
        "callout: standard input is closed\n  give a file instead of -\n",
    )
    assert shell(f"{words} '{recording}' 2>&-") == (0, ROW, "")
    assert shell(f"{words} '{recording}' 2>/dev/full") == (0, ROW, "")
    assert shell(f"{words} '{recording}' <&-")[:2] == (0, ROW)


SAME = "is the very file that --from reads\n  write to another, then rename it\n"


@pytest.mark.parametrize("option", ["-w", "--summary", "--ready-file"])
@pytest.mark.parametrize("name", ["attempts.ndjson", "x/../attempts.ndjson", "hard", "soft"])
def test_a_recording_is_never_overwritten_by_itself(recording: Path, option: str, name: str) -> None:
    (recording.parent / "x").mkdir()
    (recording.parent / "hard").hardlink_to(recording)
    (recording.parent / "soft").symlink_to(recording)
    path = recording.parent / name
    told = f"callout: {option} {path} {SAME}"
    assert callout("trace", "--from", str(recording), option, str(path)) == (2, "", told)
    assert recording.read_text() == ROW


def test_nor_through_standard_streams(recording: Path) -> None:
    with recording.open("rb") as stdin:
        told = f"callout: -w {recording} {SAME}"
        assert callout("trace", "--from", "-", "-w", str(recording), stdin=stdin.fileno()) == (2, "", told)
    with recording.open("ab") as stdout:
        status, _, err = callout("trace", "--from", str(recording), stdout=stdout.fileno())
    assert (status, err) == (2, f"callout: standard output {SAME}")
    assert recording.read_text() == ROW


def test_nor_is_the_journal_that_stands_for_it(tmp_path: Path) -> None:
    journal = tmp_path / "out.parquet.partial"
    journal.write_text(ROW)
    told = f"callout: -w {journal} {SAME}"
    assert callout("trace", "--from", str(tmp_path / "out.parquet"), "-w", str(journal)) == (2, "", told)
    assert journal.read_text() == ROW


def test_a_failed_start_leaves_what_was_there(recording: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.ndjson"
    good.write_text("rows")
    for option in ("--summary", "--ready-file"):
        path = tmp_path / "none" / "x"
        words = ["--from", str(recording), "-w", str(good), option, str(path)]
        told = f"callout: cannot write {path}: No such file or directory\n{ELSEWHERE}\n"
        assert callout("trace", *words) == (2, "", told)
        assert good.read_text() == "rows"


def test_two_outputs_in_one_file(recording: Path, tmp_path: Path) -> None:
    one = str(tmp_path / "one")
    words = ["--from", str(recording), "-w", one, "--summary", str(tmp_path / "x" / ".." / "one")]
    (tmp_path / "x").mkdir()
    assert callout("trace", *words)[::2] == (
        2,
        f"callout: --summary {tmp_path}/x/../one is also the file of -w\n  give each its own file\n",
    )
    assert not Path(one).exists()


def test_an_earlier_parquet_file_stays_until_the_new_one_is_complete(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    assert callout("trace", "--from", str(recording), "-w", str(path))[0] == 0
    before = path.read_bytes()
    recording.write_text(ROW + "{\n")
    assert callout("trace", "--from", str(recording), "-w", str(path))[0] == 4
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [recording, path]


@pytest.mark.parametrize(
    ("form", "name", "told"),
    [
        ("parquet", "-", "parquet needs a file\n  use -w FILE, or -o arrow, which can go to a pipe"),
        ("parquet", ".", f"cannot write {{}}: Is a directory\n{ELSEWHERE}"),
        ("parquet", "attempts.ndjson/x", f"cannot write {{}}.partial: Not a directory\n{ELSEWHERE}"),
        ("arrow", ".", f"cannot write {{}}: Is a directory\n{ELSEWHERE}"),
    ],
)
def test_binary_formats_and_what_they_need(recording: Path, form: str, name: str, told: str) -> None:
    path = "-" if name == "-" else str(recording.parent / name)
    message = "callout: " + told.format(path) + "\n"
    assert callout("trace", "--from", str(recording), "-o", form, "-w", path) == (2, "", message)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (
            "arrow",
            "callout: arrow is binary and not for a terminal\r\n"
            "  write to a file with -w FILE, or to a pipe\r\n",
        ),
        (
            "parquet",
            "callout: parquet needs a file\r\n  use -w FILE, or -o arrow, which can go to a pipe\r\n",
        ),
    ],
)
def test_binary_formats_on_a_terminal(recording: Path, form: str, told: str) -> None:
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "callout", "trace", "--from", str(recording), "-o", form],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            timeout=60,
            check=False,
        )
        assert (done.returncode, os.read(leader, 4096).decode()) == (2, told)
    finally:
        os.close(leader)
        os.close(follower)


def test_a_recording_cut_short_is_told(recording: Path) -> None:
    recording.write_text(ROW + ROW[:40])
    status, out, err = callout("trace", "--from", str(recording))
    assert (status, out) == (0, ROW)
    assert err.splitlines()[0] == (
        f"callout: {recording} ends in the middle of line 2: its writer was killed"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_while_a_pipe_is_read(number: signal.Signals) -> None:
    """What came is written, although the pipe stays open."""
    with subprocess.Popen(
        [sys.executable, "-m", "callout", "trace", "--from", "/dev/stdin", "-o", "ndjson"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(ROW)
        process.stdin.flush()
        pipe = process.stdin.fileno()
        unread = array("i", [1])
        while unread[0]:  # it is in its loop, with handlers, once it has taken the row
            assert process.poll() is None
            fcntl.ioctl(pipe, termios.FIONREAD, unread)
            os.sched_yield()
        process.send_signal(number)
        out, err = process.stdout.read(), process.stderr.read()
    assert (process.returncode, out) == (0, ROW)
    assert len(err.splitlines()) == 1, err
