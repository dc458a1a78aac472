"""A network of our own with a resolver's address, a hosts file, and processes in it that do as they are told.

Rule of this file: everything lives in one network and mount namespace, and ends with the block.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

HOLDER = """
import subprocess, sys
from callout.lab import libc
for file in ("resolv.conf", "hosts", "nsswitch.conf"):
    subprocess.run(["mount", "--bind", f"{sys.argv[1]}/{file}", f"/etc/{file}"], check=True)
for line in sys.argv[2:]:
    subprocess.run(["ip", *line.split()], check=True)
print(flush=True)
sys.stdin.read()
"""
CLIENT = """
import ctypes, json, os, socket, ssl, struct, sys
def lookup(name, family=0):
    return sorted({found[4][0] for found in socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)})
def connect(ip, port=9):
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as s:
        return s.connect_ex((ip, port))
for line in sys.stdin:
    print(json.dumps(eval(line), default=str), flush=True)
"""
ADDRESSES = ("link set lo up", "addr add 192.0.2.77/32 dev lo", "addr add 192.0.2.78/32 dev lo",
             "addr add 2001:db8::77/128 dev lo nodad")  # fmt: skip


class Client:
    """A Python process in the network: ``do`` evaluates an expression there. See CLIENT for what it knows."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def do(self, expression: str) -> Any:
        """The value of an expression."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(expression.replace("\n", " ") + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the client ended at {expression}"
        return json.loads(line)


class Network:
    """The network; ``netns`` is its number."""

    def __init__(self, holder: subprocess.Popen[str], stack: ExitStack) -> None:
        self._holder = holder
        self._stack = stack
        self.netns = os.stat(f"/proc/{holder.pid}/ns/net").st_ino

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """A process in the network; it ends with the network."""
        inside = [
            "nsenter",
            f"--net=/proc/{self._holder.pid}/ns/net",
            f"--mount=/proc/{self._holder.pid}/ns/mnt",
        ]
        process = subprocess.Popen([*inside, *command], text=True, **options)
        self._stack.callback(ended, process)
        return process

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """A process in the network, to its end."""
        process = self.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def client(self) -> Client:
        """A new client."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return Client(self.start([sys.executable, "-c", CLIENT], **pipes))

    def dnsmasq(self, *options: str) -> None:
        """A DNS server at 127.0.0.1."""
        if not (server := shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin")):
            pytest.skip("dnsmasq is not installed (apt install dnsmasq-base)")
        process = self.start(
            [server, "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-",
             "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=", *options],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        said: list[str] = []
        while not any("started" in line for line in said):
            said.append(waiting(process).readline())
            assert said[-1], said


def waiting(process: subprocess.Popen[str]) -> Any:
    """Standard error of a process."""
    assert process.stderr
    return process.stderr


def ended(process: subprocess.Popen[str]) -> None:
    """Ends a process."""
    process.kill()
    process.communicate()


@contextmanager
def network(directory: Path, *commands: str) -> Iterator[Network]:
    """A network in which /etc/hosts knows 192.0.2.77 and a resolver is asked at 127.0.0.1; ``commands`` are ip's."""
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:5\n")
    (directory / "hosts").write_text("127.0.0.1 localhost\n192.0.2.77 From-Hosts.test other.test # text\n")
    (directory / "nsswitch.conf").write_text("hosts: files dns\n")
    for tool in ("nsenter", "ip", "unshare"):
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin"):
            pytest.skip(f"{tool} is not installed (apt install util-linux iproute2)")
    with ExitStack() as stack:
        holder = subprocess.Popen(
            ["unshare", "--net", "--mount", sys.executable, "-c", HOLDER, str(directory), *ADDRESSES, *commands],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        stack.callback(ended, holder)
        assert holder.stdout
        assert holder.stdout.readline(), waiting(holder).read()
        yield Network(holder, stack)
