"""A look-up with the files of another process (hosts, resolv.conf, nsswitch.conf, gai.conf), with our own library.

Rule of this file: run as a program of its own (``python -m callout.probing.lookup``), which nobody else is in: it
covers /etc with an empty file system that only it sees, and puts there what it was given. The files are data; no
library of the other process is loaded, so of the services in nsswitch.conf those that would need one are left out.
One JSON object comes on standard input, one goes to standard output.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

ETC = Path("/etc")
SERVICES = (
    "files",
    "dns",
)  # built into the C library (glibc 2.34 and later; libnss_files and libnss_dns before)


def services(text: str) -> str:
    """nsswitch.conf(5) with the services for hosts that need no library of the other process."""
    for line in text.splitlines():
        name, colon, rest = line.partition("#")[0].partition(":")
        if colon and name.strip() == "hosts":
            known = [word for word in rest.split() if word in SERVICES]
            return f"hosts: {' '.join(known) or 'files dns'}\n"
    return "hosts: files dns\n"


def main() -> int:
    """Puts the files in place and asks."""
    from callout.lab import libc

    asked = json.load(sys.stdin)
    libc.unshare(libc.CLONE_NEWNS)
    libc.private_tmpfs(str(ETC))
    for name, text in asked["files"].items():
        (ETC / name).write_text(services(text) if name == "nsswitch.conf" else text, errors="surrogateescape")
    try:
        found = socket.getaddrinfo(asked["host"], asked["port"], type=socket.SOCK_STREAM)
        answer: dict[str, object] = {"addresses": [str(entry[4][0]) for entry in found], "error": None}
    except (OSError, UnicodeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        answer = {"addresses": [], "error": text}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
