"""What kind of place the peer is: special range, usual service, country and network.

Rule of this file: each distinct address, and each distinct pair of transport and port, once. All of it follows
from the row, so recorded rows can be told as well; what they have already stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from callout.batch import Coded, Plain, compact
from callout.enrich import ranges
from callout.enrich.geoip import KEPT, Databases, Spot
from callout.enrich.services import service_of, services
from callout.footprint import table

if TYPE_CHECKING:
    from callout.batch import Array, Batch, Column
    from callout.enrich import Kernel, Options
    from callout.footprint import Table

SPOT_BYTES = 500  # of an address that was looked up, with its key
GEO: dict[str, Callable[[Spot], Any]] = {
    "destination.geo.country_iso_code": lambda spot: spot.country_code,
    "destination.geo.country_name": lambda spot: spot.country,
    "destination.geo.region_name": lambda spot: spot.region,
    "destination.geo.city_name": lambda spot: spot.city,
    "destination.as.number": lambda spot: spot.as_number,
    "destination.as.organization.name": lambda spot: spot.as_name,
}


class Places:
    """The enricher."""

    kinds: tuple[str, ...] = ()

    def __init__(self, options: Options) -> None:
        self._databases = Databases(options.geoip) if options.geoip else None

    def begin(self, kernel: Kernel) -> None:
        """Reads what is looked up before there is anything to look up."""
        services()
        ranges.table()

    def feed(self, kind: str, records: Array) -> None:
        """There are no records about places."""

    def stamp(self, batch: Batch) -> object:
        """All of it follows from the rows."""
        return ()

    def add(self, batch: Batch) -> None:
        """`connect.range`, `connect.service`, and GEO where a database was given."""
        self._add(batch, "connect.range", lambda: by_address(batch, ranges.name_of))
        self._add(batch, "connect.service", lambda: by_port(batch))
        if self._databases is not None:
            look = self._databases.look
            for name, member in GEO.items():
                self._add(batch, name, geo(batch, lambda address, member=member: member(look(address)), name))  # type: ignore[misc]

    def _add(self, batch: Batch, name: str, source: Callable[[], Column]) -> None:
        if name not in batch:
            batch.add(name, source)

    def memory(self) -> list[Table]:
        """Addresses that were looked up."""
        return [] if self._databases is None else [table("places", len(self._databases), KEPT, SPOT_BYTES)]

    def close(self) -> None:
        """Closes the databases."""
        if self._databases is not None:
            self._databases.close()


def coded_of(batch: Batch, name: str) -> Coded:
    """A column of text; one without values where the batch does not have it."""
    column = batch.column(name) if name in batch else None
    if isinstance(column, Coded):
        return column
    return Coded(np.full(len(batch), -1, np.int32), [])


def by_address(batch: Batch, value: Callable[[str], Any]) -> Coded:
    """A column that follows from the peer's address."""
    column = coded_of(batch, "destination.ip")
    return compact(column.codes, [value(str(address)) for address in column.values])


def geo(batch: Batch, value: Callable[[str], Any], name: str) -> Callable[[], Column]:
    """A column of what a database says."""

    def made() -> Column:
        column = by_address(batch, value)
        return numbers(column) if name == "destination.as.number" else column

    return made


def numbers(column: Coded) -> Plain:
    """A column of whole numbers as such."""
    values: Sequence[int] = [*column.values, 0]  # code -1 takes the last
    return Plain(np.array(values, np.int64)[column.codes], column.codes >= 0)


def by_port(batch: Batch) -> Coded:
    """The usual service of each row's transport and port."""
    transports = coded_of(batch, "network.transport")
    ports = batch.column("destination.port") if "destination.port" in batch else None
    if not isinstance(ports, Plain):
        return Coded(np.full(len(batch), -1, np.int32), [])
    known = transports.codes >= 0 if ports.valid is None else (transports.codes >= 0) & ports.valid
    keys = np.where(known, transports.codes.astype(np.int64) << 32 | ports.data.astype(np.int64), -1)
    pairs, codes = np.unique(keys, return_inverse=True)
    names = [
        None if pair < 0 else service_of(str(transports.values[pair >> 32]), pair & 0xFFFFFFFF)
        for pair in pairs.tolist()
    ]
    return compact(codes.astype(np.int32), names)
