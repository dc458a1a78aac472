"""One unary gRPC call over a Unix socket, with the pure-Python HTTP/2 of ``h2`` (the extra ``callout[containers]``).

Rule of this file: bytes in, bytes out; it knows frames and status codes, no messages. The connection is made
by the calling thread and ends with the call: a runtime is asked seldom, and a library with threads of its own
would make connections that the trace could not tell from the host's. Source: gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import socket
import struct
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from callout.enrich.runtimes import Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE = 3.0  # seconds for each step
MOST = 64 << 20  # bytes of an answer
PREFIX = struct.Struct(">BI")  # compressed or not, length
UNIMPLEMENTED, NOT_FOUND = 12, 5


class Refused(Unanswered):
    """The service answered with an error; ``status`` is gRPC's number."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def available() -> bool:
    """Whether the extra is installed."""
    try:
        return all(find_spec(name) for name in ("h2", "google.protobuf"))
    except ModuleNotFoundError:  # no package `google` at all
        return False


def call(path: str, method: str, message: bytes, metadata: Iterable[tuple[str, str]] = ()) -> bytes:
    """The answer of ``method`` (`package.Service/Method`) at the socket ``path``. Raises OSError, Unanswered."""
    import h2.config
    import h2.connection
    import h2.exceptions

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        try:
            return exchange(sock, http, path, method, message, metadata)
        except h2.exceptions.H2Error as error:
            raise Unanswered(f"{path}: {error!r}") from error


def exchange(
    sock: socket.socket,
    http: Any,
    path: str,
    method: str,
    message: bytes,
    metadata: Iterable[tuple[str, str]],
) -> bytes:
    """Sends the request and reads until its stream ends."""
    import h2.events

    http.initiate_connection()
    stream = http.get_next_available_stream_id()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{method}"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *metadata,
    ]
    http.send_headers(stream, headers)
    http.send_data(stream, PREFIX.pack(0, len(message)) + message, end_stream=True)
    sock.sendall(http.data_to_send())
    got = bytearray()
    told: dict[str, str] = {}
    ended = False
    while not ended:
        data = sock.recv(65536)
        if not data:
            raise Unanswered(f"{path}: closed during {method}")
        for event in http.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                told.update({str(name): str(value) for name, value in event.headers})
            elif isinstance(event, h2.events.DataReceived):
                got += event.data
                http.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise Unanswered(f"{path}: {method} was reset ({event.error_code})")
            elif isinstance(event, h2.events.StreamEnded):
                ended = True
        if len(got) > MOST:
            raise Unanswered(f"{path}: {method} answers more than {MOST} bytes")
        sock.sendall(http.data_to_send())
    return unpacked(path, method, bytes(got), told)


def unpacked(path: str, method: str, data: bytes, told: dict[str, str]) -> bytes:
    """The message of a response. Raises Refused for the service's errors, Unanswered for what is no response."""
    status = told.get("grpc-status", "")
    if status not in ("0", "") and status.isdigit():
        raise Refused(f"{path}: {method}: {told.get('grpc-message', '')} (status {status})", int(status))
    if told.get(":status") != "200" or status != "0" or len(data) < PREFIX.size:
        raise Unanswered(f"{path}: {method} is not answered by gRPC ({told.get(':status')})")
    compressed, length = PREFIX.unpack_from(data)
    if compressed or length != len(data) - PREFIX.size:
        raise Unanswered(f"{path}: {method} answers {len(data)} bytes that are no message")
    return data[PREFIX.size :]
