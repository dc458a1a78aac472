"""Place columns, with databases that the test writes: documentation addresses only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.batch import Batch, Coded, Plain
from callout.enrich import Options
from callout.enrich import geoip as module
from callout.enrich.geoip import NOWHERE, Databases, Spot, spot
from callout.enrich.place import GEO, Places
from callout.errors import InputError, UsageError
from callout.expression import parse
from callout.schema import FIELD_TYPES

CITY = {
    "country": {"iso_code": "NL", "names": {"en": "Netherlands", "de": "Niederlande"}},
    "subdivisions": [{"iso_code": "NH", "names": {"en": "North Holland"}}],
    "city": {"names": {"en": "Amsterdam"}},
}
NETWORK = {"autonomous_system_number": 64496, "autonomous_system_organization": "Example Net"}


def written(path: Path, version: int, records: dict[str, Any]) -> str:
    """A database with these records by prefix."""
    mmdb_writer = pytest.importorskip("mmdb_writer", reason="mmdb-writer is in the test group")
    netaddr = pytest.importorskip("netaddr")
    pytest.importorskip("maxminddb")
    writer = mmdb_writer.MMDBWriter(version, "callout-test", languages=["en"], ipv4_compatible=version == 6)
    for prefix, record in records.items():
        writer.insert_network(netaddr.IPSet([prefix]), record)
    writer.to_db_file(str(path))
    return str(path)


@pytest.fixture
def databases(tmp_path: Path) -> tuple[str, str]:
    return (
        written(tmp_path / "city.mmdb", 6, {"203.0.113.0/24": CITY, "2001:db8::/32": CITY}),
        written(tmp_path / "asn.mmdb", 4, {"203.0.113.0/25": NETWORK}),
    )


def rows() -> Batch:
    return Batch(
        5,
        {
            "destination.ip": Coded(
                np.array([0, 1, 0, -1, 2], np.int32), ["203.0.113.1", "2001:db8::1", "203.0.113.200"]
            ),
            "destination.port": Plain(
                np.array([443, 53, 5432, 0, 4], np.uint16), np.array([True, True, True, False, True])
            ),
            "network.transport": Coded(np.array([0, 1, 0, 2, 0], np.int32), ["tcp", "udp", "unix"]),
        },
    )


def enriched(*geoip: str) -> Batch:
    batch, places = rows(), Places(Options(geoip=geoip))
    places.add(batch)
    for name in batch.names:
        batch.column(name)
    places.close()
    return batch


def test_every_column(databases: tuple[str, str]) -> None:
    batch = enriched(*databases)
    here = {"destination.geo.country_iso_code": "NL", "destination.geo.country_name": "Netherlands",
            "destination.geo.region_name": "North Holland", "destination.geo.city_name": "Amsterdam"}  # fmt: skip
    whose = {"destination.as.number": 64496, "destination.as.organization.name": "Example Net"}
    special = {"connect.range": "documentation"}
    found = [{name: value for name, value in row.items() if name in {*GEO, "connect.range", "connect.service"}}
             for row in batch.rows()]  # fmt: skip
    assert found == [
        {**here, **whose, **special, "connect.service": "https"},
        {**here, **special, "connect.service": "domain"},
        {**here, **whose, **special, "connect.service": "postgresql"},
        {},
        {**here, **special},
    ]
    assert set(GEO) | {"connect.range", "connect.service"} <= set(FIELD_TYPES)


def test_without_a_database_there_are_no_such_columns() -> None:
    batch = enriched()
    assert [name for name in batch.names if name in GEO] == []
    assert batch.column("connect.range").tolist() == ["documentation"] * 3 + [None, "documentation"]


def test_what_a_row_has_already_stays() -> None:
    batch = rows()
    batch.add("connect.service", Coded(np.zeros(5, np.int32), ["recorded"]))
    Places(Options()).add(batch)
    assert set(batch.column("connect.service").tolist()) == {"recorded"}


def test_rows_without_addresses() -> None:
    batch = Batch(2, {})
    Places(Options()).add(batch)
    assert batch.column("connect.range").tolist() == [None, None]
    assert batch.column("connect.service").tolist() == [None, None]


def test_filters_work_on_them(databases: tuple[str, str]) -> None:
    batch = enriched(*databases)
    for text, expected in (
        ("connect.range = documentation", [True, True, True, False, True]),
        ("destination.as.number = 64496", [True, False, True, False, False]),
        ("connect.service in (https, domain)", [True, True, False, False, False]),
        ("destination.geo.city_name startswith Amster", [True, True, True, False, True]),
    ):
        assert parse(text, FIELD_TYPES).mask(batch).tolist() == expected, text


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, NOWHERE),
        ({"country": {}}, NOWHERE),
        ({"country": {"iso_code": 3, "names": []}, "subdivisions": {}, "city": None}, NOWHERE),
        (NETWORK, Spot(as_number=64496, as_name="Example Net")),
        (
            {"country": "NL", "country_name": "Netherlands", "asn": "AS64496", "as_name": "Example Net"},
            Spot("NL", "Netherlands", None, None, 64496, "Example Net"),
        ),
        ({"country": "Netherlands", "country_code": "NL", "city": "Amsterdam", "asn": "ASx"},
         Spot("NL", "Netherlands", None, "Amsterdam")),
    ],
)  # fmt: skip
def test_records_of_others(record: dict[str, Any], expected: Spot) -> None:
    assert spot(record) == expected


@given(
    st.dictionaries(
        st.sampled_from(["country", "city", "subdivisions", "asn", "autonomous_system_number"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["names", "en", "iso_code"]), inner)
            ),
        ),
    )
)
def test_any_record_is_read(record: dict[str, Any]) -> None:
    spot(record)


def test_what_is_no_database(tmp_path: Path) -> None:
    pytest.importorskip("maxminddb")
    bad = tmp_path / "bad.mmdb"
    bad.write_bytes(b"nonsense" * 100)
    with pytest.raises(InputError, match=r"bad\.mmdb is no database in MaxMind's format"):
        Databases([str(bad)])
    with pytest.raises(InputError, match=r"none\.mmdb: No such file"):
        Databases([str(tmp_path / "none.mmdb")])


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "maxminddb", None)
    with pytest.raises(UsageError, match=r"callout\[geoip\]"):
        Databases(["x.mmdb"])


def test_addresses_of_every_form(databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    found = Databases(databases)
    assert found.look("::ffff:203.0.113.1").city == "Amsterdam"
    assert found.look("::ffff:203.0.113.1").as_number == 64496
    assert found.look("2001:db8::1%eth0").city == "Amsterdam"
    assert found.look("no address") == NOWHERE
    assert found.look("192.0.2.1") == NOWHERE
    assert len(found) == 2
    found.close()
