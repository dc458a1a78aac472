"""One real attempt, made on request, and diagnosed layer by layer: `callout why HOST:PORT --probe`.

Rule of this package: the only part of callout that sends something because of a diagnosis. It makes one connection
attempt for each address, sends no data, and closes at once what it reached.
"""

from __future__ import annotations

from callout.probing.names import Names
from callout.probing.probe import Probe, Reach, probe

__all__ = ["Names", "Probe", "Reach", "probe"]
