"""Everything that the reference knows has a scenario, or a reason why it cannot have one."""

from __future__ import annotations

import pytest

from callout import origin
from callout.cause import meanings
from callout.cli.explain import whole
from callout.lab import SCENARIOS, coverage
from callout.lab.attacks import SHAPES
from callout.lab.clients import CLIENTS
from callout.lab.families import WITHOUT
from callout.reference import tables
from callout.verdict import VERDICTS

NAMES = {scenario.name for scenario in SCENARIOS}
OUTCOMES = [e for scenario in SCENARIOS for x in scenario.expected for e in (x, x.late) if e]
BOOK = whole()
# Errors of the related calls, which connect(2) does not give
OTHERS = {
    "EDESTADDRREQ", "EIO", "EMFILE", "EMSGSIZE", "ENOTCONN", "ENXIO", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT",
}  # fmt: skip


def errors() -> list[str]:
    """Every error that has a page of its own text."""
    return sorted(page.name for page in BOOK.kinds()["errno"] if page.body or page.outcomes)


def covered(shown: set[str | None], reasons: dict[str, str], name: str) -> None:
    assert (name in shown) != (name in reasons), f"{name}: a scenario, or a reason why there is none"


@pytest.mark.parametrize("name", errors())
def test_error(name: str) -> None:
    if name not in OTHERS:
        covered({one.errno for one in OUTCOMES}, coverage.ERRORS, name)


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict(name: str) -> None:
    covered({one.verdict for one in OUTCOMES}, coverage.VERDICTS, name)


@pytest.mark.parametrize("name", meanings())
def test_cause(name: str) -> None:
    if name != "unknown":
        covered({one.cause for one in OUTCOMES}, coverage.CAUSES, name)


@pytest.mark.parametrize("name", [row["family"] for row in tables.records("families")])
def test_family(name: str) -> None:
    covered({family for scenario in SCENARIOS for family in scenario.address_families}, WITHOUT, name)


@pytest.mark.parametrize("name", dict.fromkeys(fact.entry for fact in origin.facts()))
def test_way_in(name: str) -> None:
    covered({entry for scenario in SCENARIOS for entry in scenario.entries}, {}, name)


@pytest.mark.parametrize("name", sorted(page.name for page in BOOK.kinds()["client"]))
def test_client(name: str) -> None:
    assert set(CLIENTS[name]) <= NAMES


@pytest.mark.parametrize("row", tables.records("shells"), ids=lambda row: row["shape"])
def test_shape_of_a_reverse_shell(row: dict[str, str]) -> None:
    assert set(SHAPES[row["shape"]]) <= NAMES


def test_fast_open_with_and_without_cookie() -> None:
    assert {"tfo_connect", "tfo_refused", "tfo_cookie", "way_fastopen_sendto"} <= NAMES


def test_attacks() -> None:
    assert {"docker_sock", "bind_shell", "swap_fastopen", "swap_datagram"} <= NAMES


def test_reasons_are_about_what_there_is() -> None:
    assert set(coverage.ERRORS) <= set(errors())
    assert set(WITHOUT) <= {row["family"] for row in tables.records("families")}
    assert set(CLIENTS) == {page.name for page in BOOK.kinds()["client"]}
    assert set(SHAPES) == {row["shape"] for row in tables.records("shells")}


def test_more_than_a_hundred() -> None:
    assert len(SCENARIOS) > 250
