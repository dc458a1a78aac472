"""Many attempts at once, as columns.

Rule of this file: a column is one of two shapes, nothing else knows how it is stored, and rows exist only
where a reader asks for them. Columns may be given as functions: they are computed when first asked for, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from callout._native import ffi, lib

if TYPE_CHECKING:
    import polars
    import pyarrow
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"  # a text: numpy.typing takes as long to import as half of NumPy


@dataclass(frozen=True, slots=True)
class Plain:
    """Numbers or booleans; ``valid`` is False where there is no value (None: all are valid)."""

    data: Array
    valid: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Array) -> Plain:
        """The rows that ``index`` (numbers, slice or mask) selects."""
        return Plain(self.data[index], None if self.valid is None else self.valid[index])

    def tolist(self) -> list[Any]:
        """Python objects, None where there is no value."""
        values: list[Any] = self.data.tolist()
        if self.valid is not None:
            for i in np.flatnonzero(~self.valid).tolist():
                values[i] = None
        return values


@dataclass(frozen=True, slots=True)
class Coded:
    """Any values, each distinct one stored once: row i is ``values[codes[i]]``, code -1 is no value."""

    codes: NDArray[np.int32]
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: Array) -> Coded:
        """The rows that ``index`` (numbers, slice or mask) selects; the values stay shared."""
        return Coded(self.codes[index], self.values)

    def tolist(self) -> list[Any]:
        """Python objects, None where there is no value."""
        values = [*self.values, None]
        return [values[code] for code in self.codes.tolist()]


Column: TypeAlias = Plain | Coded


def distinct(keys: Array) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Numbers equal elements: ``(codes, first)`` with ``keys[first[codes]] == keys``.

    Takes any one-dimensional array of fixed-size elements, also a field of a structured array; equality is
    that of the bytes. Numbers are given in the order of first appearance.
    """
    count = len(keys)
    codes, first = np.empty(count, np.int32), np.empty(count, np.int32)
    if not count:
        return codes, first
    if keys.strides[0] < 0 or not keys[:1].flags.c_contiguous:
        keys = keys.copy()  # ascontiguousarray would keep the negative stride of a single element
    found = lib.co_distinct(
        ffi.cast("char *", keys.ctypes.data),
        count,
        keys.strides[0],
        keys.dtype.itemsize,
        ffi.cast("int *", codes.ctypes.data),
        ffi.cast("int *", first.ctypes.data),
    )
    if found < 0:
        raise MemoryError(f"numbering {count} keys")
    return codes, first[:found]


def coded(keys: Array, value: Callable[[Any], Any]) -> Coded:
    """A column that depends on ``keys`` alone: ``value(key)`` runs once per distinct key; None: no value."""
    codes, first = distinct(keys)
    return compact(codes, [value(key) for key in keys[first]])


def compact(codes: NDArray[np.int32], values: Sequence[Any]) -> Coded:
    """A Coded column: ``values[code]`` in each row. None and code -1 are no value; of equal values one is kept.

    Values need not be hashable: those that are no text are told apart by their ``repr``.
    """
    places: dict[Any, int] = {}
    kept: list[Any] = []
    renumber = np.full(len(values) + 1, -1, np.int32)  # the last one is what code -1 takes
    for i, value in enumerate(values):
        if value is not None:
            place = places.setdefault(value if isinstance(value, str) else (repr(value),), len(kept))
            if place == len(kept):
                kept.append(value)
            renumber[i] = place
    if len(kept) == len(values):
        return Coded(codes, values)
    return Coded(renumber[codes], kept)


def same(rows: Array) -> bool:
    """Whether an array was made by ``repeated``: one element that stands for all, known without looking."""
    return len(rows) > 1 and rows.strides[0] == 0


def repeated(element: Array, count: int) -> Array:
    """An array of one element as one of ``count`` equal ones, in no more memory. It must not be written to."""
    return np.ndarray((count,), element.dtype, element, strides=(0,))


def spread(column: Column, codes: Array) -> Column:
    """The rows that ``codes`` picks from a column of few; without a pass over them where those are equal."""

    def rows(few: Array) -> Array:
        alike = len(few) == 1 or (len(few) > 1 and bool((few == few[0]).all()))
        return repeated(few[:1].copy(), len(codes)) if alike else few.take(codes)

    if isinstance(column, Coded):
        return Coded(rows(column.codes), column.values)
    valid = column.valid
    return Plain(rows(column.data), None if valid is None or valid.all() else rows(valid))


Source: TypeAlias = Column | Callable[[], Column]


