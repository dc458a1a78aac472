"""The hosts file that a process sees: real processes with roots of their own, and files that are traps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callout.enrich import hosts
from callout.enrich.hosts import Hosts, parse, root_of

FILE = b"""\
127.0.0.1 localhost
::1 localhost ip6-localhost
0.0.0.0 ads.test
192.0.2.1\tFirst.test  second.test # third.test
192.0.2.1 fourth.test
2001:DB8:0::7 six.test
fe80::1%eth0 link.test
not-an-address x.test
192.0.2.9
# 192.0.2.8 y.test
192.0.2.10 a\x1b[2J\xff.test
"""


def test_the_first_name_of_each_address() -> None:
    assert parse(FILE) == {
        "192.0.2.1": "first.test",
        "2001:db8::7": "six.test",
        "fe80::1": "link.test",
        "192.0.2.10": r"a\027[2j\255.test",
    }


@contextmanager
def below(root: Path) -> Iterator[int]:
    """A process whose root is this directory; its pid."""
    code = "import os, sys; os.chroot(sys.argv[1]); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        if not process.stdout.readline():
            pytest.skip("chroot needs root")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_of_a_process_with_a_root_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "etc/hosts").write_bytes(FILE)
    with below(root) as pid:
        found = Hosts()
        assert found.of((1, pid))["192.0.2.1"] == "first.test"
        (root / "etc/hosts").write_text("192.0.2.1 changed.test\n")
        assert found.of((1, pid))["192.0.2.1"] == "first.test"  # it was looked at just now
        monkeypatch.setattr(hosts, "AGAIN", 0)
        assert found.of((1, pid))["192.0.2.1"] == "changed.test"
        assert 0 < sum(table.bytes for table in found.memory()) < 10_000
        monkeypatch.setattr(hosts, "AGAIN", 60)
    assert found.of((1, pid))["192.0.2.1"] == "changed.test"  # gone, but it was looked at just now
    assert found.of((2, pid)) == {}


def test_links_lead_nowhere_but_below_the_root(root: Path) -> None:
    (root / "real").write_text("192.0.2.1 linked.test\n")
    (root / "etc/hosts").symlink_to("/real")
    with below(root) as pid:
        assert Hosts().of((1, pid)) == {"192.0.2.1": "linked.test"}
    outside = root / "etc/hosts"
    outside.unlink()
    outside.symlink_to("../../../../etc/hosts")
    with below(root) as pid:
        assert Hosts().of((1, pid)) == {}


@pytest.mark.parametrize("trap", ["fifo", "directory", "device", "large", "missing"])
def test_traps(root: Path, trap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = root / "etc/hosts"
    if trap == "fifo":
        os.mkfifo(place)
    elif trap == "directory":
        place.mkdir()
    elif trap == "device":
        try:
            os.mknod(place, 0o020666, os.makedev(1, 9))  # urandom
        except PermissionError:
            pytest.skip("mknod needs root")
    elif trap == "large":
        with place.open("wb") as file:
            file.truncate(hosts.SIZE + 1)
    with below(root) as pid:
        assert Hosts().of((1, pid)) == {}


def test_nobody_waits_for_a_file_system_that_does_not_answer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a FUSE file system that hangs: a read that ends when the test does."""
    import threading

    gate = threading.Event()
    monkeypatch.setattr(hosts, "read", lambda pid, known: gate.wait() and None)
    monkeypatch.setattr(hosts, "AGAIN", 0)
    try:
        with below(root) as pid:
            found = Hosts()
            for _ in range(hosts.STUCK + 3):
                assert found.of((1, pid)) == {}
            assert found._stuck == hosts.STUCK
    finally:
        gate.set()


def test_our_own() -> None:
    assert root_of("self") == root_of(str(os.getpid()))
    assert root_of("0") is None
    names = parse(Path("/etc/hosts").read_bytes())
    assert Hosts().of((1, os.getpid())) == names
