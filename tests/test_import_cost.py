"""What starts without loading what it does not need: counted in modules, so that no clock is involved."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

HEAVY = {
    "pyroute2",
    "numpy",
    "pyarrow",
    "polars",
    "_cffi_backend",
    "callout._native",
    "callout.capture.kernel",
    "markdown_it",
}


def imported(*words: str) -> set[str]:
    """Every module that this run imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(re.findall(r"^import time:[^|]*\|[^|]*\| +(\S+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "callout", "--help"],
        ["-m", "callout", "--version"],
        ["-m", "callout", "trace", "--help"],
        ["-m", "callout", "why", "--help"],
        ["-m", "callout", "explain", "--sockaddr", "0100"],
        ["-c", "import callout"],
        ["-c", "import callout; callout.decode_sockaddr(b'12')"],
        ["-c", "import callout; callout.UsageError"],
    ],
    ids=" ".join,
)
def test_nothing_heavy(words: list[str]) -> None:
    modules = imported(*words)
    assert "callout" in modules, "the report was read"
    assert modules & HEAVY == set()


def test_the_heavy_ones_would_be_seen() -> None:
    modules = imported("-c", "import callout; callout.Batch")
    assert {"numpy", "callout._native"} <= modules
    assert modules & {"pyarrow", "polars"} == set(), "the extras are for those who use them"
