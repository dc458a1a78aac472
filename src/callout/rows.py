"""From rows back to columns, for sources that can only have rows.

Rule of this file: the schema gives a known field its kind of column; any other value becomes a Coded one, and
comes back exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from callout.batch import Coded, Column, Plain
from callout.schema import FIELDS

UNSIGNED = frozenset(
    {"connect.id", "connect.cookie"}
)  # 64 bits of the kernel; all other numbers fit in int64


def from_rows(rows: Sequence[Mapping[str, Any] | None]) -> dict[str, Column]:
    """Columns from flat dictionaries (None: an empty one), as ``Batch.rows`` makes them: times are
    nanoseconds.
    """
    lists: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        for name, value in (row or {}).items():
            found = lists.get(name)
            if found is None:
                found = lists[name] = [None] * len(rows)
            found[i] = value
    return {name: _typed(name, values) for name, values in lists.items()}


def _typed(name: str, values: list[Any]) -> Column:
    known = FIELDS[name].type if name in FIELDS else None
    if known not in ("int", "time", "bool"):
        return from_values(values)
    valid = np.array([value is not None for value in values])
    dtype = "?" if known == "bool" else "u8" if name in UNSIGNED else "i8"
    data = np.array([0 if value is None else value for value in values], dtype)
    return Plain(data.view("datetime64[ns]") if known == "time" else data, None if valid.all() else valid)


def from_values(values: Sequence[Any]) -> Coded:
    """A Coded column of any values, None where there is none."""
    index: dict[Any, int] = {}
    kept: list[Any] = []
    codes = np.empty(len(values), np.int32)
    for i, value in enumerate(values):
        if value is None:
            codes[i] = -1
            continue
        key = value if type(value) is str else (type(value), repr(value))
        code = index.get(key)
        if code is None:
            code = index[key] = len(kept)
            kept.append(value)
        codes[i] = code
    return Coded(codes, kept)
