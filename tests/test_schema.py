"""The public fields. Changing this list changes what filters, files and dashboards of others rely on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.schema import FIELD_TYPES, FIELDS, flatten, nest, ordered

PUBLIC = {
    "@timestamp": "time",
    "event.kind": "text",
    "event.category": "text_list",
    "event.type": "text_list",
    "event.action": "text",
    "event.outcome": "text",
    "event.duration": "int",
    "event.reason": "text",
    "host.name": "text",
    "process.pid": "int",
    "process.thread.id": "int",
    "process.parent.pid": "int",
    "process.parent.name": "text",
    "process.parent.executable": "text",
    "process.parent.command_line": "text",
    "process.name": "text",
    "process.executable": "text",
    "process.args": "text_list",
    "process.command_line": "text",
    "process.working_directory": "text",
    "process.hash.sha256": "text",
    "process.session_leader.pid": "int",
    "process.tty.char_device.major": "int",
    "process.tty.char_device.minor": "int",
    "process.thread.capabilities.effective": "text_list",
    "process.start": "time",
    "process.entity_id": "text",
    "process.ancestors": "list",
    "user.id": "int",
    "user.name": "text",
    "user.effective.id": "int",
    "user.effective.name": "text",
    "user.audit.id": "int",
    "user.audit.name": "text",
    "group.id": "int",
    "group.name": "text",
    "container.id": "text",
    "container.name": "text",
    "container.image.name": "text",
    "container.runtime": "text",
    "container.labels": "object",
    "orchestrator.type": "text",
    "orchestrator.namespace": "text",
    "orchestrator.resource.id": "text",
    "orchestrator.resource.name": "text",
    "orchestrator.resource.type": "text",
    "orchestrator.resource.label": "text_list",
    "service.name": "text",
    "source.ip": "ip",
    "source.port": "int",
    "source.bytes": "int",
    "destination.ip": "ip",
    "destination.port": "int",
    "destination.address": "text",
    "destination.bytes": "int",
    "destination.domain": "text",
    "destination.geo.country_iso_code": "text",
    "destination.geo.country_name": "text",
    "destination.geo.region_name": "text",
    "destination.geo.city_name": "text",
    "destination.as.number": "int",
    "destination.as.organization.name": "text",
    "network.transport": "text",
    "network.type": "text",
    "network.bytes": "int",
    "network.community_id": "text",
    "connect.id": "int",
    "connect.entry": "text",
    "connect.fd": "int",
    "connect.argument": "text",
    "connect.addrlen": "int",
    "connect.family": "text",
    "connect.type": "text",
    "connect.protocol": "int",
    "connect.sockaddr": "text",
    "connect.nonblocking": "bool",
    "connect.fastopen": "bool",
    "connect.return": "int",
    "connect.verdict": "text",
    "connect.errno": "text",
    "connect.cause": "text",
    "connect.evidence": "object",
    "connect.swapped": "object",
    "connect.rewritten_from": "text",
    "connect.pattern": "text",
    "connect.origin": "object",
    "connect.range": "text",
    "connect.service": "text",
    "connect.cgroup": "text",
    "connect.slice": "text",
    "connect.cookie": "int",
    "connect.netns": "int",
    "connect.domain_source": "text",
    "connect.domain_age": "int",
    "connect.domain_confidence": "text",
    "connect.ech": "bool",
    "connect.resolver": "text",
    "connect.args_cut": "bool",
    "connect.executable.deleted": "bool",
    "connect.executable.memfd": "bool",
    "connect.executable.inode": "int",
    "connect.executable.device": "text",
    "connect.namespace.net": "int",
    "connect.namespace.pid": "int",
    "connect.namespace.mnt": "int",
    "connect.namespace.user": "int",
    "connect.lost_before": "int",
    "rule.name": "text",
    "rule.id": "text",
}

# Promised by the interface, made by nothing yet: whoever adds one moves it up.
LATER = ("threat.indicator.ip",)


def test_the_public_fields_and_their_types_in_order() -> None:
    assert list(FIELD_TYPES.items()) == list(PUBLIC.items())


def test_nothing_is_promised_and_made_at_once() -> None:
    assert [name for name in LATER if name in FIELDS] == []


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_every_field_is_documented_in_one_sentence(field: Any) -> None:
    assert field.doc.endswith(".")
    assert "\n" not in field.doc
    assert FIELDS[field.name] is field


def test_units_are_those_of_numbers() -> None:
    assert {name: f.unit for name, f in FIELDS.items() if f.unit} == {
        "@timestamp": "ns",
        "event.duration": "ns",
        "process.start": "ns",
        "source.bytes": "bytes",
        "destination.bytes": "bytes",
        "network.bytes": "bytes",
        "connect.addrlen": "bytes",
        "connect.domain_age": "ns",
    }


def test_no_field_is_inside_another() -> None:
    assert [(a, b) for a in FIELDS for b in FIELDS if b.startswith(a + ".")] == []


def test_nest_and_flatten() -> None:
    flat = {
        "process.pid": 7,
        "process.parent.pid": 1,
        "connect.evidence": {"rst": True, "more": {"syns": 2}},
        "process.ancestors": [{"pid": 1}],
        "@timestamp": 5,
    }
    nested = {
        "process": {"pid": 7, "parent": {"pid": 1}, "ancestors": [{"pid": 1}]},
        "connect": {"evidence": {"rst": True, "more": {"syns": 2}}},
        "@timestamp": 5,
    }
    assert nest(flat) == nested
    assert flatten(nested) == flat


OBJECTS = st.dictionaries(st.text(max_size=5), st.integers(), max_size=3)


@given(st.sets(st.sampled_from(sorted(PUBLIC))), st.data())
def test_nest_loses_nothing(names: set[str], data: st.DataObject) -> None:
    row = {
        name: data.draw(OBJECTS) if FIELD_TYPES[name] == "object" else data.draw(st.integers())
        for name in sorted(names)
    }
    assert flatten(nest(row)) == row


def test_ordered_as_in_the_schema_and_unknown_names_last() -> None:
    assert ordered(["zzz", "connect.id", "process.pid", "aaa", "@timestamp"]) == [
        "@timestamp",
        "process.pid",
        "connect.id",
        "zzz",
        "aaa",
    ]
