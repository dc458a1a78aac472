"""A Podman of our own: storage, service and an image of ours. No registry, no network; it leaves nothing."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .engine import built, needed
from .watch import PATIENCE

CGROUPS = Path("/sys/fs/cgroup")
IMAGE = "localhost/callout-test:1"


class Podman:
    """``socket`` is where its service listens; ``environment`` tells callout so."""

    def __init__(self, place: Path) -> None:
        self.socket = place / "podman.sock"
        storage = place / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/root"\nrunroot = "{place}/run"\n'
        )
        self._own = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}
        self.environment = {**self._own, "CONTAINER_HOST": f"unix://{self.socket}"}
        # of the low-level runtimes, crun 1.8 refuses cgroup v1 beside v2 with controllers
        runtime = ["--runtime", "runc"] if shutil.which("runc") else []
        self._command = [
            "podman", "--tmpdir", f"{place}/tmp", "--cgroup-manager", "cgroupfs", "--events-backend", "file", *runtime,
        ]  # fmt: skip

    def podman(self, *words: str) -> str:
        """What a podman command prints. Fails the test with what it says."""
        done = self.tried(*words)
        assert done.returncode == 0, f"podman {words}: {done.stderr}"
        return done.stdout.strip()

    def tried(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A podman command, however it ends."""
        return subprocess.run(
            [*self._command, *words],
            env=self._own,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 3,
            check=False,
        )

    def serve(self) -> subprocess.Popen[bytes]:
        """Starts the service."""
        words = [*self._command, "system", "service", "--time=0", f"unix://{self.socket}"]
        return subprocess.Popen(words, env=self._own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @staticmethod
    def options() -> list[str]:
        """Of `podman run`: limits that it may set (its usual ones are higher than some hosts grant)."""
        found = ["--network", "none"]
        for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
            limit = min(value for value in (1024, *resource.getrlimit(number)) if value >= 0)
            found += ["--ulimit", f"{name}={limit}:{limit}"]
        return found


def parents() -> set[Path]:
    """The cgroups in which Podman puts those of its containers; it never removes them."""
    return {path for pattern in ("libpod_parent", "*/libpod_parent") for path in CGROUPS.glob(pattern)}


@contextmanager
def podman() -> Iterator[Podman]:
    """Podman with the image IMAGE and its service running; skips where no container starts."""
    needed("podman", "conmon", "gcc", "busybox")
    place = Path(tempfile.mkdtemp(prefix="callout-podman-"))
    found, service, before = Podman(place), None, parents()
    try:
        tree = built(place)
        archive = place / "tree.tar"
        subprocess.run(["tar", "-C", str(tree), "-cf", str(archive), "."], check=True, timeout=60)
        found.podman("import", str(archive), IMAGE)
        tried = found.tried("run", "--rm", *found.options(), IMAGE, "/bin/busybox", "true")
        if tried.returncode:
            pytest.skip(f"Podman starts no container here: {tried.stderr.strip()[-300:]}")
        service = found.serve()
        end = time.monotonic() + PATIENCE
        while not found.socket.exists():
            assert service.poll() is None
            assert time.monotonic() < end, "the service does not listen"
        yield found
    finally:
        found.tried("rm", "--all", "--force", "--time", "0")
        if service is not None:
            service.send_signal(signal.SIGTERM)
            service.wait(PATIENCE)
        for parent in parents() - before:
            for cgroup in (*sorted(parent.rglob("*/"), reverse=True), parent):
                cgroup.rmdir()
        shutil.rmtree(place, ignore_errors=True)
