"""What is known about an attempt beside the attempt itself: who made it, from where, to what name.

Rule of this package: once per distinct key and batch, never per row; never in the way of the stream: what is not
known when a row is written stays absent. One file per concern, and one line in ``enrichment.ENRICHERS``. Only for
live sources: recorded rows have these columns already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from callout.batch import Array, Batch
    from callout.btf import Btf
    from callout.footprint import Table


class Options(NamedTuple):
    """What the user asked of enrichers. ``hash``: also the SHA-256 of executables. ``names``: also those of
    destinations, for which a program runs on each packet. ``related``: rows of related calls stand between the
    attempts, in the order of time. ``geoip``: databases in MaxMind's format.
    """

    hash: bool = False
    names: bool = True
    related: bool = False
    geoip: tuple[str, ...] = ()


class Kernel(Protocol):
    """What an enricher may ask of the kernel side. ``btf`` tells the layouts and constants of records."""

    btf: Btf

    def look(self) -> None:
        """Reports all processes that there are, as records of the kind RECORD_TASK, before it returns."""
        ...


class Enricher(Protocol):
    """One concern. Made with ``Options``; used by one thread, in the order begin, then feed and add, then close.

    ``kinds``: the kinds of records (``record.h``) that it wants from the kernel.
    """

    kinds: tuple[str, ...]

    def begin(self, kernel: Kernel) -> None:
        """Programs are attached: looks at what was there before."""
        ...

    def feed(self, kind: str, records: Array) -> None:
        """Takes records; they are valid only during the call, and may lack the unused end of their last member."""
        ...

    def add(self, batch: Batch) -> None:
        """Adds its columns: the same ones to each batch, computed when asked for. What may be gone
        later is looked up now.
        """
        ...

    def memory(self) -> list[Table]:
        """What it keeps; each table is bounded."""
        ...

    def close(self) -> None:
        """Lets go of threads and connections."""
        ...


@runtime_checkable
class ByKind(Enricher, Protocol):
    """An enricher whose columns do not differ within a kind of rows: it is given one row of each."""

    def stamp(self, batch: Batch) -> object:
        """What its columns of these rows would depend on beside the rows: equal as long as they would be the same, and
        None where that cannot be told. What may be gone later is looked up now.
        """
        ...


@runtime_checkable
class Asking(Protocol):
    """What an enricher has beside that if it asks others, such as container runtimes."""

    def start(self) -> None:
        """Starts the threads that ask; before programs are loaded."""
        ...

    @property
    def threads(self) -> frozenset[int]:
        """Their ids: what they do is left out of the trace."""
        ...

    def problems(self) -> list[str]:
        """Who did not answer what was asked, and why."""
        ...

    def settle(self) -> None:
        """Waits for open answers, at the end of a trace: a second or two at most, however often it is called."""
        ...
