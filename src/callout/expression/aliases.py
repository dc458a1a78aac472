"""What a field name means: callout's own fields, members of objects and lists, and Falco's names as aliases.

An alias for one field is a row of `reference/falco_aliases.csv` (an empty second cell: Falco has the field,
callout has nothing for it). What needs a rule of its own is declared here: `COMPUTED` fields are functions of
the values of one row (the evaluator calls them once per distinct combination), `ENDS` look at both ends of a
connection. Meanings are those of Falco's field reference,
https://falco.org/docs/reference/rules/supported-fields/.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from callout.expression.tree import Field


@dataclass(frozen=True, slots=True)
class Computed:
    """A field derived from columns.

    `function` gets the index in brackets (or None) and the row's values of `columns`, None where null, and
    returns the value or None. It is not called when the batch has none of the columns: then nothing is known.
    `indexed` allows `[n]`; `many` says that without index a row has several values. `own` names are also
    columns, and `exists` asks the column.
    """

    type: str
    columns: tuple[str, ...]
    function: Callable[..., Any]
    indexed: bool = False
    many: bool = False
    own: bool = False


def _result(_: int | None, returned: int | None, name: str | None) -> str | None:
    """Result of the call itself (EINPROGRESS stays); where there was no call, the error that came later."""
    if returned is None:
        return name
    return "SUCCESS" if returned >= 0 else errno.errorcode.get(-returned, str(-returned))


def _failed(_: int | None, returned: int | None) -> bool | None:
    return None if returned is None else returned < 0


def _name(_: int | None, sip: str | None, sport: int | None, dip: str | None, dport: int | None,
          address: str | None) -> str | None:  # fmt: skip
    """`source:port->destination:port`, the source empty until the kernel has chosen it; else path or name."""
    if dip is None:
        return address
    source = "" if sip is None else f"{sip}:{sport or 0}"
    return f"{source}->{dip}:{dport or 0}"


def _type(_: int | None, network: str | None, transport: str | None) -> str | None:
    return network or ("unix" if transport == "unix" else None)


def _typechar(index: int | None, network: str | None, transport: str | None) -> str | None:
    return {"ipv4": "4", "ipv6": "6", "unix": "u"}.get(_type(index, network, transport) or "")


def _sockfamily(index: int | None, network: str | None, transport: str | None) -> str | None:
    return {"ipv4": "ip", "ipv6": "ip", "unix": "unix"}.get(_type(index, network, transport) or "")


def _l4proto(_: int | None, transport: str | None) -> str | None:
    """MPTCP is TCP to whoever wrote a rule: a client must not escape it by asking for protocol 262."""
    return "tcp" if transport == "mptcp" else transport


def _connected(_: int | None, outcome: str | None) -> bool | None:
    return {"success": True, "failure": False}.get(outcome or "")


def _arguments(index: int | None, args: list[str] | None) -> str | None:
    """Arguments without argv[0]: joined by blanks, or the one at `index`."""
    if args is None or index is None:
        return None if args is None else " ".join(args[1:])
    return args[index + 1] if index + 1 < len(args) else None


def _item(index: int, values: list[Any] | None) -> Any:
    return values[index] if values is not None and index < len(values) else None


def _ancestor(key: str) -> Callable[..., Any]:
    """`[0]` is the process itself, `[1]` its parent; without index the values of all ancestors."""

    def values(index: int | None, ancestors: list[dict[str, Any]] | None, own: Any) -> Any:
        if index == 0:
            return own
        if index is None:
            return [item[key] for item in ancestors or () if item.get(key) is not None] or None
        item = _item(index - 1, ancestors)
        return None if item is None else item.get(key)

    return values


def _parent(key: str) -> Callable[..., Any]:
    of = _ancestor(key)
    return lambda _, ancestors: of(1, ancestors, None)


def _memfd(_: int | None, memfd: bool | None, executable: str | None) -> bool | None:
    return None if executable is None else bool(memfd)


def _tty(_: int | None, major: int | None, minor: int | None, executable: str | None) -> int | None:
    """As /proc/PID/stat has it (new_encode_dev() of linux/kdev_t.h); 0 is none."""
    if major is None or minor is None:
        return None if executable is None else 0
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def _words(_: int | None, words: list[str] | None) -> str | None:
    return None if words is None else " ".join(words)


def _leads(_: int | None, session: int | None, pid: int | None) -> bool | None:
    return None if session is None else session == pid


def _leader(
    _: int | None, session: int | None, pid: int | None, own: str | None, above: list[dict[str, Any]] | None
) -> str | None:
    """Executable of the session's leader: the process itself or an ancestor."""
    if session is None or session == pid:
        return own if session is not None else None
    return next((item.get("executable") for item in above or () if item["pid"] == session), None)


def _repository(_: int | None, image: str | None) -> str | None:
    """Image reference without digest and tag (a colon before the last slash belongs to a registry's port)."""
    return None if image is None else _split_image(image)[0]


def _tag(_: int | None, image: str | None) -> str | None:
    return None if image is None else _split_image(image)[1]


def _split_image(image: str) -> tuple[str, str | None]:
    reference = image.partition("@")[0]
    head, slash, last = reference.rpartition("/")
    name, colon, tag = last.partition(":")
    return head + slash + name, tag if colon else None


def _host_or(_: int | None, identifier: str | None) -> str:
    """Falco says `host` where a process is in no container; only a batch that knows containers can say so."""
    return "host" if identifier is None else identifier


_FAMILY = ("network.type", "network.transport")
_CONTAINER = ("container.id",)
_IMAGE = ("container.image.name",)

