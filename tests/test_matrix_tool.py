"""The pure parts of the matrix tool: which kernel is chosen, where it is sought, how a command ends."""

import io
import os
import select
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from matrix import kernels

PACKAGES = [
    "linux-image-5.10.0-46-amd64",
    "linux-image-6.1-amd64",
    "linux-image-6.1.0-0.deb11.52-amd64",
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-56-amd64",
    "linux-image-6.1.0-57-cloud-amd64",
    "linux-image-6.1.0-57-rt-amd64",
    "linux-image-6.1.0-57-amd64-dbg",
    "linux-image-6.1.0-57-amd64-unsigned",
    "linux-image-6.12.90+deb12.1-amd64",
    "linux-image-6.12.117+deb12-amd64",
    "linux-image-6.12.117+deb13-amd64",
    "linux-image-6.12.118+deb13-rt-amd64",
    "linux-modules-6.12.119+deb13-amd64",
]

TARGETS = """\
Elsewhere|http://packages.test/debian/|bookworm
Debian|http://mirror.test/debian/|bookworm
Debian|http://mirror.test/debian/|bookworm-updates
Debian|http://other.test/debian/|trixie
Debian|http://mirror.test/debian-security/|bookworm-security
"""


@pytest.mark.parametrize(
    ("series", "release"),
    [
        ("5.10", "5.10.0-46-amd64"),
        ("5.15", None),
        ("6.1", "6.1.0-56-amd64"),
        ("6.12", "6.12.117+deb13-amd64"),
    ],
)
def test_newest_full_image_of_a_series(series: str, release: str | None) -> None:
    assert kernels.newest(series, PACKAGES) == release


@pytest.mark.parametrize(
    ("targets", "override", "expected"),
    [
        (TARGETS, "", ["http://mirror.test/debian/ 6", "http://mirror.test/debian-security/ 6-security"]),
        (TARGETS, "http://a.test/d", ["http://a.test/d 6"]),
        ("", "http://a.test/d http://a.test/s", ["http://a.test/d 6", "http://a.test/s 6-security"]),
        ("$(ORIGIN)|http://mirror.test/debian/|bookworm\n", "", []),
    ],
)
def test_sources_are_the_archives_that_apt_knows(targets: str, override: str, expected: list[str]) -> None:
    assert kernels.sources(["6", "6-security"], targets, override) == "".join(
        f"deb [signed-by={kernels.KEYRING}] {line} main\n" for line in expected
    )


def test_list_shows_what_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("6.1.0-9-amd64", "6.1.0-56-amd64", ".fetch-6.12.1-amd64"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("CALLOUT_KERNELS", str(tmp_path))
    monkeypatch.setattr(kernels, "SERIES", {"6.1": ("bookworm", "bookworm-security"), "6.12": ("trixie",)})
    assert kernels.main(["list"]) == 0
    assert capsys.readouterr().out == (
        "6.1   6.1.0-56-amd64            bookworm bookworm-security\n6.12  -                         trixie\n"
    )


def test_a_failing_tool_is_told_in_full() -> None:
    with pytest.raises(kernels.KernelError, match=r"^sh -c 'echo why >&2; exit 7': status 7: why$"):
        kernels.call("sh", "-c", "echo why >&2; exit 7")


@pytest.mark.parametrize(
    ("script", "status"), [("test -t 0 && echo seen; exit 3", 3), ("echo seen; kill -9 $$", 9)]
)
def test_a_command_under_a_terminal_ends_with_its_status(script: str, status: int) -> None:
    console = io.BytesIO()
    with kernels.under_terminal(["sh", "-c", script], console) as pump:
        while (ended := pump(1)) is None:
            pass
    assert (ended, console.getvalue()) == (status, b"seen\r\n")


def test_leaving_kills_what_the_command_started() -> None:
    console = io.BytesIO()
    with kernels.under_terminal(["sh", "-c", "sleep 600 & echo $!; wait"], console) as pump:
        while not console.getvalue().endswith(b"\n"):
            assert pump(1) is None
        child = os.pidfd_open(int(console.getvalue()))
    try:
        assert select.select([child], [], [], 10)[0] == [child]  # readable once it has ended (pidfd_open(2))
    finally:
        os.close(child)


def test_command_line_keeps_the_command_apart() -> None:
    line = ["run", "6.1", "--append", "lsm=bpf", "--rw", "/srv/out", "--", "sh", "-c", "exit 3", "--append"]
    assert vars(kernels.parser().parse_args(line)) == {
        "verb": "run",
        "series": "6.1",
        "timeout": 600,
        "append": ["lsm=bpf"],
        "rw": [Path("/srv/out")],
        "console": None,
        "cpus": "2",
        "memory": "1G",
        "command": ["sh", "-c", "exit 3", "--append"],
    }


def test_series_that_cannot_be_had_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "need_tools", lambda: None)
    assert kernels.main(["prepare", "5.15"]) == kernels.TOOL_FAILED
    assert capsys.readouterr().err == f"matrix: 5.15: cannot be had; there are {', '.join(kernels.SERIES)}\n"
