"""HTTP to a Unix socket.

Rule of this file: imported when a daemon is really asked. ``http.client`` brings TLS and mail along, 5 MB that a
host without containers need not spend.
"""

from __future__ import annotations

import http.client
import socket

Failure = http.client.HTTPException


class Connection(http.client.HTTPConnection):
    """A connection to the socket with this path; ``timeout`` in seconds, for each wait."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise
