"""Words of the command line to values; every refusal says what is accepted."""

from __future__ import annotations

import argparse
import math
import os
import pwd
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.cli import Parser, options
from callout.errors import UsageError
from callout.narrowing import Narrowing

ROOT = pwd.getpwuid(0).pw_name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10.0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("2s", 2.0),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("1.5 h", 5400.0),
        ("1d", 86400.0),
        (" 3 ", 3.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert options.duration(text) == pytest.approx(seconds, rel=1e-12)


UNIT = "{!r} is not a duration: give seconds, or a number with ms, s, m or h"
MORE = "{!r} is not a duration: it must be more than 0"
PORT = "{!r} is not a port (0 to 65535)"


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        *(
            (options.duration, text, UNIT)
            for text in ("", "soon", "-5", "1e3", "1 fortnight", ".5", "5.", "٣", "inf")
        ),
        *((options.duration, text, MORE) for text in ("0", "0ms", "0.0")),
        (options.duration, "9" * 400, "{!r} is not a duration: it is too long"),
        *(
            (options.positive, t, "{!r} is not a whole number from 1 on")
            for t in ("", "0", "-1", "1.5", "x", "²")
        ),
        *((options.numbers("port", 0, 65535), text, PORT) for text in ("", "65536", "-1", "http", "٣")),
        (options.users, "no such user", "there is no user {!r} on this host"),
        (options.users, str(1 << 32), "there is no user {!r} on this host"),
        (options.names, "", "a process name is empty"),
        (options.names, "curl,", "a process name is empty"),
        (
            options.names,
            "sixteen-bytes-xx",
            "{!r} is longer than the 15 bytes that the kernel keeps of a name",
        ),
        (options.names, "éééééééé", "{!r} is longer than the 15 bytes that the kernel keeps of a name"),
    ],
)
def test_refusals(reader: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        reader(text)
    assert str(caught.value) == message.format(text)


def test_a_bad_one_among_many_is_named() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^'x' is not a port \(0 to 65535\)$"):
        options.numbers("port", 0, 65535)("80,x,443")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = options.duration(text)
    except argparse.ArgumentTypeError:
        return
    assert seconds > 0
    assert math.isfinite(seconds)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Narrowing()),
        ("-p 7 --pid 8,9", Narrowing(pids=frozenset({7, 8, 9}))),
        (f"-u {ROOT},12", Narrowing(uids=frozenset({0, 12}))),
        ("-P 80,443 -P 0", Narrowing(ports=frozenset({0, 80, 443}))),
        ("-4", Narrowing(families=frozenset({2}))),
        ("-4 -6", Narrowing(families=frozenset({2, 10}))),
        ("--comm curl,wget", Narrowing(comms=frozenset({"curl", "wget"}))),
        ("--cgroup /a/b", Narrowing(cgroup="/a/b")),
        ("--container web --container 0f3a", Narrowing(containers=frozenset({"web", "0f3a"}))),
        ("--pod prod/shop --unit cron", Narrowing(pods=frozenset({"prod/shop"}), units=frozenset({"cron"}))),
        ("-Z", Narrowing(outcome="failure")),
        ("--succeeded", Narrowing(outcome="success")),
        ("--phases", Narrowing(phases=True)),
    ],
)
def test_narrowing(words: str, expected: Narrowing) -> None:
    parser = argparse.ArgumentParser()
    options.add_narrowings(parser)
    assert options.narrowing(parser.parse_args(words.split())) == expected


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("--for -5 -4", "--for=-5 -4"),
        ("--for -.5ms", "--for=-.5ms"),
        ("--cou -1", "--cou=-1"),
        ("-P -5 -p -6", "-P-5 -p-6"),
        # options without a value, options that read text, options that have their value
        ("-Z -4", "-Z -4"),
        ("-w -4", "-w -4"),
        ("--for=5 -4", "--for=5 -4"),
        ("--for 5 -4 -6", "--for 5 -4 -6"),
        ("--frob -4", "--frob -4"),
        # what is no number, and what is no option
        ("--for -Z", "--for -Z"),
        ("-- --for -5", "-- --for -5"),
    ],
)
def test_numbers_below_0_belong_to_the_option_before_them(words: str, joined: str) -> None:
    parser = Parser()
    options.add_narrowings(parser)
    options.add_output(parser)
    assert parser.joined(words.split()) == joined.split()


def test_the_rest_is_the_filter() -> None:
    parser = argparse.ArgumentParser()
    options.add_narrowings(parser)
    options.add_output(parser)
    args = parser.parse_args(["-4", "destination.port = 443", "and", "process.name = curl", "--count", "3"])
    assert " ".join(args.filter) == "destination.port = 443 and process.name = curl"
    assert (args.count, args.seconds, args.output, args.write) == (3, None, None, None)


def test_processes_that_exist() -> None:
    options.check_process([os.getpid(), 1])
    with pytest.raises(UsageError) as caught:
        options.check_process(
            [os.getpid(), 1 << 22]
        )  # pid_max is at most that, and pids stay below it: proc(5)
    assert str(caught.value) == "there is no process 4194304\n  `ps -e` lists those that there are"


@pytest.mark.parametrize("text", ["network", "%network", "trace=network", "trace=%network"])
def test_e_takes_what_strace_users_type(text: str) -> None:
    assert options.events(text) == "network"


@pytest.mark.parametrize("text", ["", "file", "trace=", "network,file", "verbose=network"])
def test_e_takes_nothing_else(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"`network` \(also trace=network, %network\)"):
        options.events(text)


def test_related_calls_need_to_be_of_some_processes() -> None:
    for wanted in (Narrowing(), Narrowing(ports=frozenset({443}), outcome="failure", phases=True)):
        with pytest.raises(UsageError, match="too much for a whole host"):
            options.check_related(wanted)
    for wanted in (
        Narrowing(pids=frozenset({1})),
        Narrowing(uids=frozenset({0})),
        Narrowing(comms=frozenset({"nc"})),
        Narrowing(cgroup="/"),
    ):
        options.check_related(wanted)
