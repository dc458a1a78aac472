"""`callout explain TOPIC`: every word of the output has a page, and an unknown one names the nearest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from callout import cause, origin, topics
from callout.pattern import NAMES
from callout.schema import FIELDS
from callout.terminal import width
from callout.verdict import VERDICTS

ALL = sorted({name for names in topics.kinds().values() for name in names})


def explain(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callout", "explain", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_word_is_a_topic() -> None:
    entries = {fact.entry for fact in origin.facts()}
    assert set(ALL) == {*VERDICTS, *cause.meanings(), *FIELDS, *NAMES, *entries}
    assert list(topics.patterns()) == list(NAMES)


@pytest.mark.parametrize("topic", ALL)
def test_every_page_fits_a_terminal(topic: str) -> None:
    page = topics.page(topic)
    assert page
    assert page.startswith(topic)
    assert [line for line in page.splitlines() if width(line) > 80 or line != line.rstrip()] == []
    assert topic in topics.index()


def test_no_name_means_two_things() -> None:
    counted = [name for names in topics.kinds().values() for name in names]
    assert sorted({name for name in counted if counted.count(name) > 1}) == []


@pytest.mark.parametrize(
    ("topic", "page"),
    [
        (
            "reset",
            """\
reset: a verdict (connect.verdict), failure

  the peer broke it off

Errors that have this verdict

  ECONNRESET
""",
        ),
        (
            "no_listener",
            """\
no_listener: a cause (connect.cause)

  nothing listens on that port of this host
""",
        ),
        (
            "connect.addrlen",
            """\
connect.addrlen: a field (int, in bytes)

  Length of the address, as passed.
""",
        ),
        (
            "fallback",
            """\
fallback: a client habit that is no failure (connect.pattern)

  localhost is ::1 first; the service listens on 127.0.0.1 only

How it looks

  TCP to ::1 refused, after which the same process reached 127.0.0.1 on the same
  port

The table only counts such rows, unless --all is given; all other outputs have
them.
""",
        ),
        (
            "kernel",
            """\
kernel: a way into the kernel (connect.entry)

Arguments, as callout reads them

  copy     K  the kernel's own socket: no argument comes from user memory

  K  read from kernel memory
""",
        ),
    ],
)
def test_pages(topic: str, page: str) -> None:
    done = explain(topic)
    assert (done.returncode, done.stdout, done.stderr) == (0, page, "")


def test_connect_says_what_can_change_and_what_cannot() -> None:
    page = explain("connect").stdout
    rows = [line for line in page.splitlines() if line.startswith(("  sockfd", "  addr", "  copy"))]
    assert [tuple(row[2:20].split()) for row in rows] == [
        ("sockfd", "K"),
        ("addr", "U", "TOCTOU"),
        ("addrlen", "K"),
        ("copy", "K", "OPT"),
    ]


@pytest.mark.parametrize(
    ("topic", "remedy"),
    [
        ("refusedd", "did you mean refused or reset?"),
        ("port", "did you mean source.port or destination.port?"),
        ("no_listner", "did you mean no_listener or unix_no_listener?"),
        ("Conect", "did you mean connect or connect.id or connect.fd?"),
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
    assert done.stdout == topics.index()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["refused", "--sockaddr", "0200"], "callout: give a topic or --sockaddr, not both\n"),
        (["refused", "--addrlen", "3"], "callout: --addrlen goes with --sockaddr\n"),
    ],
)
def test_what_does_not_go_together(words: list[str], told: str) -> None:
    done = explain(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
