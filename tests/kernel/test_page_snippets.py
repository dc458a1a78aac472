"""Code that pages of the reference show: it compiles, and it really refuses what it says."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from callout.capture.cgroups import hierarchy
from callout.doctor.selftest import remove

pytestmark = pytest.mark.kernel
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(page: str, language: str) -> str:
    """The one piece of code in a language on a page."""
    text = files("callout").joinpath(f"reference/pages/{page}.md").read_text(encoding="utf-8")
    (code,) = (body for kind, body in FENCE.findall(text) if kind == language)
    return str(code)


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


C_MAIN = """
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(9)};
    inet_pton(AF_INET, "127.0.0.1", &peer.sin_addr);
    printf("%d", refuse_connect());
    connect(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&peer, sizeof peer);
    printf(" %s", strerror(errno));
    syscall(SYS_io_uring_setup, 1, NULL);
    printf(" %s", strerror(errno));
    return 0;
}
"""


def test_libseccomp_in_c(tmp_path: Path) -> None:
    if not shutil.which("gcc") or not Path("/usr/include/seccomp.h").exists():
        pytest.skip("needs gcc and libseccomp-dev")
    source = tmp_path / "filter.c"
    source.write_text(shown("hook/seccomp-filter", "c") + C_MAIN)
    done = run("gcc", "-Wall", "-Wextra", "-Werror", source, "-o", tmp_path / "filter", "-lseccomp")
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "filter").stdout == "0 Permission denied Function not implemented"


PYTHON_MAIN = """
import ctypes, socket
print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(("127.0.0.1", 9)))
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 1, None), ctypes.get_errno())
"""


def test_libseccomp_in_python() -> None:
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    done = run(sys.executable, "-c", shown("hook/seccomp-filter", "python") + PYTHON_MAIN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "13\n-1 38\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The page's BPF program, compiled."""
    if not shutil.which("clang") or not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs clang and libbpf-dev")
    source, built = tmp_path / "only_loopback.bpf.c", tmp_path / "only_loopback.bpf.o"
    source.write_text(shown("hook/cgroup-connect", "c"))
    where = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    done = run("clang", "-Wall", "-Werror", "-O2", "-g", "-target", "bpf", where, "-c", source, "-o", built)
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup of our own."""
    root = hierarchy()
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("needs root and a cgroup v2 hierarchy")
    place = Path(root) / f"callout-test-{os.getpid()}-snippet"
    place.mkdir()
    yield place
    remove(place)


INSIDE = """
import pathlib, socket, sys
pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
for host in ("127.0.0.1", "192.0.2.1"):
    print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex((host, 9)))
"""


def test_cgroup_program(program: Path, group: Path) -> None:
    """In a network of its own with a route to nowhere: one destination is taken, the other refused."""
    tool = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("needs bpftool")
    pins = f"/sys/fs/bpf/callout-test-{uuid.uuid4().hex}"
    # in a mount namespace of its own, so that neither mount nor pin outlives it
    script = f"""
mount -t bpf bpf /sys/fs/bpf && ip link set lo up && ip route add default dev lo || exit 9
{tool} prog load {program} {pins} && {tool} cgroup attach {group} connect4 pinned {pins} || exit 8
"$@"
"""
    done = run(
        "unshare", "--mount", "--net", "sh", "-c", script, "sh", sys.executable, "-c", INSIDE, str(group)
    )
    if done.returncode in (8, 9):
        pytest.skip(f"cannot be set up here: {done.stderr.strip()[-200:]}")
    assert (done.returncode, done.stdout.split()) == (0, ["0", str(errno.EPERM)])
