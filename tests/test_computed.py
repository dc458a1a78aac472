"""Computed facts: the arithmetic of net/ipv4/tcp_timer.c and of the port range."""

from __future__ import annotations

import pytest

from callout.computed import (
    PortUse,
    SynSettings,
    backlog,
    fastopen,
    model_timeout,
    reserved_ports,
    seconds,
    syn_schedule,
)


def test_six_retries_take_127_seconds() -> None:
    schedule = syn_schedule(SynSettings(retries=6))
    assert list(schedule.sent) == [0, 1, 3, 7, 15, 31, 63]
    assert schedule.gives_up == 127


def test_four_linear_timeouts_make_it_131() -> None:
    """As Documentation/networking/ip-sysctl.rst has it: 67 s till the last SYN, 131 s in all."""
    schedule = syn_schedule(SynSettings(retries=6, linear=4))
    assert list(schedule.sent) == [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]
    assert schedule.gives_up == 131


@pytest.mark.parametrize(
    ("settings", "syns", "gives_up"),
    [
        (SynSettings(retries=0), 1, 1),
        (SynSettings(retries=1), 2, 3),
        (SynSettings(retries=1, linear=4), 3, 3),
        (SynSettings(retries=2, linear=4), 6, 7),
        (SynSettings(retries=5), 6, 63),
        (SynSettings(retries=6, user_timeout=1.5), 2, 1.5),
        (SynSettings(retries=6, user_timeout=0.2), 2, 1.001),
        (SynSettings(retries=2, user_timeout=60), 3, 7),
        (SynSettings(retries=3, rto_max=2), 4, 7),
    ],
    ids=str,
)
def test_schedules(settings: SynSettings, syns: int, gives_up: float) -> None:
    schedule = syn_schedule(settings)
    assert (len(schedule.sent), round(schedule.gives_up, 3)) == (syns, gives_up)
    assert list(schedule.sent) == sorted(schedule.sent)


def test_the_model_follows_the_longest_timeout() -> None:
    assert model_timeout(6, 1, 120) == 127
    assert model_timeout(8, 1, 120) == 127 + 2 * 120


def test_every_number_of_retries_ends() -> None:
    for retries in range(256):
        assert syn_schedule(SynSettings(retries=retries, linear=255)).gives_up > 0


def test_ports() -> None:
    use = PortUse(low=40000, high=40009, reserved=2, taken=6)
    assert (use.available, use.left, use.share) == (8, 2, 0.75)
    assert PortUse(40000, 40000, 1, 0).share == 1
    assert reserved_ports("8080,40001,40005-40020\n", 40000, 40009) == 6
    assert reserved_ports("\n", 32768, 60999) == 0


def test_backlog_takes_one_more_than_it_says() -> None:
    assert backlog(1024, 128) == 129
    assert backlog(0, 4096) == 1


def test_fastopen_in_words() -> None:
    assert fastopen(0) == []
    assert fastopen(3) == ["for calls", "for listeners"]


@pytest.mark.parametrize(
    ("value", "text"), [(127, "127 s"), (2.5, "2.5 s"), (924, "15 min 24 s"), (600, "10 min")]
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text