class Batch:
    """Attempts as named columns of equal length. Names are those of ``callout.schema``.

    ``steady``: every batch of its source has these columns, and in these widths. ``keys``: what enrichers look
    up by, of a live source: columns that no sink, filter or row ever sees. ``few``: where many rows are alike but for
    some columns, one row of each kind, and ``codes``: the kind of each row; what ``few`` has is a column here, too
    (``columns`` may keep the place of one with None). ``memo``: what others made of these columns, by their own names.
    """

    def __init__(
        self,
        length: int,
        columns: Mapping[str, Source | None],
        steady: bool = False,
        keys: Mapping[str, Source] | None = None,
        few: Batch | None = None,
        codes: Array | None = None,
    ) -> None:
        self.steady = steady
        self._length = length
        self._columns: dict[str, Source | None] = dict(columns)  # None: that of few
        self._spread: dict[str, Column] = {}
        self._keys: dict[str, Source] = dict(keys or {})
        self._quiet: set[str] = set()
        self.few, self.codes = few, codes
        self.memo: dict[str, Any] = {}
        if few is not None:
            self.share(few)

    def share(self, few: Batch) -> None:
        """Takes ``few``, or another view of the same rows, and all columns that it has and this batch does not."""
        self.few = few
        self._columns |= {name: None for name in few._columns if name not in self._columns}
        self._quiet |= few._quiet

    def shares(self, name: str) -> bool:
        """Whether a column is that of ``few``, spread."""
        return self._columns[name] is None

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> list[str]:
        """The columns that are written, in order."""
        return [name for name in self._columns if name not in self._quiet]

    def column(self, name: str) -> Column:
        """One column, computed now if it was not yet. Raises KeyError if this batch does not have it."""
        source = self._columns[name]
        if isinstance(source, Plain | Coded):
            return source
        if source is not None:
            made = self._columns[name] = source()
            return made
        found = self._spread.get(name)
        if found is None:
            assert self.few is not None
            assert self.codes is not None
            found = self._spread[name] = spread(self.few.column(name), self.codes)
        return found

    @property
    def key_names(self) -> list[str]:
        """The keys there are; none where the rows are not of a live source."""
        return [*self._keys, *(self.few.key_names if self.few is not None else ())]

    def key(self, name: str) -> Column:
        """One of the keys, computed now if it was not yet. Raises KeyError if this batch does not have it."""
        source = self._keys.get(name)
        if isinstance(source, Plain | Coded):
            return source
        if source is not None:
            made = self._keys[name] = source()
        elif self.few is None or self.codes is None:
            raise KeyError(name)
        else:
            made = spread(self.few.key(name), self.codes)
        return made

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def add(self, name: str, source: Source, quiet: bool = False) -> None:
        """Adds or replaces a column. A quiet one is there for who asks for it, and not written."""
        self._columns[name] = source
        (self._quiet.add if quiet else self._quiet.discard)(name)

    def view(self) -> Batch:
        """The same columns, to which others can be added. What is computed of them is computed here, once."""
        # through its columns without its memo: that may have the view, and both would stay for long
        here = copy(self)
        here.memo = {}
        seen = Batch(
            self._length,
            {name: partial(here.column, name) for name in self._columns},
            self.steady,
            {name: partial(here.key, name) for name in self.key_names},
        )
        seen._quiet = set(self._quiet)
        return seen

    def show(self) -> None:
        """Makes quiet columns like all others."""
        self._quiet.clear()

    def select(self, index: Array) -> Batch:
        """The rows that ``index`` (a mask or row numbers) selects. Columns not yet computed stay so."""
        rows = np.flatnonzero(index) if index.dtype == np.bool_ else index

        def later(of: Callable[[str], Column], name: str) -> Callable[[], Column]:
            return lambda: of(name).take(rows)

        columns = {
            name: None if source is None else later(self.column, name)
            for name, source in self._columns.items()
        }
        few, codes = self.few, None
        if few is not None and self.codes is not None:
            codes = self.codes[rows]
            if len(few) > len(rows):
                numbers, first = distinct(codes)
                few, codes = few.select(codes[first]), numbers
        keys = {name: later(self.key, name) for name in self._keys}
        selected = Batch(len(rows), columns, self.steady, keys, few, codes)
        selected._quiet = set(self._quiet)
        return selected

    def rows(self) -> Iterator[dict[str, Any]]:
        """One flat dictionary per attempt, with the fields that have a value."""
        columns = [(name, self.column(name).tolist()) for name in self.names]
        for i in range(self._length):
            yield {name: values[i] for name, values in columns if values[i] is not None}

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table; needs the extra ``callout[arrow]``."""
        from callout import columnar

        return columnar.to_table(self)

    def to_polars(self) -> polars.DataFrame:
        """A Polars data frame; needs the extra ``callout[polars]``."""
        from callout import columnar

        return columnar.to_polars(self)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch with the rows of all, in order; columns that a batch lacks have no value there."""
    batches = [batch for batch in batches if len(batch)]  # one without rows has nothing to say about columns
    names = list(dict.fromkeys(name for batch in batches for name in batch.names))
    keys = list(dict.fromkeys(name for batch in batches for name in batch.key_names))
    length = sum(len(batch) for batch in batches)

    def join(parts: Sequence[Column | None]) -> Column:
        if all(isinstance(part, Plain) for part in parts):
            plain = [part for part in parts if isinstance(part, Plain)]
            data = np.concatenate([part.data for part in plain])
            if all(part.valid is None for part in plain):
                return Plain(data)
            return Plain(
                data,
                np.concatenate([np.ones(len(p), bool) if p.valid is None else p.valid for p in plain]),
            )
        values = [
            value
            for batch, part in zip(batches, parts, strict=True)
            for value in ([None] * len(batch) if part is None else part.tolist())
        ]
        index: dict[Any, int] = {}
        keys = [None if value is None else index.setdefault(repr(value), len(index)) for value in values]
        kept: list[Any] = [None] * len(index)
        for key, value in zip(keys, values, strict=True):
            if key is not None:
                kept[key] = value
        return Coded(np.array([-1 if key is None else key for key in keys], np.int32), kept)

    def column(name: str) -> Callable[[], Column]:
        return lambda: join([batch.column(name) if name in batch else None for batch in batches])

    def key(name: str) -> Callable[[], Column]:
        return lambda: join([batch.key(name) if name in batch.key_names else None for batch in batches])

    return Batch(length, {name: column(name) for name in names}, keys={name: key(name) for name in keys})
