"""`callout doctor --memory`, and what a running trace tells of its memory when it is asked by SIGUSR1.

Rule of this file: it puts together what tables, maps and process there are; how that looks is ``doctor.memory``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callout.doctor import memory

if TYPE_CHECKING:
    from callout.capture.kernel import KernelSource
    from callout.enrichment import Enrichment


def of(source: KernelSource, enrichment: Enrichment) -> list[memory.Line]:
    """What a live trace keeps now."""
    return memory.lines([*enrichment.memory(), *source.memory()], source.maps(), memory.resident())


def fresh() -> list[memory.Line]:
    """The same of a trace that has just begun here, as `callout trace` begins it. Raises NotPermittedError."""
    from callout.capture import privileges
    from callout.capture.kernel import KernelSource
    from callout.enrichment import Enrichment

    privileges.check()
    with (
        Enrichment() as enrichment,
        KernelSource(listeners=enrichment.listeners, hidden=enrichment.threads) as source,
    ):
        enrichment.begin(source)
        enrichment.add(source.read())
        return of(source, enrichment)
