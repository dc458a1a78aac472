"""Stories from rows: what is said, how sure, and on what."""

from __future__ import annotations

import errno
import re
from typing import Any

import pytest

from callout.cause import meanings
from callout.computed import SynSettings, syn_schedule
from callout.errors import UsageError
from callout.story import Groups, Look, Packet, tell
from callout.story.model import CONFIDENCES
from callout.story.render import group_lines, group_row, story_lines, story_row
from callout.story.target import parse
from callout.story.weigh import weigh
from callout.story.words import commands, particular, possibilities, table, values, words
from callout.verdict import errno_name

ROW: dict[str, Any] = {
    "@timestamp": 1_800_000_000_000_000_000,
    "event.action": "connect",
    "event.outcome": "failure",
    "event.duration": 3_000_000_000,
    "process.pid": 7,
    "process.name": "curl",
    "source.ip": "192.0.2.1",
    "source.port": 40000,
    "destination.ip": "192.0.2.9",
    "destination.port": 443,
    "network.transport": "tcp",
    "connect.id": 11,
    "connect.entry": "connect",
    "connect.fd": 3,
    "connect.addrlen": 16,
    "connect.family": "AF_INET",
    "connect.nonblocking": False,
    "connect.return": -110,
    "connect.verdict": "timed_out",
    "connect.errno": "ETIMEDOUT",
    "connect.cause": "syn_unanswered",
    "connect.evidence": {"syns": 3},
}


def row(**changes: Any) -> dict[str, Any]:
    """ROW with other values; ``__`` stands for the dot; None takes a field away."""
    changed = ROW | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in changed.items() if value is not None}


def test_every_cause_has_words() -> None:
    """Whoever adds a cause to causes.csv adds its sentence to why.csv and a command to why_next.csv."""
    assert set(meanings()) - set(words()) == set()
    nothing_to_do = {
        "already_in_progress",
        "closed_by_application",
        "process_died",
        "interrupted",
        "callout_policy",
    }
    assert set(words()) - set(commands()) <= nothing_to_do


@pytest.mark.parametrize("name", ["why.csv", "why_possible.csv", "why_errno.csv"])
def test_nothing_is_said_twice(name: str) -> None:
    keys = [(row.get("cause"), row.get("errno"), row.get("family")) for row in table(name)]
    assert len(keys) == len(set(keys))


def test_words_are_whole() -> None:
    known = values(ROW)
    for cause, line in words().items():
        assert line.alone in CONFIDENCES, cause
        assert set(re.findall(r"\{(\w+)\}", line.sentence)) <= set(known), cause
        assert line.sentence.endswith("."), cause
        assert not line.proof or line.alone == "likely", cause
    for (cause, error), sentence in particular().items():
        assert cause in words(), cause
        assert error in errno.errorcode.values(), error
        assert set(re.findall(r"\{(\w+)\}", sentence)) <= set(known), cause
        assert sentence.endswith("."), cause
    for cause, lines in commands().items():
        assert cause in words(), cause
        for command, purpose in lines:
            assert set(re.findall(r"\{(\w+)\}", command + purpose)) <= set(known), command
    for error, _ in possibilities():
        assert errno_name(getattr(__import__("errno"), error)) == error


def test_likely_without_proof_certain_with_it() -> None:
    reset = row(connect__cause="rst_from_peer", connect__evidence={"syns": 1})
    assert weigh(reset) == ("rst_from_peer", "likely")
    reset["connect.evidence"] = {"syns": 1, "rst": True}
    assert weigh(reset) == ("rst_from_peer", "certain")


def test_a_look_can_prove() -> None:
    unrouted = row(connect__cause="no_route", connect__evidence=None, connect__errno="ENETUNREACH")
    assert weigh(unrouted) == ("no_route", "likely")
    supporting = Look("route", "supports", "no route to 192.0.2.9", "netlink")
    assert weigh(unrouted, [supporting]) == ("no_route", "certain")
    other = Look("listener", "supports", "nobody listens", "sock_diag")
    assert weigh(unrouted, [other]) == ("no_route", "likely")


def test_what_speaks_against_a_cause_outweighs_its_proof() -> None:
    seen = row(connect__evidence={"syns": 3})
    against = Look("listener", "against", "somebody listens", "sock_diag")
    assert weigh(seen, [against, Look("firewall", "supports", "", "")]) == ("unknown", "unknown")
    rather = Look("firewall", "against", "a rule drops it", "nft", rather="netfilter_drop")
    assert weigh(seen, [rather]) == ("netfilter_drop", "likely")


def test_unknown_says_what_it_can_be() -> None:
    story = tell(
        row(
            connect__cause="unknown",
            connect__errno="EPERM",
            connect__verdict="denied",
            connect__evidence=None,
        )
    )
    assert (story.cause, story.confidence) == ("unknown", "unknown")
    assert "a cgroup BPF program" in story.possible
    assert "no SYN was sent" in story.evidence


