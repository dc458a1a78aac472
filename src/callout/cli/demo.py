"""What ``callout trace --demo`` adds to a trace: the laboratory's attempts, made while we watch.

Rule of this file: it starts the laboratory's child, opens its gate, and says when it is over.
"""

from __future__ import annotations

import time
from types import TracebackType

from callout.cli.streams import say
from callout.lab.child import spawn_demo
from callout.lab.report import Failed

SETTLE = 0.3  # seconds after the last attempt in which its verdict may still come


class Demo:
    """A context manager around the demonstration; ``over`` is the condition on which a trace may stop."""

    def __init__(self) -> None:
        self._child = spawn_demo()
        self._ended: float | None = None
        for scenario in self._child.impossible:
            say(f"callout: not shown here: {scenario.scenario}: {scenario.reason}")

    def __enter__(self) -> Demo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def begin(self) -> None:
        """Opens the gate: the attempts begin."""
        self._child.release()

    def over(self) -> bool:
        """Whether all attempts have been made, and their verdicts had time to come."""
        if self._ended is None and self._child.finished():
            self._ended = time.monotonic()
            for report in self._child.reports():
                if isinstance(report, Failed):
                    say(f"callout: the scenario {report.scenario} broke off\n{report.reason}")
        return self._ended is not None and time.monotonic() - self._ended > SETTLE
