"""The Docker Engine API over a Unix socket; Podman serves the same one.

Rule of this file: three requests (all containers, one container, the stream of events), each with a time-out
and a bound on what is read. Source: https://docs.docker.com/reference/api/engine/. Paths without a version
mean the newest that the daemon has, in both.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from callout.enrich.container import Container, labelled, text, texts
from callout.enrich.runtimes import Unanswered

PATIENCE = 3.0  # seconds for an answer
MOST = 64 << 20  # bytes of one: a list of 10,000 containers has about 20 million
LONGEST = 1 << 20  # bytes of one event
# What an event says of its own, beside the labels (moby, daemon/events.go).
OWN = {
    "image",
    "name",
    "exitCode",
    "signal",
    "execID",
    "execDuration",
    "oldName",
    "containerExitCode",
    "podId",
}
EVENTS = {"type": ["container"], "event": ["create", "start", "rename", "init"]}


def ask(path: str, request: str) -> Any:
    """The JSON answer; None where the daemon says 404. Raises OSError, Unanswered."""
    from callout.enrich.runtimes.unix_http import Connection, Failure

    connection = Connection(path, PATIENCE)
    try:
        connection.request("GET", request)
        answer = connection.getresponse()
        data = answer.read(MOST + 1)
    except Failure as error:
        raise Unanswered(f"{path}: {error!r}") from error
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status != 200 or len(data) > MOST:
        raise Unanswered(f"{path}: HTTP {answer.status}, {len(data)} bytes")
    return parsed(path, data)


def parsed(path: str, data: bytes) -> Any:
    """JSON from a daemon. Raises Unanswered."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise Unanswered(f"{path}: {error}") from error


def one(path: str, identifier: str, runtime: str) -> Container | None:
    """The container with this id; None where the daemon does not have it (any more)."""
    found = ask(path, f"/containers/{quote(identifier, safe='')}/json")
    if not isinstance(found, Mapping) or text(found.get("Id")) != identifier:
        return None  # a name may look like the beginning of an id
    config = found.get("Config")
    config = config if isinstance(config, Mapping) else {}
    name = (text(found.get("Name")) or "").removeprefix("/")
    image = text(config.get("Image")) or text(found.get("ImageName"))
    return labelled(identifier, name or None, image, runtime, texts(config.get("Labels")))


def everything(path: str, runtime: str) -> list[Container]:
    """All containers that the daemon has, running or not."""
    found = ask(path, "/containers/json?all=1")
    return [
        labelled(identifier, first_name(item), text(item.get("Image")), runtime, texts(item.get("Labels")))
        for item in (found if isinstance(found, list) else ())
        if isinstance(item, Mapping) and (identifier := text(item.get("Id")))
    ]


def first_name(item: Mapping[str, Any]) -> str | None:
    """The container's own name: others, with more slashes, are links to it."""
    names = item.get("Names")
    found = (
        [name.removeprefix("/") for name in names if isinstance(name, str)] if isinstance(names, list) else []
    )
    return min(found, key=lambda name: name.count("/"), default=None)


def event(line: bytes, runtime: str) -> Container | None:
    """What one event says of its container."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    actor = told.get("Actor") if isinstance(told, Mapping) else None
    identifier = text(actor.get("ID")) if isinstance(actor, Mapping) else None
    if not isinstance(actor, Mapping) or not identifier:
        return None
    attributes = texts(actor.get("Attributes"))
    labels = {key: value for key, value in attributes.items() if key not in OWN}
    return labelled(identifier, text(attributes.get("name")), text(attributes.get("image")), runtime, labels)


class Events:
    """The stream of events, from now on. Iterating waits; ``close``, from another thread, ends it."""

    def __init__(self, path: str, runtime: str) -> None:
        from callout.enrich.runtimes.unix_http import Connection, Failure

        self.runtime = runtime
        self._failures = (OSError, ValueError, Failure)
        self._connection = Connection(path, PATIENCE)
        try:
            self._connection.request("GET", f"/events?filters={quote(json.dumps(EVENTS))}")
            self._sock = self._connection.sock
            self._answer = self._connection.getresponse()
            if self._answer.status != 200:
                raise Unanswered(f"{path}: HTTP {self._answer.status} for events")
            self._sock.settimeout(None)
        except Failure as error:
            self._connection.close()
            raise Unanswered(f"{path}: {error!r}") from error
        except (OSError, Unanswered):
            self._connection.close()
            raise

    def __iter__(self) -> Iterator[Container]:
        with self._answer, self._sock:
            while line := self._line():
                if found := event(line, self.runtime):
                    yield found

    def _line(self) -> bytes:
        try:
            return self._answer.readline(LONGEST)
        except self._failures:
            return b""  # closed here or there

    def close(self) -> None:
        """Ends the stream: whoever waits for it wakes up, and closes it."""
        with suppress(OSError):  # the daemon was first
            self._sock.shutdown(socket.SHUT_RDWR)
