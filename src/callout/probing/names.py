"""From a name to addresses, in the order in which programs try them.

Rule of this file: asks the C library, as programs do: its order is that of RFC 6724 and gai.conf(5). Where the process
has a file system of its own, its files are used (``lookup``). What it asks on the network (DNS) is part of the probe.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from callout.enrich.inside import read_inside
from callout.errors import CalloutError
from callout.story.target import address

ETC, PACKAGE = Path("/etc"), Path(__file__).parents[2]
FILES = ("hosts", "resolv.conf", "nsswitch.conf", "gai.conf", "host.conf")


@dataclass(frozen=True)
class Names:
    """What became of a name. ``addresses``: in order, without scope; ``took`` seconds; ``error``: the library's words.

    ``told``: where the answer may be from, for people.
    """

    host: str
    addresses: tuple[str, ...]
    took: float
    error: str | None
    told: str


def resolve(host: str, port: int, pid: int | None = None) -> Names:
    """Asks for the addresses of a host, in the network namespace of this thread.

    ``pid``: with the files of this process, where it has others than we. Raises CalloutError where they cannot be used.
    """
    literal = address(host) is not None
    foreign = None if pid is None or literal or same_files(pid) else files_of(pid)
    files = own_files() if foreign is None else foreign
    whose = "" if foreign is None else f" of process {pid}"
    began = time.monotonic()
    found, error = ask(host, port) if foreign is None else ask_elsewhere(host, port, foreign)
    took = time.monotonic() - began
    if error is not None:
        return Names(host, (), took, error, servers(files, whose))
    addresses = tuple(dict.fromkeys(found))
    if literal:
        return Names(host, addresses, took, None, "an address needs no look-up")
    told = f"/etc/hosts{whose}" if in_hosts(host, files) else servers(files, whose)
    return Names(host, addresses, took, None, told)


def ask(host: str, port: int) -> tuple[list[str], str | None]:
    """Addresses, or the library's words for why there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return [], text
    return [str(entry[4][0]) for entry in found], None


def ask_elsewhere(host: str, port: int, files: Mapping[str, str]) -> tuple[list[str], str | None]:
    """The same with other files, by a program that follows this thread into its network namespace."""
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "callout.probing.lookup"],
        input=json.dumps({"host": host, "port": port, "files": files}),
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        raise CalloutError(
            f"{host} cannot be looked up with the files of the process: {reason}", "run it as root"
        )
    answer = json.loads(done.stdout)
    return answer["addresses"], answer["error"]


def same_files(pid: int) -> bool:
    """Whether a process sees the file systems that we see, from the same root."""
    try:
        spaces = {os.stat(f"/proc/{one}/ns/mnt").st_ino for one in ("self", pid)}
        roots = {(at.st_dev, at.st_ino) for at in (os.stat(f"/proc/{one}/root") for one in ("self", pid))}
    except OSError:
        return True  # it cannot be seen: ours are the best there is
    return len(spaces) == len(roots) == 1


def own_files() -> dict[str, str]:
    """The files of this process that are there."""
    found = {}
    for name in FILES:
        if (ETC / name).is_file():
            found[name] = (ETC / name).read_text(errors="surrogateescape")
    return found


def files_of(pid: int) -> dict[str, str]:
    """The files of another process that are there."""
    found = {}
    for name in FILES:
        try:
            found[name] = read_inside(pid, str(ETC / name)).decode(errors="surrogateescape")
        except OSError:
            continue  # it has none
    return found


def in_hosts(host: str, files: Mapping[str, str]) -> bool:
    """Whether hosts(5) names a host."""
    lines = files.get("hosts", "").splitlines()
    return any(host.lower() in line.partition("#")[0].lower().split()[1:] for line in lines)


def servers(files: Mapping[str, str], whose: str) -> str:
    """The name servers of resolv.conf(5)."""
    path = f"{ETC / 'resolv.conf'}{whose}"
    if "resolv.conf" not in files:
        return f"there is no {path}: 127.0.0.1 is asked"
    lines = files["resolv.conf"].splitlines()
    found = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
    return (
        f"name servers {', '.join(found)}{whose}" if found else f"{path} names no server: 127.0.0.1 is asked"
    )