def test_a_cause_without_words_is_told_by_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callout.story.words.words", dict)
    story = tell(row())
    assert story.confidence == "likely"
    assert story.sentence == meanings()["syn_unanswered"][0].upper() + meanings()["syn_unanswered"][1:] + "."


def test_the_whole_story() -> None:
    story = tell(row(), schedule=syn_schedule(SynSettings(retries=1, linear=4)))
    text = "\n".join(story_lines(story, 100))
    assert "curl[7] → 192.0.2.9:443 (tcp): timed out (ETIMEDOUT)" in text
    assert "3 SYNs went out within 3.00s and none was answered" in text
    assert [(step.at, step.seen) for step in story.steps] == [
        (0, True), (0, True), (1_000_000_000, False), (2_000_000_000, False), (3_000_000_000, True),
    ]  # fmt: skip
    assert "≈+1.00s  SYN sent again" in text
    assert any(a.command == "callout why 192.0.2.9:443 --probe" for a in story.advice)


def test_packets_that_were_seen_take_the_place_of_those_worked_out() -> None:
    story = tell(row(), packets=[Packet(1_010_000_000, "SYN sent again")])
    assert [step.at for step in story.steps if step.seen] == [0, 0, 1_010_000_000, 3_000_000_000]


def test_what_processes_chose_is_harmless() -> None:
    nasty = row(
        destination__ip=None, destination__port=None, destination__address="/run/$(reboot)\x1b[2J;x",
        process__name="a\x1b]0;b", connect__cause="unix_no_path", connect__family="AF_UNIX",
    )  # fmt: skip
    story = tell(nasty)
    assert "\x1b" not in "\n".join(story_lines(story))
    (first, *_) = story.advice
    assert first.command == "ls -ld '/run'" or first.command == "ls -ld /run"
    assert all("$(reboot)" not in a.command or "'" in a.command for a in story.advice)


def test_groups_come_worst_first() -> None:
    groups = Groups()
    refused = row(connect__cause="rst_from_peer", connect__verdict="refused", connect__errno="ECONNREFUSED")
    groups.add([row(), refused, refused, row(event__outcome="success"), row(connect__pattern="nscd")])
    groups.add([row(connect__cause="bad_descriptor", connect__verdict="invalid")] * 9)
    assert [(g.cause, g.count) for g in groups.worst_first()] == [
        ("rst_from_peer", 2),
        ("syn_unanswered", 1),
        ("bad_descriptor", 9),
    ]
    assert (groups.failed, groups.others, groups.habits) == (12, 1, 1)
    (first, *_) = group_lines(groups.worst_first(), 80)
    assert first.split() == ["count", "destination", "cause", "sure", "last"]
    assert all(len(line) <= 80 for line in group_lines(groups.worst_first(), 80))


def test_rows_for_programs() -> None:
    told = story_row(tell(row()))
    assert told["@timestamp"] == "2027-01-15T08:00:00.000000000Z"
    assert told["why"]["cause"] == "syn_unanswered"
    assert told["why"]["steps"][0]["at"] == 0
    assert told["destination"] == {"ip": "192.0.2.9", "port": 443}
    groups = Groups()
    groups.add([row()])
    (group,) = groups.worst_first()
    assert group_row(group)["why"]["count"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", {"pid": 12}),
        ("9007199254740991", {"id": 9007199254740991}),
        ("id:12", {"id": 12}),
        ("nginx", {"name": "nginx"}),
        ("name:1", {"name": "1"}),
        ("unix:/run/x", {"path": "/run/x"}),
        ("unix:@x", {"path": "@x"}),
        ("/run/x", {"path": "/run/x"}),
        ("192.0.2.9:443", {"host": "192.0.2.9", "port": 443}),
        ("192.0.2.9", {"host": "192.0.2.9"}),
        ("[2001:DB8::1]:80", {"host": "2001:db8::1", "port": 80}),
        ("2001:db8::1", {"host": "2001:db8::1"}),
        ("db.example:5432", {"host": "db.example", "port": 5432}),
        ("localhost:80", {"host": "localhost", "port": 80}),
    ],
)
def test_targets(text: str, expected: dict[str, object]) -> None:
    target = parse(text)
    assert {name: value for name in expected if (value := getattr(target, name)) is not None} == expected


@pytest.mark.parametrize("text", ["", "0", "192.0.2.9:99999", "host:", ":80", "pid:x", "a:b:c:q"])
def test_bad_targets(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_targets_match() -> None:
    assert parse("192.0.2.9:443").matches(ROW)
    assert not parse("192.0.2.9:80").matches(ROW)
    assert parse("curl").matches(ROW)
    assert parse("7").matches(ROW)
    assert parse("id:11").matches(ROW)
    assert not parse("unix:/run/x").matches(ROW)
    assert parse("198.51.100.1:80").matches(
        row(connect__rewritten_from="198.51.100.1:80", destination__port=80)
    )
