"""The laboratory seen from outside: a child process, stopped at a gate until whoever watches is ready.

Rule of this file: the child never outlives its parent. ``close`` kills its process group; should the parent
end without that, the kernel kills the child (PR_SET_PDEATHSIG, bound to the thread that called ``spawn``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from callout.errors import CalloutError, NotPermittedError
from callout.lab import demo, named
from callout.lab.report import Arranged, Attempt, Failed, Impossible, Ready, Refused, Report, from_line

ROOT = Path(__file__).parents[2]  # the directory that has the package, installed or not


class Child:
    """A child process with its scenarios set up, waiting at the gate. Use it in a ``with`` block.

    ``pid`` is its process id (slow scenarios run in its threads, ``process_died`` in a process of its own;
    all have the comm ``runner.COMM``). ``scenarios`` are the names that it will run, ``impossible`` those
    that it cannot.
    """

    def __init__(self, process: subprocess.Popen[bytes], reports: int) -> None:
        self.process = process
        self.pid = process.pid
        self.scenarios: tuple[str, ...] = ()
        self.impossible: list[Impossible] = []
        self._reports = open(reports, "rb")  # noqa: SIM115 - closed in close()

    def _wait_ready(self) -> None:
        for line in self._reports:
            report = from_line(line)
            if isinstance(report, Ready):
                self.scenarios = report.scenarios
                return
            if isinstance(report, Refused):
                raise NotPermittedError(report.message, report.remedy)
            if isinstance(report, Impossible):
                self.impossible.append(report)
        status = self.process.wait()
        raise CalloutError(f"the laboratory's process ended before it was ready (status {status})")

    def release(self) -> None:
        """Opens the gate: the attempts begin. Raises BrokenPipeError when the child has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def finished(self) -> bool:
        """Whether the child has made all its attempts and ended."""
        return self.process.poll() is not None

    def reports(self) -> Iterator[Report]:
        """What the child reports from here on, until it ends; blocks in between.

        Its pipe holds about 64 KiB, some 200 reports; the child waits when it is full and nobody reads.
        """
        yield from map(from_line, self._reports)

    def told(self) -> list[Attempt | Arranged]:
        """As ``attempts``, with what was put in place for them, as it came."""
        return [report for report in self._sound() if isinstance(report, Attempt | Arranged)]

    def attempts(self) -> list[Attempt]:
        """All attempts from here on. Raises CalloutError with the traceback of a scenario that broke off."""
        return [report for report in self._sound() if isinstance(report, Attempt)]

    def _sound(self) -> Iterator[Report]:
        for report in self.reports():
            if isinstance(report, Failed):
                raise CalloutError(f"the scenario {report.scenario} broke off", report.reason)
            if isinstance(report, Impossible):  # one that found so when it was tried
                self.impossible.append(report)
            yield report

    def close(self) -> None:
        """Ends the child and everything it started, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)  # its own group: spawn() starts a session
            self.process.wait()
        self._reports.close()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a byte that the dead child did not take
                self.process.stdin.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def launch(module: str, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a module of the laboratory as a process of its own, and the end of a pipe that reads its reports.

    It leads a session, so that its group can be killed, and imports this very package, installed or not.
    """
    receive, report = os.pipe()
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--parent", str(os.getpid()), "--report", str(report), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(report,),
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    except BaseException:
        os.close(receive)
        raise
    finally:
        os.close(report)
    return process, receive


def spawn(names: Sequence[str] = (), steps: bool = False) -> Child:
    """Starts a child with scenarios by name (none: all), and returns when it stands ready at the gate.

    With ``steps`` it announces each attempt, and makes it after another ``release``.
    Call it from a thread that lives as long as the child shall. Raises UsageError for an unknown name,
    NotPermittedError where no namespace can be had, CalloutError where the child fails.
    """
    wanted = [scenario.name for scenario in named(names)]
    process, receive = launch("callout.lab", *(["--steps"] if steps else []), *wanted)
    child = Child(process, receive)
    try:
        child._wait_ready()
    except BaseException:
        child.close()
        raise
    return child


def spawn_demo() -> Child:
    """Starts the child that ``callout trace --demo`` watches. As ``spawn``."""
    return spawn([scenario.name for scenario in demo()])
