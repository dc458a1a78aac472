"""Where on earth an address is, and whose network: from databases in MaxMind's format that the user gives.

Rule of this file: an address is looked up once; of several databases the first that says something is believed,
member by member. Needs the extra ``callout[geoip]``. Sources: MaxMind's pages on GeoLite2 and GeoIP2 City,
Country and ASN (DB-IP's are alike), and IPinfo's, whose records are flat.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from callout.enrich.kept import kept
from callout.enrich.ranges import plain
from callout.errors import InputError, UsageError

if TYPE_CHECKING:
    import maxminddb

KEPT = 65536  # addresses


class Spot(NamedTuple):
    """What the databases say of an address; None where they do not."""

    country_code: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    as_number: int | None = None
    as_name: str | None = None


NOWHERE = Spot()


class Databases:
    """Open databases. Raises InputError for a file that is none, UsageError without the extra."""

    def __init__(self, paths: Sequence[str]) -> None:
        try:
            import maxminddb
        except ImportError as error:
            raise UsageError(
                "--geoip needs the extra callout[geoip]", "pip install 'callout[geoip]'"
            ) from error
        self._readers: list[maxminddb.Reader] = []
        self._known: OrderedDict[str, Spot] = OrderedDict()
        for path in paths:
            try:
                self._readers.append(maxminddb.open_database(path))
            except OSError as error:
                self.close()
                raise InputError(f"{path}: {error.strerror or error}") from error
            except (maxminddb.InvalidDatabaseError, ValueError) as error:
                self.close()
                raise InputError(
                    f"{path} is no database in MaxMind's format: {error}", "give a file that ends in .mmdb"
                ) from error

    def look(self, address: str) -> Spot:
        """What is known about an address; nothing for what is no address."""
        found = self._known.get(address)
        if found is None:
            found = kept(self._known, address, self._asked(address), KEPT)
        return found

    def _asked(self, address: str) -> Spot:
        bare = plain(address)
        found = NOWHERE
        for reader in self._readers if bare else ():
            if ":" in str(bare) and reader.metadata().ip_version == 4:
                continue
            record = reader.get(str(bare))
            if isinstance(record, Mapping):
                said = spot(record)._asdict()
                found = found._replace(
                    **{key: said[key] for key, value in found._asdict().items() if value is None}
                )
        return found

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Closes the files."""
        for reader in self._readers:
            reader.close()


def spot(record: Mapping[str, Any]) -> Spot:
    """One record, whoever made it."""
    country = record.get("country")
    divisions = record.get("subdivisions")
    if isinstance(country, str):  # IPinfo
        return Spot(
            record.get("country_code") or (country if len(country) == 2 else None),
            record.get("country_name") or (country if len(country) != 2 else None),
            text(record.get("region")),
            text(record.get("city")),
            number(record.get("asn")),
            text(record.get("as_name")),
        )
    return Spot(
        text(country.get("iso_code")) if isinstance(country, Mapping) else None,
        name(country),
        name(divisions[0]) if isinstance(divisions, list) and divisions else None,
        name(record.get("city")),
        number(record.get("autonomous_system_number", record.get("asn"))),
        text(record.get("autonomous_system_organization", record.get("as_name"))),
    )


def name(place: Any) -> str | None:
    """The English name of a place."""
    names = place.get("names") if isinstance(place, Mapping) else None
    return text(names.get("en")) if isinstance(names, Mapping) else None


def text(value: Any) -> str | None:
    """Text that says something."""
    return value if isinstance(value, str) and value else None


def number(value: Any) -> int | None:
    """15169, also written AS15169."""
    if isinstance(value, str):
        value = value.removeprefix("AS")
        return int(value) if value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) else None
