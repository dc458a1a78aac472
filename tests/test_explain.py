"""`callout explain TOPIC`: every word of the output has a page, and an unknown one names the nearest."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from callout.cli.explain import read_topics, whole
from callout.cli.paper import Paper
from callout.pattern import NAMES
from callout.terminal import width

BOOK = whole()


def explain(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callout", "explain", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_habit_that_the_code_knows_is_a_topic() -> None:
    assert [page.name for page in BOOK.kinds()["pattern"]] == list(NAMES)


@pytest.mark.parametrize("room", [48, 80, 200])
def test_every_page_fits_its_terminal(room: int) -> None:
    paper = Paper(room)
    for page in BOOK.pages.values():
        text = paper.page(BOOK, page)
        assert " ".join(text.split()).startswith(page.title or page.name)
        # a word of code that is too long for the line stands alone
        wide = [line for line in text.splitlines() if width(line) > room and len(line.split()) > 1]
        assert [line for line in wide if not is_code(line)] == [], page.place
        assert [line for line in text.splitlines() if line != line.rstrip()] == []
        assert "\n\n\n" not in text


def is_code(line: str) -> bool:
    """Whether a line is of an example, which is not wrapped."""
    return line.startswith(" " * 6) and any(char in line for char in "{;$=(")


def test_styles_only_add_escape_sequences() -> None:
    plain, styled = (Paper(80, on).page(BOOK, BOOK.pages["errno/EINTR"]) for on in (False, True))
    assert "\x1b[1mEINTR\x1b[0m" in styled
    assert re.sub(r"\x1b\[\d*m", "", styled) == plain


@pytest.mark.parametrize(
    ("topic", "page"),
    [
        (
            "connect.addrlen",
            """\
connect.addrlen · a field of an event

    Length of the address, as passed.

    type  int
    unit  bytes
""",
        ),
        (
            "seqpacket",
            """\
connect(2) on seqpacket sockets · how connect(2) behaves

    A connection as with streams, which keeps the borders of messages.

What happens

    established · AF_UNIX · seqpacket · at the call
        A Unix listener of the same type answers.
        shown by un_seqpacket

See also

    AF_UNIX, stream

Sources

    unix(7)
""",
        ),
        (
            "tcp_refused",
            """\
tcp_refused · a scenario of the laboratory

    Nobody listens: RST.

    kind   tcp
    about  AF_INET, connect

Its attempts

    returned  verdict  error in the end  cause
    -111      refused  ECONNREFUSED      no_listener

Run it

      callout lab run tcp_refused

What happens

    ECONNREFUSED · refused · no_listener · AF_INET, AF_INET6 · stream · at the
    call
        Nothing listens on that port of this host.
        To do: ss -ltn shows who listens where; a service on 127.0.0.1 does not
        answer on other addresses.
        shown by tcp_refused, tcp_own_address, tcp6_refused, tcp_any_port0,
        v6_flow, v6_mapped_refused, tcp_retry, mptcp_refused, way_kernel,
        way_uring_refused, way_i386_refused, way_socketcall_refused,
        way_fastopen_refused

See also

    ECONNREFUSED
""",
        ),
    ],
)
def test_pages(topic: str, page: str) -> None:
    done = explain(topic)
    assert (done.returncode, done.stdout, done.stderr) == (0, page, "")


def test_two_topics_give_what_applies_to_both() -> None:
    done = explain("econnrefused", "unix", "unix_no_listener")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ECONNREFUSED and AF_UNIX and unix_no_listener: what applies to all\n")
    heads = [line for line in done.stdout.splitlines() if line.startswith("    E")]
    assert heads
    assert set(heads) == {"    ECONNREFUSED · refused · unix_no_listener · AF_UNIX · at the call"}
    none = explain("ETIMEDOUT", "AF_UNIX")
    assert (none.returncode, none.stdout.splitlines()[2]) == (
        0, "    The reference knows nothing that applies to all of these."
    )  # fmt: skip


def test_data_of_a_page() -> None:
    done = explain("EPIPE", "-o", "ndjson")
    assert (done.returncode, done.stderr) == (0, "")
    (page,) = map(json.loads, done.stdout.splitlines())
    assert (page["kind"], page["name"], page["outcomes"][0]["scenarios"]) == (
        "errno",
        "EPIPE",
        ["tcp_disc_race"],
    )
    assert page["outcomes"][0]["place"] == "errno/EPIPE"


def test_data_of_everything_and_of_what_is_common() -> None:
    pages = [json.loads(line) for line in read_topics([], "ndjson").splitlines()]
    assert [f"{page['kind']}/{page['name']}" for page in pages] == [page.place for page in BOOK.listed()]
    outcomes = [json.loads(line) for line in read_topics(["denied", "AF_UNIX"], "ndjson").splitlines()]
    assert {outcome["verdict"] for outcome in outcomes} == {"denied"}
    assert {outcome["errno"] for outcome in outcomes} == {"EACCES", "EPERM"}


def test_connect_says_what_can_change_and_what_cannot() -> None:
    page = explain("entry/connect").stdout
    rows = [line.split() for line in page.splitlines() if line.startswith("    ")]
    tags = {"K", "U", "TOCTOU", "OPT"}
    found = {row[0]: [word for word in row[1:4] if word in tags] for row in rows}
    assert {name: found[name] for name in ("sockfd", "addr", "addrlen", "copy")} == {
        "sockfd": ["K"],
        "addr": ["U", "TOCTOU"],
        "addrlen": ["K"],
        "copy": ["K", "OPT"],
    }


@pytest.mark.parametrize(
    ("topic", "remedy"),
    [
        ("refusedd", "did you mean refused or ECONNREFUSED?"),
        ("port", "did you mean source.port or destination.port?"),
        ("no_listner", "did you mean no_listener or unix_no_listener?"),
        ("Conect", "did you mean connect or cgroup-connect?"),
        ("zzzzzz", "`callout explain` lists all topics"),
        ("", "`callout explain` lists all topics"),
        ("\x1b[2J", "`callout explain` lists all topics"),
    ],
)
def test_unknown_topics_name_the_nearest(topic: str, remedy: str) -> None:
    done = explain(topic)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"callout: there is no topic {topic!r}\n  {remedy}\n"


def test_without_a_topic_it_lists_all() -> None:
    done = explain()
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout.split()
    assert [page.name for page in BOOK.listed() if page.kind != "scenario" and page.name not in listed] == []
    assert f"{len(BOOK.scenes)} of them: callout lab list" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["refused", "--sockaddr", "0200"], "callout: give a topic or --sockaddr, not both\n"),
        (["refused", "--html", "."], "callout: give topics or --html, not both\n"),
        (["--sockaddr", "0200", "--html", "."], "callout: give --html or --sockaddr, not both\n"),
        (["refused", "--addrlen", "3"], "callout: --addrlen goes with --sockaddr\n"),
    ],
)
def test_what_does_not_go_together(words: list[str], told: str) -> None:
    done = explain(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
