"""Verdicts that no program was run for are told by their sockets.

The programs that see state change are made to miss it for real: their links are closed in the middle of the attempts.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from callout.lab.world import World
from callout.summary import Summary

from .test_many import all_blocked
from .watch import PATIENCE, TIER, Watch, watch

pytestmark = pytest.mark.kernel


@pytest.fixture
def world() -> Iterator[World]:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    yield World("overlooked", nowhere)
    os.close(nowhere)


def links() -> list[int]:
    """The descriptors of what sees state change."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(FileNotFoundError):  # the descriptor of that directory
            if "inet_sock_set_state" in Path(f"/proc/self/fdinfo/{fd}").read_text():
                found.append(fd)
    return found


def blind() -> None:
    """Detaches what sees state change: the descriptors of its links become others, which can be closed later."""
    found = links()
    assert found
    with open(os.devnull) as nothing:
        for link in found:
            os.dup2(nothing.fileno(), link)


def begin(address: tuple[str, int]) -> socket.socket:
    """A non-blocking attempt that is under way."""
    caller = socket.socket()
    caller.setblocking(False)
    assert caller.connect_ex(address) == errno.EINPROGRESS
    return caller


def row(w: Watch) -> dict[str, object]:
    (row,) = w.rows(1)
    return row


def test_a_call_that_returns(world: World) -> None:
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server, socket.socket() as caller:
        with all_blocked(lambda: caller.connect(server.getsockname()), 1):
            blind()
            world.hear(server)
        told = row(w)
        assert (told["connect.verdict"], told["connect.return"]) == ("established", 0)
        assert told["source.port"] == caller.getsockname()[1]
        counters = w.source.counters()
        assert (counters.overlooked, counters.found, counters.under_way) == (1, 0, 0)


def test_established(world: World) -> None:
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server, begin(server.getsockname()) as caller:
        blind()
        world.hear(server)
        told = row(w)
        assert (told["connect.verdict"], told["connect.return"]) == ("established", -errno.EINPROGRESS)
        assert (told["source.ip"], told["source.port"]) == caller.getsockname()
        counters = w.source.counters()
        assert (counters.overlooked, counters.found, counters.under_way) == (1, 1, 0)


def test_refused(world: World) -> None:
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server, begin(server.getsockname()) as caller:
        port = caller.getsockname()[1]
        blind()
        server.close()
        told = row(w)
        assert (told["connect.verdict"], told["connect.errno"]) == ("refused", "ECONNREFUSED")
        assert told["source.port"] == port


def test_established_and_closed(world: World) -> None:
    """The socket is closed before anybody looks, but it was answered."""
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server, begin(server.getsockname()) as caller:
        blind()
        world.hear(server)
        server.accept()[0].close()
        assert select.select([caller], [], [], PATIENCE)[0]
        caller.close()
        assert row(w)["connect.verdict"] == "established"


def test_nobody_can_tell(world: World) -> None:
    """Refused, and the error fetched: that it is over is all that is left."""
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server, begin(server.getsockname()) as caller:
        blind()
        server.close()
        while not (error := caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            pass
        assert error == errno.ECONNREFUSED
        assert row(w)["connect.verdict"] == "pending"


def test_many_at_once(world: World) -> None:
    """More than one read of the iterator holds."""
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server:
        server.listen(512)
        callers = [begin(server.getsockname()) for _ in range(300)]
        ports = {caller.getsockname()[1] for caller in callers}
        blind()
        world.hear(server)
        rows = w.rows(300)
        assert {row["source.port"] for row in rows} == ports
        assert {row["connect.verdict"] for row in rows} == {"established"}
        for caller in callers:
            caller.close()


def test_the_end_of_a_trace_looks_once_more(world: World) -> None:
    with watch(tier=TIER) as w, world.silent("127.0.0.1", 0) as server, begin(server.getsockname()) as caller:
        w.gather()
        blind()
        world.hear(server)
        server.accept()[0].close()
        summary = Summary()
        rows = [row for batch in w.source.finish(summary) for row in batch.rows()]
        assert [row["connect.verdict"] for row in rows] == ["established"]
        assert summary.extra["overlooked"] == 1
        assert caller.fileno() >= 0
