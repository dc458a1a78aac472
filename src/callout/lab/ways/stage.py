"""The process that takes the ways, seen from outside: it stops at a gate until whoever watches is ready.

Rule of this file: the process never outlives its parent, as in ``lab.child``; its reports are read when it has
ended, for all of them together fit into the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callout.errors import CalloutError, NotPermittedError
from callout.lab.child import launch
from callout.lab.ways.base import Made


class Taken:
    """What became of one way: ``made``, or the reason ``not_here``, or how it ``failed``."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.way: str = report["way"]
        self.pid: int = report["pid"]
        self.not_here: str = report.get("not_here", "")
        self.failed: str = report.get("failed", "")
        self.made = (
            Made(report["fd"], bytes.fromhex(report["address"]), report["result"], report["note"])
            if "address" in report
            else None
        )


class Stage:
    """The process, standing at its gate. ``pid`` is also that of the mark."""

    def __init__(self, process: subprocess.Popen[bytes], reports: int) -> None:
        self.process = process
        self.pid = process.pid
        self._reports = open(reports, "rb")  # noqa: SIM115 - closed in close()

    def wait_ready(self) -> None:
        """Returns when the process is in its namespace. Raises NotPermittedError, CalloutError."""
        line = self._reports.readline()
        report = json.loads(line) if line else {}
        if "refused" in report:
            raise NotPermittedError(report["refused"], report["remedy"])
        if "ready" not in report:
            raise CalloutError(f"the process of the self-test ended early (status {self.process.wait()})")

    def release(self) -> None:
        """Opens the gate."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def finished(self) -> bool:
        """Whether all ways have been taken."""
        return self.process.poll() is not None

    def taken(self) -> list[Taken]:
        """What became of the ways; waits for the end of the process. The last word on a way counts."""
        found = {report["way"]: Taken(report) for report in map(json.loads, self._reports)}
        return list(found.values())

    def close(self) -> None:
        """Ends the process and everything it started, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)  # its own group: spawn() starts a session
            self.process.wait()
        self._reports.close()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a byte that the dead process did not take
                self.process.stdin.close()


@contextmanager
def spawn() -> Iterator[Stage]:
    """A stage for the length of a block, begun by a thread that lives as long."""
    process, receive = launch("callout.lab.ways")
    stage = Stage(process, receive)
    try:
        stage.wait_ready()
        yield stage
    finally:
        stage.close()
