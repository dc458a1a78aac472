"""`callout why` on every failure of the laboratory: the right cause, or none; and docs/why.md says what it said."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callout.lab import SCENARIOS, demo
from callout.lab.known import reason

from .watch import TIER

pytestmark = pytest.mark.kernel
HOME = Path(__file__).resolve().parent.parent.parent
FEW = os.environ.get("CALLOUT_TEST_SCENARIOS") == "demo"
# What a tier cannot tell, and what is only likely then: the attempt was closed while nothing told the reason
GIVEN_UP = "closed_by_application"


def generator() -> ModuleType:
    """scripts/why_table.py as a module."""
    spec = importlib.util.spec_from_file_location("why_table", HOME / "scripts/why_table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def told() -> tuple[list[Any], Any]:
    made: tuple[list[Any], Any] = generator().lines(TIER, demo() if FEW else SCENARIOS)
    return made


def test_nothing_certain_is_wrong(told: tuple[list[Any], Any]) -> None:
    wrong = [line[:6] for line in told[0] if line.confidence == "certain" and line.cause != line.claimed]
    assert wrong == []


def test_what_is_likely_is_wrong_only_where_the_trace_is_known_to_be(told: tuple[list[Any], Any]) -> None:
    lines, run = told
    wrong = [line for line in lines if line.confidence == "likely" and line.cause != line.claimed]
    assert [line[:6] for line in wrong if not reason(line.scenario, run.seen.tier)] == []


def test_unknown_says_what_it_can_be(told: tuple[list[Any], Any]) -> None:
    for line in told[0]:
        assert (line.cause == "unknown") == (line.confidence == "unknown"), line
        assert line.story.evidence or not line.errno, line


@pytest.mark.skipif(FEW, reason="only the scenarios of the demonstration run here")
def test_at_least_forty_different_failures_are_named_rightly(told: tuple[list[Any], Any]) -> None:
    right = {line.scenario for line in told[0] if line.cause == line.claimed != "unknown"}
    assert len(right) >= 40, sorted(right)


def test_the_page_says_what_is_told(told: tuple[list[Any], Any]) -> None:
    """The page is of the tier of tracepoints. Looks at the host may come later here than there: then a cause that was
    found by them is not known, but another one is never told.
    """
    lines, run = told
    if run.seen.tier != "tracepoint":
        pytest.skip(f"the page was made on the tier of tracepoints, this is {run.seen.tier}")
    page = {(row[0], row[1]): row for row in rows((HOME / "docs/why.md").read_text(encoding="utf-8"))}
    for line in lines:
        shown = page.get((line.scenario, line.number))
        assert shown is not None, f"{line.scenario}: run scripts/why_table.py"
        _, _, error, cause, sure, sentence = shown
        assert error == line.errno
        if cause != line.cause:
            assert "certain" not in (sure, line.confidence), (line[:6], shown)
            assert "unknown" in (cause, line.cause) or GIVEN_UP in (cause, line.cause), (line[:6], shown)
        elif sure == line.confidence:
            assert sentence == line.sentence


def rows(text: str) -> list[tuple[str, int, str, str, str, str]]:
    """The lines of the page's table."""
    found = []
    pattern = r"\| `([\w-]+)`(?: \((\d+)\))? \| (?:`(\w+)`)? ?\| `(\w+)` \| (\w+) \| (.*) \|"
    for match in re.finditer(pattern, text):
        name, number, error, cause, sure, sentence = match.groups()
        found.append((name, int(number or 1), error or "", cause, sure, sentence.replace("\\|", "|")))
    return found
