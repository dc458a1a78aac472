"""A Docker daemon of our own, with an image of our own: no registry, no bridge, nothing of the host's changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .watch import PATIENCE

IMAGE = "callout-test:1"
CLIENT = Path(__file__).with_name("container_client.c")


def needed(*commands: str) -> None:
    """Skips the test where a command is missing."""
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"no {command} (scripts/setup.sh --test installs it)")


def built(place: Path) -> Path:
    """A tree with the client, busybox's sleep, and nothing else."""
    needed("gcc", "busybox")
    tree = place / "tree"
    (tree / "bin").mkdir(parents=True)
    subprocess.run(
        ["gcc", "-static", "-O1", str(CLIENT), "-o", str(tree / "bin/client")], check=True, timeout=60
    )
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, tree / "bin/busybox")
    (tree / "bin/sleep").symlink_to("busybox")
    return tree


class Engine:
    """A running daemon: ``socket`` is where it listens."""

    def __init__(self, socket: Path, daemon: subprocess.Popen[bytes]) -> None:
        self.socket = socket
        self.daemon = daemon
        self.environment = {
            **os.environ,
            "DOCKER_HOST": f"unix://{socket}",
            "DOCKER_CONFIG": str(socket.parent),
        }

    def docker(self, *words: str) -> str:
        """What a docker command prints. Fails the test with what it says."""
        done = subprocess.run(
            ["docker", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 3,
            check=False,
        )
        assert done.returncode == 0, f"docker {words}: {done.stderr}"
        return done.stdout.strip()

    def run(self, *words: str) -> str:
        """`docker run` of our image without a network, in the background: the container's id."""
        return self.docker("run", "--detach", "--network", "none", *words)


@contextmanager
def engine() -> Iterator[Engine]:
    """A daemon with the image IMAGE, ended with all its containers when the block ends."""
    needed("dockerd", "docker", "containerd", "runc")
    place = Path(tempfile.mkdtemp(prefix="callout-docker-"))  # short: the path of a socket has 107 bytes
    log = (place / "log").open("wb")
    socket = place / "docker.sock"
    own = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    daemon = subprocess.Popen(
        ["dockerd", *own, "--data-root", f"{place}/data", "--exec-root", f"{place}/exec",
         "--pidfile", f"{place}/pid", "--host", f"unix://{socket}"],
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    found = Engine(socket, daemon)
    try:
        ready(found, place / "log")
        tree = built(place)
        archive = place / "tree.tar"
        subprocess.run(["tar", "-C", str(tree), "-cf", str(archive), "."], check=True, timeout=60)
        found.docker("import", str(archive), IMAGE)
        yield found
    finally:
        ended(found)
        log.close()
        shutil.rmtree(place, ignore_errors=True)


def ready(found: Engine, log: Path) -> None:
    """Waits until the daemon answers; skips where it does not start at all."""
    end = time.monotonic() + PATIENCE * 2
    command = ["docker", "version", "--format", "{{json .Server.Version}}"]
    while True:
        if found.daemon.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"dockerd does not start here: {' '.join(last)[:300]}")
        done = subprocess.run(
            command, env=found.environment, capture_output=True, timeout=PATIENCE, check=False
        )
        if done.returncode == 0 and json.loads(done.stdout):
            return
        assert time.monotonic() < end, log.read_text(errors="replace")[-2000:]


def ended(found: Engine) -> None:
    """Ends all containers and the daemon."""
    if found.daemon.poll() is None:
        listed = ["docker", "ps", "--all", "--quiet"]
        try:
            ids = subprocess.run(
                listed, env=found.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
            ).stdout.split()
            if ids:
                subprocess.run(
                    ["docker", "rm", "--force", *ids],
                    env=found.environment, capture_output=True, timeout=PATIENCE, check=False,
                )  # fmt: skip
        finally:
            found.daemon.send_signal(signal.SIGTERM)
            try:
                found.daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(found.daemon.pid, signal.SIGKILL)  # with its containerd: a session of their own
                found.daemon.wait(PATIENCE)
