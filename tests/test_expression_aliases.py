"""Falco's names: what each of them reads in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from callout.batch import Coded
from callout.expression import parse
from callout.expression.aliases import COMPUTED, ENDS, falco_names
from callout.schema import FIELDS

TYPES: Mapping[str, str] = {name: field.type for name, field in FIELDS.items()}


class OneRow:
    """A batch of one row; None is a column without value, a name not given is no column."""

    def __init__(self, **values: Any) -> None:
        self.values = {name.replace("__", "."): value for name, value in values.items()}

    def __len__(self) -> int:
        return 1

    def column(self, name: str) -> Coded:
        value = self.values[name]
        return Coded(np.array([-1 if value is None else 0], np.int32), [] if value is None else [value])


def holds(text: str, row: OneRow) -> bool:
    return bool(parse(text, TYPES).mask(row)[0])


TCP = OneRow(
    source__ip="10.0.0.2",
    source__port=40000,
    destination__ip="192.0.2.1",
    destination__port=443,
    network__type="ipv4",
    network__transport="mptcp",
    connect__return=-115,
    connect__errno="ECONNREFUSED",
    event__outcome="failure",
    event__action="connect",
    container__id=None,
    container__image__name="reg.example:5000/team/app:1.2@sha256:00",
    process__pid=30,
    process__name="curl",
    process__executable="/usr/bin/curl",
    process__args=["curl", "-s", "http://x"],
    process__ancestors=[
        {"pid": 20, "name": "bash", "executable": "/bin/bash"},
        {"pid": 1, "name": "systemd", "executable": "/sbin/init"},
    ],
)
UNIX = OneRow(
    destination__ip=None,
    destination__address="/run/x.sock",
    network__type=None,
    network__transport="unix",
    connect__return=0,
    connect__errno=None,
    event__outcome="success",
    container__id="3ad7b26ded6d",
    container__image__name="nginx",
)
BARE = OneRow(event__action="connect")


@pytest.mark.parametrize(
    ("row", "true"),
    [
        (TCP, "evt.type = connect"),
        (TCP, "evt.res = EINPROGRESS"),  # what the call said, not what came later
        (TCP, "evt.rawres = -115"),
        (TCP, "evt.failed = true"),
        (TCP, "evt.dir = <"),
        (TCP, "fd.sip = 192.0.2.1 and fd.rnet = 192.0.2.0/24 and fd.cip = 10.0.0.2 and fd.lnet = 10.0.0.0/8"),
        (TCP, "fd.sport = 443 and fd.rport = 443 and fd.cport = 40000 and fd.lport = 40000"),
        (TCP, "fd.name = 10.0.0.2:40000->192.0.2.1:443"),
        (TCP, "fd.name_changed = true and fd.connected = false"),
        (TCP, "fd.l4proto = tcp"),
        (TCP, "fd.type = ipv4 and fd.typechar = 4 and fd.sockfamily = ip"),
        (TCP, "proc.exe = curl and proc.exepath = /usr/bin/curl"),
        (TCP, 'proc.args = "-s http://x" and proc.args[0] = -s and not proc.args[2] exists'),
        (TCP, "proc.pname = bash and proc.pexepath = /bin/bash"),
        (TCP, "proc.aname[0] = curl and proc.aname[1] = bash and proc.aname[2] = systemd"),
        (TCP, "proc.aname = systemd and not proc.aname = curl and proc.aname in (systemd)"),
        (TCP, "not proc.aname[3] exists"),
        (TCP, "proc.apid[0] = 30 and proc.apid = 20 and proc.apid < 2 and not proc.apid = 30"),
        (TCP, "proc.aexepath[0] = /usr/bin/curl and proc.aexepath startswith /sbin"),
        (TCP, "container.id = host and container.full_id = host and not container.id exists"),
        (TCP, "container.image = reg.example:5000/team/app:1.2@sha256:00"),
        (TCP, "container.image.repository = reg.example:5000/team/app and container.image.tag = 1.2"),
        (UNIX, "evt.res = SUCCESS and evt.failed = false and fd.connected = true"),
        (UNIX, "fd.type = unix and fd.typechar = u and fd.sockfamily = unix and fd.l4proto = unix"),
        (UNIX, "fd.name = /run/x.sock"),
        (UNIX, "container.id != host and container.id exists and container.id = 3ad7b26ded6d"),
        (UNIX, "container.image.repository = nginx and not container.image.tag exists"),
        (BARE, "not container.id = host and not container.id != host"),  # nothing is known of containers
        (BARE, "not evt.res exists and not fd.name exists and not fd.type exists and not proc.aname exists"),
        (OneRow(connect__return=None, connect__errno="ETIMEDOUT"), "evt.res = ETIMEDOUT"),
        (OneRow(connect__return=-512), "evt.res = 512"),  # ERESTARTSYS has no name outside the kernel
        (OneRow(destination__ip="2001:db8::1", destination__port=53), "fd.name = ->2001:db8::1:53"),
        (OneRow(process__args=[]), 'proc.args = "" and not proc.exe exists'),
        (OneRow(process__ancestors=[]), "not proc.pname exists and not proc.aname exists"),
    ],
)
def test_meaning(row: OneRow, true: str) -> None:
    assert holds(true, row)


def test_every_target_is_a_field_of_the_schema() -> None:
    """An alias whose target the schema does not have is an error at its use, and here a name to review."""
    targets = {target for target in falco_names().values() if target}
    columns = {column for computed in COMPUTED.values() for column in computed.columns}
    columns |= {column for _, names in ENDS.values() for column in names}
    assert (targets | columns) - set(FIELDS) == set()


def test_each_name_is_declared_once() -> None:
    assert set(falco_names()) & (set(COMPUTED) | set(ENDS)) == set()


def test_every_single_alias_parses_to_its_target() -> None:
    named = {name: target for name, target in falco_names().items() if target}
    assert {name: sorted(parse(f"{name} exists", TYPES).fields) for name in named} == {
        name: [target] for name, target in named.items()
    }
