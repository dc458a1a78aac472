"""The reference: every page keeps to its schema, and every outcome that it states is one that a scenario shows."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from callout.cli.explain import whole
from callout.reference.book import TYPES, Book, Seen
from callout.reference.page import KINDS, WHEN, Outcome, Page, head_and_body, read
from callout.reference.tables import TABLES, table
from callout.reference.view import Links, Outcomes, Table, view
from callout.verdict import VERDICTS

BOOK: Book = whole()
PAGES = files("callout").joinpath("reference/pages")
FILES = sorted((folder.name, file.name) for folder in PAGES.iterdir() for file in folder.iterdir())
OUTCOMES = [pytest.param(o, id=f"{o.place}: {o.says[:40]}") for o in BOOK.outcomes]
UNDER_WAY = (-errno.EINPROGRESS, -errno.EINTR)

HOW_TO_LINK = (
    "name the scenario in an [[outcome]] of a page under reference/pages/ (an errno's page, if it fails)"
)


def text_of(kind: str, name: str) -> str:
    return PAGES.joinpath(kind, name).read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    text = files("callout").joinpath("reference/page.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_file_keeps_to_the_schema(kind: str, name: str) -> None:
    head, body = head_and_body(text_of(kind, name))
    jsonschema.Draft202012Validator(schema()).validate(head)
    assert kind in KINDS
    assert re.fullmatch(r"[A-Za-z0-9_.-]+\.md", name)
    assert [line for line in body.splitlines() if len(line) > 126 and not line.startswith("|")] == []


def test_what_is_no_page_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with a head"):
        head_and_body("title = 'x'\n")
    with pytest.raises(TypeError):
        read("errno", "EX", "+++\ncolour = 'red'\n+++\n")


@pytest.mark.parametrize("page", [pytest.param(p, id=p.place) for p in BOOK.pages.values()])
def test_page_leads_only_where_there_is_something(page: Page) -> None:
    assert [name for name in page.see if not BOOK.find(name)] == []
    assert [name for name in page.scenarios if name not in BOOK.scenes] == []
    assert page.summary or page.body or page.kind == "errno", "a page says what it is about"
    view(BOOK, page)  # every table that its text asks for exists


@pytest.mark.parametrize("page", [pytest.param(p, id=p.place) for p in BOOK.listed()])
def test_errors_that_a_text_names_have_a_page(page: Page) -> None:
    said = " ".join(
        [page.summary, page.body, *page.facts.values(), *(o.says + o.remedy for o in page.outcomes)]
    )
    named = {word for word in re.findall(r"\bE[A-Z]{3,}[0-9A-Z]*\b", said) if hasattr(errno, word)}
    listed = {p.name for p in BOOK.kinds()["errno"]} | {alias for p in BOOK.listed() for alias in p.aliases}
    assert named - listed - UNSAID == set()


UNSAID = {"ENOSYS", "ESTABLISHED"}  # of no page: what Podman answers for calls that it does not know


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_outcome_is_shown_by_its_scenarios(outcome: Outcome) -> None:
    assert outcome.verdict in VERDICTS
    assert outcome.when in WHEN
    assert not outcome.cause or f"cause/{outcome.cause}" in BOOK.pages
    assert [family for family in outcome.families if f"family/{family}" not in BOOK.pages] == []
    assert set(outcome.types) <= set(TYPES)
    for name in outcome.scenarios:
        assert name in BOOK.scenes, f"{outcome.place}: there is no scenario {name}"
        attempts = BOOK.scenes[name].attempts
        assert [seen for seen in attempts if shows(seen, outcome)], f"{name} shows something else: {attempts}"
        families = BOOK.scenes[name].families
        assert not outcome.families or set(families) & set(outcome.families), f"{name} is about {families}"


def shows(seen: Seen, outcome: Outcome) -> bool:
    """Whether an attempt came to what the outcome says, and when it says so."""
    if (seen.verdict, seen.errno) != (outcome.verdict, outcome.errno):
        return False
    if outcome.cause and seen.cause != outcome.cause:
        return False
    if seen.returned is None or outcome.when in ("never", "call or later"):
        return True
    later = seen.late or seen.returned in UNDER_WAY or (seen.returned == 0 and seen.errno != "")
    return (outcome.errno == "EINTR" or not later) if outcome.when == "call" else later


def test_an_outcome_that_its_scenario_does_not_show_is_found() -> None:
    seen = Seen("refused", "ECONNREFUSED", "no_listener", -errno.ECONNREFUSED)
    said = Outcome("x", "refused", "ECONNREFUSED", "no_listener")
    assert shows(seen, said)
    wrong = [
        Outcome("x", "refused", "ECONNREFUSED", "rst_from_peer"),
        Outcome("x", "timed_out", "ETIMEDOUT"),
        Outcome("x", "refused", "ECONNREFUSED", "no_listener", when="later"),
        Outcome("x", "refused", "ECONNREFUSED", "no_listener", when="next call"),
    ]
    assert [outcome for outcome in wrong if shows(seen, outcome)] == []
    assert not shows(Seen("refused", "ECONNREFUSED", "no_listener", -errno.EINPROGRESS), said)


def test_every_outcome_is_shown() -> None:
    assert [outcome.place for outcome in BOOK.outcomes if not outcome.scenarios] == []


@pytest.mark.parametrize("name", BOOK.scenes)
def test_scenario_belongs_to_the_reference(name: str) -> None:
    pages = [page.place for page in BOOK.mentions(name) if page.kind != "scenario"]
    assert pages, f"no page refers to the scenario {name}: {HOW_TO_LINK}"
    stated = [outcome for outcome in BOOK.outcomes if name in outcome.scenarios]
    for seen in BOOK.scenes[name].attempts:
        if seen.errno:
            errors = {outcome.errno for outcome in stated}
            assert seen.errno in errors, (
                f"no outcome says that {name} can end with {seen.errno}: {HOW_TO_LINK}"
            )


def test_every_word_of_the_output_has_a_page() -> None:
    kinds = BOOK.kinds()
    assert {page.name for page in kinds["verdict"]} == set(VERDICTS)
    unexplained = [
        seen
        for scene in BOOK.scenes.values()
        for seen in scene.attempts
        for place in (f"errno/{seen.errno}", f"cause/{seen.cause}", f"verdict/{seen.verdict}")
        if not place.endswith("/") and place not in BOOK.pages
    ]
    assert unexplained == []


def test_every_verdict_and_cause_happens_or_says_why_not() -> None:
    silent = [
        page.name for kind in ("verdict", "cause") for page in BOOK.kinds()[kind] if not BOOK.says(page)
    ]
    # of callout's own policy nothing denies yet
    assert set(silent) == {"callout_policy"}


def links(page: Page) -> Iterator[Page]:
    for section in view(BOOK, page):
        for block in section.blocks:
            if isinstance(block, Links):
                yield from block.pages


def test_related_calls_families_and_hooks_are_there() -> None:
    names = {kind: {page.name for page in pages} for kind, pages in BOOK.kinds().items()}
    assert names["call"] >= {
        "connect", "socket", "bind", "listen", "accept", "send", "sendto", "recv", "getsockopt", "getpeername",
        "poll", "shutdown", "close", "socketcall", "io_uring",
    }  # fmt: skip
    assert len(names["family"]) == 46
    assert len(names["architecture"]) == 29
    assert names["hook"] >= {
        "sys_enter_connect",
        "__sys_connect",
        "security_socket_connect",
        "cgroup-connect",
    }
    assert {page.name for page in links(BOOK.pages["call/connect"])} >= {
        "stream",
        "datagram",
        "unspec",
        "fastopen",
    }


def test_seeds_of_confusion_are_put_right() -> None:
    said = " ".join(entry.said for page in BOOK.listed() for entry in page.misstated)
    for word in (
        "unidirectional",
        "flags",
        "TOCTOU",
        "sock_connect",
        "4.11",
        "127 s",
        "nftables",
        "right observation",
    ):
        assert word in said, word


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name: str) -> None:
    head, *rows = table(name)
    assert rows
    assert {len(row) for row in rows} == {len(head)}
    assert len(set(head)) == len(head)


HEADERS = {  # where linux-libc-dev has the kernel's own numbers (arch/*/kernel/syscalls, asm-generic/unistd.h)
    "x86_64": ("x86_64-linux-gnu/asm/unistd_64.h", 0),
    "i386": ("x86_64-linux-gnu/asm/unistd_32.h", 0),
    "x32": ("x86_64-linux-gnu/asm/unistd_x32.h", 0x40000000),
    "aarch64": ("asm-generic/unistd.h", 0),
}


@pytest.mark.parametrize("architecture", HEADERS)
def test_numbers_are_those_of_the_kernels_headers(architecture: str) -> None:
    name, base = HEADERS[architecture]
    header = Path("/usr/include", name)
    if not header.exists():
        pytest.skip(f"{header} is not there (apt install linux-libc-dev)")
    pattern = r"^#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)\)?$"
    known = dict(re.findall(pattern, header.read_text(), re.MULTILINE))
    head, *rows = table("numbers")
    row = next(dict(zip(head, row, strict=True)) for row in rows if row[0] == architecture)
    calls = [column for column in head if column in known]
    assert "connect" in calls
    assert {call: row[call] for call in calls} == {call: str(int(known[call]) + base) for call in calls}


@pytest.mark.parametrize(
    ("word", "places"),
    [
        ("ECONNREFUSED", ["errno/ECONNREFUSED"]),
        ("econnrefused", ["errno/ECONNREFUSED"]),
        ("111", ["errno/ECONNREFUSED"]),
        ("connect(2)", ["call/connect", "entry/connect"]),
        ("42", ["architecture/x86_64"]),
        ("203", ["architecture/aarch64", "architecture/riscv"]),
        ("arm64", ["architecture/aarch64"]),
        ("unix", ["family/AF_UNIX"]),
        ("tcp", ["concept/stream"]),
        ("SO_ERROR", ["call/getsockopt"]),
        ("sock_connect", ["hook/security_socket_connect"]),
        ("docker.sock", ["security/docker-socket"]),
        ("bad_length", ["cause/bad_length"]),
        ("scenario/bad_length", ["scenario/bad_length"]),
        ("tcp_ok", ["scenario/tcp_ok"]),
        ("connect.errno", ["field/connect.errno"]),
        ("nothing at all", []),
    ],
)
def test_found_by(word: str, places: list[str]) -> None:
    found = [page.place for page in BOOK.find(word)]
    assert found[: len(places)] == places
    assert bool(found) == bool(places)


def test_narrowing_keeps_what_applies_to_both() -> None:
    both = BOOK.applying([BOOK.pages["errno/ECONNREFUSED"], BOOK.pages["family/AF_UNIX"]])
    assert both
    assert {outcome.errno for outcome in both} == {"ECONNREFUSED"}
    assert all("AF_UNIX" in outcome.families for outcome in both)
    assert "unix_stale" not in {name for outcome in both for name in outcome.scenarios}
    any_family = BOOK.applying([BOOK.pages["errno/EBADF"], BOOK.pages["family/AF_VSOCK"]])
    assert {outcome.errno for outcome in any_family} == {"EBADF"}, (
        "what holds for all families holds for this one"
    )


def test_sections_of_a_page() -> None:
    sections = view(BOOK, BOOK.pages["errno/ECONNREFUSED"])
    assert [section.title for section in sections] == [
        "",
        "What happens",
        "Often misstated",
        "See also",
        "Sources",
    ]
    assert isinstance(sections[0].blocks[0], Table)
    assert isinstance(sections[1].blocks[0], Outcomes)
    with pytest.raises(ValueError, match="no table 'colours'"):
        view(BOOK, Page("concept", "x", body="{{ colours }}"))