COMPUTED: dict[str, Computed] = {
    "evt.dir": Computed("text", (), lambda _: "<"),  # deprecated in Falco: all events are exit events
    "evt.res": Computed("text", ("connect.return", "connect.errno"), _result),
    "evt.failed": Computed("bool", ("connect.return",), _failed),
    "fd.name": Computed(
        "text",
        ("source.ip", "source.port", "destination.ip", "destination.port", "destination.address"),
        _name,
    ),
    "fd.name_changed": Computed("bool", (), lambda _: True),  # a connect always names the peer anew
    "fd.type": Computed("text", _FAMILY, _type),
    "fd.typechar": Computed("text", _FAMILY, _typechar),
    "fd.sockfamily": Computed("text", _FAMILY, _sockfamily),
    "fd.l4proto": Computed("text", ("network.transport",), _l4proto),
    "fd.connected": Computed("bool", ("event.outcome",), _connected),
    "proc.exe": Computed("text", ("process.args",), lambda _, args: _item(0, args)),
    "proc.args": Computed("text", ("process.args",), _arguments, indexed=True),
    "proc.pname": Computed("text", ("process.ancestors",), _parent("name")),
    "proc.pexepath": Computed("text", ("process.ancestors",), _parent("executable")),
    "proc.aname": Computed("text", ("process.ancestors", "process.name"), _ancestor("name"), True, True),
    "proc.apid": Computed("int", ("process.ancestors", "process.pid"), _ancestor("pid"), True, True),
    "proc.aexepath": Computed(
        "text", ("process.ancestors", "process.executable"), _ancestor("executable"), True, True
    ),
    "proc.is_exe_from_memfd": Computed("bool", ("connect.executable.memfd", "process.executable"), _memfd),
    "proc.tty": Computed(
        "int", ("process.tty.char_device.major", "process.tty.char_device.minor", "process.executable"), _tty
    ),
    "proc.cmdnargs": Computed(
        "int", ("process.args",), lambda _, args: None if args is None else len(args) - 1
    ),
    "proc.cmdlenargs": Computed(
        "int",
        ("process.args",),
        lambda _, args: None if args is None else sum(len(os.fsencode(a)) for a in args[1:]),
    ),
    "proc.is_sid_leader": Computed("bool", ("process.session_leader.pid", "process.pid"), _leads),
    "proc.sid.exepath": Computed(
        "text",
        ("process.session_leader.pid", "process.pid", "process.executable", "process.ancestors"),
        _leader,
    ),
    "thread.cap_effective": Computed("text", ("process.thread.capabilities.effective",), _words),
    "container.id": Computed("text", _CONTAINER, _host_or, own=True),
    "container.full_id": Computed("text", _CONTAINER, _host_or),
    "container.image.repository": Computed("text", _IMAGE, _repository),
    "container.image.tag": Computed("text", _IMAGE, _tag),
}

_ADDRESSES = ("source.ip", "destination.ip")
ENDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fd.ip": ("ip", _ADDRESSES),
    "fd.net": ("ip", _ADDRESSES),
    "fd.port": ("int", ("source.port", "destination.port")),
}


class UnknownField(LookupError):
    """No such field here; `args` are the message and the remedy."""


def resolve(name: str, index: int | None, fields: Mapping[str, str]) -> Field:
    """Find what `name[index]` means where `fields` (name to type) can be read.

    Raises `UnknownField` when there is no such field, callout has nothing for it, or it takes no index.
    """
    found = _find(name, fields)
    if found is None:
        raise UnknownField(*_unknown(name, fields))
    absent = [column for column in found.columns if column not in fields]
    if absent and len(absent) == len(found.columns):
        raise UnknownField(f"'{name}' stands for {', '.join(absent)}, which is not available here", "")
    if index is None:
        return found
    if found.kind == "computed" and COMPUTED[found.name].indexed:
        return Field(found.name, found.type, found.columns, found.kind, index)
    if found.kind == "column" and found.type == "text_list":
        return Field(found.name, "text", found.columns, "inside", index)
    raise UnknownField(f"'{name}' takes no [index]", f"write {name} alone")


def _find(name: str, fields: Mapping[str, str]) -> Field | None:
    if computed := COMPUTED.get(name):
        return Field(name, computed.type, computed.columns, "computed", None, computed.many)
    if name in ENDS:
        return Field(name, *ENDS[name], "ends")
    if name in fields:
        return Field(name, fields[name], (name,))
    if (target := falco_names().get(name)) in fields:
        return Field(str(target), fields[str(target)], (str(target),))
    if target:
        return Field(name, "text", (target,))  # not in `fields`: resolve() says so
    for end in (i for i in range(len(name) - 1, 0, -1) if name[i] == "."):
        kind = fields.get(name[:end])
        if kind in ("object", "list"):
            return Field(name, "dynamic", (name[:end],), "inside", None, kind == "list")
    return None


@cache
def falco_names() -> dict[str, str]:
    """Falco's field names, each with the callout field that it means, or "" where there is none."""
    import csv  # only where a name is not callout's own

    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "reference", "falco_aliases.csv")
    with open(path, encoding="utf-8", newline="") as file:
        return {row["falco"]: row["callout"] for row in csv.DictReader(file)}


def _unknown(name: str, fields: Mapping[str, str]) -> tuple[str, str]:
    import difflib  # only an error pays for it

    aliases = (alias for alias, target in falco_names().items() if target in fields)
    usable = [*fields, *COMPUTED, *ENDS, *aliases]
    near = list(dict.fromkeys(difflib.get_close_matches(name, usable, n=3)))
    remedy = f"near it: {', '.join(near)}" if near else "see `callout explain fields` for the names"
    if name in falco_names():
        return f"callout has nothing for Falco's field '{name}'", remedy
    return f"unknown field '{name}'", remedy
