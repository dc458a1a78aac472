"""What the matrix run makes of results: its numbers, its closing lines, its exit status."""

import argparse
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from matrix import kernels, run

KERNEL = kernels.Kernel("6.1.0-56-amd64", Path("/nowhere"))
PASSED = '<testcase classname="kernel.test_rows" name="test_a"/>'
FAILED = (
    '<testcase classname="kernel.test_rows" name="test_b[1]">'
    '<failure message="assert 1 == 2&#10;more">trace</failure></testcase>'
)
BROKEN = '<testcase classname="kernel.test_rows" name="test_c"><error message="no ring">x</error></testcase>'
SKIPPED = (
    '<testcase classname="kernel.test_rows" name="test_d"><skipped message="none">x</skipped></testcase>'
)


def boots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int | Exception, **results: list[str]
) -> None:
    """Kernels boot as told: with these test cases by tier, and this status or error."""

    def boot(kernel: kernels.Kernel, options: argparse.Namespace) -> int:
        assert (kernel, options.command[-2:]) == (KERNEL, [str(options.rw[0]), "810.0"])
        for tier, cases in results.items():
            text = f'<testsuites><testsuite tests="{len(cases)}">{"".join(cases)}</testsuite></testsuites>'
            (options.rw[0] / f"{tier}.xml").write_text(text)
        if isinstance(status, Exception):
            raise status
        return status

    def fetch(series: str) -> kernels.Kernel:
        raise kernels.KernelError(f"{series}: no Debian archive")

    monkeypatch.setattr(kernels, "need_tools", lambda: None)
    monkeypatch.setattr(kernels, "cache", lambda: tmp_path)
    monkeypatch.setattr(kernels, "prepared", lambda series: KERNEL if series == "6.1" else None)
    monkeypatch.setattr(kernels, "fetch", fetch)
    monkeypatch.setattr(kernels, "boot", boot)
    monkeypatch.setattr("time.monotonic", lambda: 3.0)


@pytest.mark.parametrize(
    ("arguments", "status", "kprobe", "exit_status", "told"),
    [
        (["6.1"], 0, [PASSED, SKIPPED], 0, ["6.1.0-56-amd64: 3 passed, 1 skipped", "3 passed, 1 skipped"]),
        (
            ["6.1"],
            1,
            [FAILED, BROKEN],
            1,
            [
                "6.1: FAILED kprobe kernel.test_rows::test_b[1] - assert 1 == 2",
                "6.1: FAILED kprobe kernel.test_rows::test_c - no ring",
                "6.1.0-56-amd64: 1 failed, 2 passed, 1 error",
                "1 failed, 2 passed, 1 error",
            ],
        ),
        (
            ["6.1"],
            kernels.TIMED_OUT,
            [FAILED],
            1,
            [
                "6.1: FAILED kprobe kernel.test_rows::test_b[1] - assert 1 == 2",
                "6.1: ERROR ended with status 124",
                "6.1.0-56-amd64: 1 failed, 2 passed, 1 error",
                "1 failed, 2 passed, 1 error",
            ],
        ),
        (
            ["6.1"],
            1,
            [PASSED],
            1,
            ["6.1: ERROR ended with status 1", "6.1.0-56-amd64: 3 passed, 1 error", "3 passed, 1 error"],
        ),
        (
            ["6.1"],
            2,
            [FAILED],
            1,
            [
                "6.1: FAILED kprobe kernel.test_rows::test_b[1] - assert 1 == 2",
                "6.1: ERROR not all tests were run",
                "6.1.0-56-amd64: 1 failed, 2 passed, 1 error",
                "1 failed, 2 passed, 1 error",
            ],
        ),
        (
            ["6.1"],
            kernels.KernelError("did not boot"),
            [],
            1,
            ["6.1: ERROR did not boot", "6.1.0-56-amd64: 2 passed, 1 error", "2 passed, 1 error"],
        ),
        (
            [],
            0,
            [PASSED],
            1,
            ["6.1.0-56-amd64: 3 passed", "ERROR 6.12: no Debian archive", "3 passed, 1 error"],
        ),
        (
            ["--allow-missing"],
            0,
            [PASSED],
            0,
            ["6.1.0-56-amd64: 3 passed", "SKIPPED 6.12: no Debian archive", "3 passed, 1 skipped"],
        ),
        (
            ["6.1", "7.3"],
            0,
            [PASSED],
            0,
            ["6.1.0-56-amd64: 3 passed", "SKIPPED 7.3: no Debian archive", "3 passed, 1 skipped"],
        ),
        (["--allow-missing", "7.3"], 0, [], 0, ["SKIPPED 7.3: no Debian archive", "1 skipped"]),
    ],
    ids=str,
)
def test_the_end_of_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int | Exception,
    kprobe: list[str],
    exit_status: int,
    told: list[str],
) -> None:
    boots(monkeypatch, tmp_path, status, trampoline=[PASSED, PASSED], kprobe=kprobe)
    assert run.main(arguments) == exit_status
    lines = capsys.readouterr().out.splitlines()
    end = lines[lines.index(run.rule("kernels")) + 1 :]
    assert [line.strip("= ").removesuffix(" in 0.00s") for line in end] == told


@pytest.mark.parametrize(
    ("seconds", "line"), [(3.21, "1 passed in 3.21s"), (341.2, "1 passed in 341.20s (0:05:41)")]
)
def test_closing_as_pytest_words_it(seconds: float, line: str) -> None:
    assert run.closing(Counter(passed=1), seconds) == f" {line} ".center(80, "=")


def test_unknown_series_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(["5.15"])
    assert "5.15: cannot be had; there are 5.10, 6.1, 6.12, 6.18, 7.3\n" in capsys.readouterr().err
