"""What reaches the kernel side, and what is decided by the mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from callout.batch import Batch, Coded, Plain
from callout.errors import UsageError
from callout.narrowing import Narrowing, compile_wanted

BATCH = Batch(
    4,
    {
        "process.pid": Plain(np.array([7, 8, 9, 7])),
        "process.name": Coded(np.array([0, 1, 0, 2], np.int32), ["curl", "wget", 'a "b" \\']),
        "user.id": Plain(np.array([0, 0, 1000, 1000])),
        "connect.cgroup": Coded(np.array([0, 1, 2, -1], np.int32), ["/a", "/a/b", "/ab"]),
        "destination.port": Plain(np.array([443, 80, 443, 53]), np.array([True, True, True, False])),
        "network.type": Coded(np.array([0, 1, 0, -1], np.int32), ["ipv4", "ipv6"]),
        "event.outcome": Coded(np.array([0, 1, 1, 2], np.int32), ["success", "failure", "unknown"]),
    },
)


@pytest.mark.parametrize(
    ("options", "text", "rows"),
    [
        (Narrowing(), "", [0, 1, 2, 3]),
        (Narrowing(pids=frozenset({9, 7})), "process.pid in (7, 9)", [0, 2, 3]),
        (Narrowing(uids=frozenset({1000})), "user.id in (1000)", [2, 3]),
        (
            Narrowing(cgroup="/sys/fs/cgroup/unified/a/"),
            '(connect.cgroup = "/a" or connect.cgroup startswith "/a/")',
            [0, 1],
        ),
        (
            Narrowing(cgroup="a/b"),
            '(connect.cgroup = "/a/b" or connect.cgroup startswith "/a/b/")',
            [1],
        ),
        (Narrowing(cgroup="/"), "connect.cgroup exists", [0, 1, 2]),
        (Narrowing(ports=frozenset({443, 53})), "destination.port in (53, 443)", [0, 2]),
        (Narrowing(comms=frozenset({"wget"})), 'process.name in ("wget")', [1]),
        (Narrowing(comms=frozenset({'a "b" \\'})), 'process.name in ("a \\"b\\" \\x5c")', [3]),
        (Narrowing(families=frozenset({2})), "network.type in (ipv4)", [0, 2]),
        (Narrowing(families=frozenset({2, 10})), "network.type in (ipv4, ipv6)", [0, 1, 2]),
        (Narrowing(outcome="failure"), "event.outcome = failure", [1, 2]),
        (
            Narrowing(pids=frozenset({7, 9}), ports=frozenset({443}), outcome="success"),
            "process.pid in (7, 9) and destination.port in (443) and event.outcome = success",
            [0],
        ),
    ],
)
def test_options_over_a_recording(options: Narrowing, text: str, rows: list[int]) -> None:
    """There the mask decides alone; what it says as text is what it does."""
    assert options.text() == text
    wanted = compile_wanted(options, "", live=False)
    assert (wanted.mask is None) == (not text)
    assert (list(range(4)) if wanted.mask is None else np.flatnonzero(wanted.mask(BATCH)).tolist()) == rows


@pytest.mark.parametrize(
    ("live", "rows"),
    [(True, [0, 2]), (False, [0])],
    ids=["live: the kernel side checks the options", "recorded: the mask checks both"],
)
def test_filter_and_options(live: bool, rows: list[int]) -> None:
    wanted = compile_wanted(Narrowing(pids=frozenset({7})), "destination.port = 443", live=live)
    assert wanted.kernel == Narrowing(pids=frozenset({7}))
    assert wanted.mask is not None
    assert np.flatnonzero(wanted.mask(BATCH)).tolist() == rows


def test_no_filter_on_a_live_source_leaves_nothing_to_the_mask() -> None:
    options = Narrowing(pids=frozenset({7}), cgroup="/a", phases=True, outcome="failure")
    wanted = compile_wanted(options, "", live=True)
    assert (wanted.kernel, wanted.mask) == (options, None)


MANY = ", ".join(str(number) for number in range(1, 41))


@pytest.mark.parametrize(
    ("options", "filter_text", "kernel"),
    [
        (Narrowing(), "process.pid = 7", Narrowing(pids=frozenset({7}))),
        # both at once: what satisfies both
        (Narrowing(pids=frozenset({7, 8})), "process.pid in (8, 9)", Narrowing(pids=frozenset({8}))),
        # nothing can: the kernel side is told so by an empty set
        (Narrowing(pids=frozenset({7})), "process.pid = 8", Narrowing(pids=frozenset())),
        # more than there is room for, and values that no attempt has: left to the mask
        (Narrowing(), f"process.pid in ({MANY})", Narrowing()),
        (Narrowing(), f"user.id in ({MANY})", Narrowing()),
        (Narrowing(), "user.id = 4294967296", Narrowing()),
        # the kernel side compares the port asked for, a filter the one used: a cgroup program may lie between
        (Narrowing(), "destination.port = 443", Narrowing()),
        (Narrowing(), "destination.port = 70000", Narrowing()),
        (Narrowing(ports=frozenset({5})), "destination.port = 6", Narrowing(ports=frozenset({5}))),
        # the options' own outcome stays; the mask does the rest
        (Narrowing(outcome="failure"), "event.outcome = success", Narrowing(outcome="failure")),
        (Narrowing(), "event.outcome = success", Narrowing(outcome="success")),
        # what is no field of the kernel side changes nothing there
        (Narrowing(cgroup="/a", phases=True), "connect.cause = lsm", Narrowing(cgroup="/a", phases=True)),
        (Narrowing(), "process.pid = 7 or user.id = 0", Narrowing()),
        (Narrowing(), "not process.pid = 7", Narrowing()),
    ],
)
def test_what_a_filter_adds_to_the_kernel_side(
    options: Narrowing, filter_text: str, kernel: Narrowing
) -> None:
    assert compile_wanted(options, filter_text, live=True).kernel == kernel


@pytest.mark.parametrize(
    ("options", "message", "remedy"),
    [
        (
            {"pids": frozenset(range(17))},
            "at most 16 process values can be given as options, not 17",
            "use a filter: it takes any number",
        ),
        (
            {"ports": frozenset(range(33))},
            "at most 32 port values can be given as options, not 33",
            "use a filter: it takes any number",
        ),
        ({"ports": frozenset({65536})}, "port number 65536 is out of range (0 to 65535)", ""),
        ({"pids": frozenset({-1})}, "process number -1 is out of range (0 to 4194304)", ""),
        ({"uids": frozenset({1 << 32})}, "user number 4294967296 is out of range (0 to 4294967295)", ""),
        (
            {"comms": frozenset({"sixteen bytes !!"})},
            "process name 'sixteen bytes !!' is longer than the 15 bytes that the kernel keeps of a name",
            "",
        ),
    ],
)
def test_options_that_the_kernel_side_cannot_check(
    options: dict[str, Any], message: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as caught:
        compile_wanted(Narrowing(**options), "", live=True)
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


@pytest.mark.parametrize("live", [True, False])
def test_a_bad_filter_points_into_what_the_user_wrote(live: bool) -> None:
    """Also where options are put in front of it, and where brackets would balance only together with ours."""
    with pytest.raises(UsageError) as caught:
        compile_wanted(Narrowing(pids=frozenset({7})), "user.id = 0) or (user.id = 1", live=live)
    assert caught.value.message.splitlines()[1:3] == [
        "  user.id = 0) or (user.id = 1",
        "             ^",
    ]
