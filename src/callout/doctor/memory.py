"""What a tracer keeps in memory: every table with its bound, the maps in the kernel, and the process as a whole.

Rule of this file: values in, text out, apart from ``resident``. Sources: proc_pid_status(5), and for what a map takes
``capture.loading.Map``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from callout._native import ffi, lib

if TYPE_CHECKING:
    from callout.capture.loading import Map
    from callout.footprint import Table

RINGS = ("ringbuf", "user_ringbuf")
HEADS = ("", "entries", "of", "now", "at most")


class Line(NamedTuple):
    """One line: ``kind`` is `table`, `ring`, `map` or `process`; None: not known, or there is no such thing."""

    kind: str
    name: str
    entries: int | None
    most: int | None
    bytes: int
    most_bytes: int | None


class Resident(NamedTuple):
    """Bytes of this process in memory: now, and the most so far."""

    now: int
    peak: int


def resident(status: str | None = None) -> Resident:
    """Of this process. ``status``: text as of /proc/PID/status."""
    text = Path("/proc/self/status").read_text() if status is None else status
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Resident(*(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")))


def type_of(number: int) -> str:
    """The name of a type of map, as the running kernel has it: `hash`, `ringbuf`."""
    name: str = ffi.string(lib.co_enum_name(b"bpf_map_type", number)).decode()
    return name.removeprefix("BPF_MAP_TYPE_").lower() or str(number)


def lines(tables: Iterable[Table], maps: Iterable[Map], process: Resident) -> list[Line]:
    """All lines: tables in the order given, then the kernel's, the largest first, then the process."""
    found = [Line("table", *table) for table in tables]
    kernel = sorted(maps, key=lambda one: (-one.bytes, one.name))
    for one in kernel:
        kind = type_of(one.type)
        if kind in RINGS:
            found.append(Line("ring", one.name, None, None, one.bytes, one.bytes))
        else:
            name = one.name[one.name.find(".") :] if "." in one.name else one.name  # a section of the object
            found.append(Line("map", f"{name} ({kind})", None, one.entries or None, one.bytes, None))
    found.append(Line("process", "resident memory", None, None, process.now, None))
    found.append(Line("process", "resident memory, at its highest", None, None, process.peak, None))
    return found


def ndjson(found: Iterable[Line]) -> str:
    """One JSON object a line; what is not known is null."""
    return "".join(json.dumps(line._asdict()) + "\n" for line in found)


def size(number: int) -> str:
    """Bytes in three digits or so: ``870 B``, ``44.7 KiB``, ``16.0 MiB``."""
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:,.1f} KiB" if number < 1 << 20 else f"{number / (1 << 20):,.1f} MiB"


GROUPS = {
    "table": "tables of this process (Python's are estimates)",
    "ring": "rings in the kernel",
    "map": "maps in the kernel, with the entries that they may have",
    "process": "this process",
}


def screen(found: list[Line]) -> str:
    """For people."""
    return "\n".join(_screen(found)) + "\n"


def _screen(found: list[Line]) -> Iterator[str]:
    width = max(len(line.name) for line in found)
    for kind, heading in GROUPS.items():
        group = [line for line in found if line.kind == kind]
        if not group:
            continue
        yield heading
        if kind == "table":
            yield row(width, *HEADS)
        for line in group:
            entries, bound = ("" if value is None else f"{value:,}" for value in (line.entries, line.most))
            most = "" if line.most_bytes is None or kind == "ring" else size(line.most_bytes)
            yield row(width, line.name, entries, bound, size(line.bytes), most)
        if kind != "process":
            bound = size(sum(line.most_bytes or 0 for line in group)) if kind == "table" else ""
            yield row(width, "all", "", "", size(sum(line.bytes for line in group)), bound)
        yield ""
    yield "`kill -USR1 PID` makes a running `callout trace` tell the same of itself, on its standard error."


def row(width: int, name: str, entries: str, most: str, now: str, most_bytes: str) -> str:
    """One line of the screen."""
    return f"  {name:{width}}  {entries:>9}  {most:>9}  {now:>10}  {most_bytes:>10}".rstrip()
