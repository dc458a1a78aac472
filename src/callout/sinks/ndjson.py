"""One JSON object per line, for other programs. Hot: rows are never made, whole stretches of a row are.

Rule of this file: text between two values depends only on which leaf was written last and which comes next.
So the columns of one stretch (``process.*``, ``destination.*``) are rendered once per distinct combination of
values and looked up by row; only values that differ from row to row (times, durations, ids) are rendered row
by row.

Keys stand in the order of the schema; what has no value is absent; output is ASCII, so a name chosen by a
process cannot act on a terminal; bytes that are not UTF-8 are ``\\uefXX`` (``octets``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from callout.batch import Array, Coded, Column, Plain, distinct, repeated, same
from callout.schema import FIELDS
from callout.sinks import Target
from callout.sinks.json_text import NONE, Layout, layout, once, texts

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.summary import Summary

FEW, SHARE = 16, 16  # values are few where there are at most FEW, or one for SHARE rows
MANY = 256  # a column of text is taken for many-valued above that, and more than one value for SHARE rows
LINES = 256  # rows of which text exists at a time: fresh memory from the kernel costs more than the work

ZERO = np.zeros(1, np.int32)

Piece: TypeAlias = str | Callable[[slice], list[str]]  # text that all rows share, or that of some rows


class NdjsonSink:
    """NDJSON, written and flushed once per batch."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def write(self, batch: Batch) -> None:
        """Writes and flushes one line per row."""
        if len(batch):
            self.target.put(encode(batch))

    def close(self, summary: Summary | None) -> None:
        """Nothing follows the last row."""
        self.target.finish()


def encode(batch: Batch) -> Iterator[bytes]:
    """All rows as NDJSON, in parts that end with a row."""
    rows = Rows(len(batch), layout(tuple(batch.names)))
    known: dict[str, list[str | None]] = {}
    if batch.few is not None:
        known = batch.few.memo.setdefault("json", {})
        # kinds that come again pay, however few the rows of each
        if known or len(batch.few) * SHARE <= len(batch):
            rows.shared, rows.kinds = batch.codes, len(batch.few)
            rows.memo = batch.few.memo.setdefault("json stretches", {})
    for number, name in enumerate(rows.layout.names):
        is_time = name in FIELDS and FIELDS[name].type == "time"
        if batch.few is not None and batch.codes is not None and batch.shares(name):
            values = known.get(name)
            if values is None:
                values = known[name] = shared_texts(batch.few.column(name), is_time)
            rows.add_shared(number, values, batch.codes)
        else:
            rows.add(number, batch.column(name), is_time)
    yield from rows.finish()


class Few(NamedTuple):
    """A leaf of a stretch: row i has the text ``text(codes[i])``, none where that is None or the code is negative."""

    number: int
    codes: Array
    text: Callable[[int], str | None]


@dataclass
class Rows:
    """Pieces of all rows, collected leaf by leaf."""

    count: int
    layout: Layout
    pieces: list[Piece] = field(default_factory=list)
    _stretch: list[Few] = field(default_factory=list)
    # the kind of each row, of so many kinds, and what was made of the same kinds before
    shared: Array | None = None
    kinds: int = 0
    memo: dict[Any, Any] = field(default_factory=dict)
    _few: int = 0
    _last: int | Array = NONE  # the leaf that was written last, in all rows or by row

    def __post_init__(self) -> None:
        self._few = max(FEW, self.count // SHARE)

    def add(self, number: int, column: Column, is_time: bool) -> None:
        """The next leaf."""
        if isinstance(column, Plain):
            self._add_plain(number, column, is_time or column.data.dtype.kind == "M")
        elif len(column.values) > max(MANY, self.count // SHARE):
            codes, text = column.codes, once(column.values, is_time)
            present = codes >= 0
            self._add_many(
                number,
                lambda rows: ["" if code < 0 else text(code) for code in codes[rows].tolist()],
                None if present.all() else present,
            )
        else:
            self._add_few(number, column.codes, once(column.values, is_time))

    def add_shared(self, number: int, values: list[str | None], codes: Array) -> None:
        """The next leaf: row i has the text ``values[codes[i]]``."""
        if any(values):
            self._stretch.append(Few(number, codes, values.__getitem__))

    def _add_plain(self, number: int, column: Plain, is_time: bool) -> None:
        data, valid = column.data, column.valid
        if same(data) and (valid is None or same(valid)):
            if valid is None or valid[0]:
                self._add_few(number, repeated(ZERO, self.count), texts(data[:1], is_time).__getitem__)
            return
        data = np.ascontiguousarray(data)
        if valid is not None:
            if valid.all():
                valid = None
            elif not valid.any():
                return
        if len(distinct(data[:256])[1]) <= min(128, self._few):
            codes, first = distinct(data)
            if len(first) <= self._few:
                codes = codes if valid is None else np.where(valid, codes, np.int32(-1))
                values = texts(data[first], is_time)
                self._add_few(number, codes, values.__getitem__)
                return

        def some(rows: slice) -> list[str]:
            found = texts(data[rows], is_time)
            if valid is not None:
                for row in np.flatnonzero(~valid[rows]).tolist():
                    found[row] = ""
            return found

        self._add_many(number, some, valid)

    def _add_few(self, number: int, codes: Array, text: Callable[[int], str]) -> None:
        lowest = int(codes[0] if same(codes) else codes.min())
        if lowest >= 0 or int(codes.max()) >= 0:
            self._stretch.append(Few(number, codes, text))

    def _add_many(self, number: int, piece: Piece, present: Array | None) -> None:
        self._end_stretch(number, present)
        self.pieces.append(piece)
        self._last = number if present is None else np.where(present, np.int32(number), self._last)

    def _end_stretch(self, following: int | None, present: Array | None = None) -> None:
        stretch, self._stretch = self._stretch, []
        runs = [list(run) for _, run in groupby(stretch, lambda leaf: leaf.codes is self.shared)]
        last = runs.pop() if runs else []
        for run in runs:
            self._render(run, None, None)
        self._render(last, following, present)

    def _render(self, stretch: list[Few], following: int | None, present: Array | None) -> None:
        """One piece for the leaves of a stretch, up to the value of the leaf ``following`` where it is
        present.
        """
        if stretch and stretch[0].codes is self.shared and present is None and isinstance(self._last, int):
            self._render_kinds(stretch, following)
            return
        unlike = {id(leaf.codes): leaf.codes for leaf in stretch}
        keys = [codes for codes in unlike.values() if _varies(codes)]
        keys += [last for last in (self._last,) if isinstance(last, np.ndarray)]
        keys += [present] if present is not None else []
        codes, first = _combine(keys, self.count)
        if len(first) > self._few and len(stretch) > 1:
            half = len(stretch) // 2
            self._render(stretch[:half], None, None)
            self._render(stretch[half:], following, present)
            return
        some = {key: codes[first].tolist() for key, codes in unlike.items()}
        columns = [(leaf.number, leaf.text, some[id(leaf.codes)]) for leaf in stretch]
        lasts = (
            self._last[first].tolist() if isinstance(self._last, np.ndarray) else [self._last] * len(first)
        )
        goes_on = [following is not None] * len(first) if present is None else present[first].tolist()
        found, ends = self._texts(columns, lasts, goes_on, following)
        self._put(found, ends, codes)

    def _render_kinds(self, stretch: list[Few], following: int | None) -> None:
        """The same for leaves that all depend on the kind of a row: rendered once for batches of these kinds."""
        assert self.shared is not None
        key = self.layout, self._last, following, stretch[0].number, stretch[-1].number, len(stretch)
        known = self.memo.get(key)
        if known is None:
            kinds = list(range(self.kinds))
            columns = [(leaf.number, leaf.text, kinds) for leaf in stretch]
            lasts, goes_on = [self._last] * self.kinds, [following is not None] * self.kinds
            known = self.memo[key] = self._texts(columns, lasts, goes_on, following)
        self._put(known[0], known[1], self.shared)

    def _texts(
        self, columns: list[Any], lasts: list[Any], goes_on: list[bool], following: int | None
    ) -> tuple[list[str], list[int]]:
        """For each combination of values its text, and the leaf that was written last."""
        between, found, ends = self.layout.between, [], []
        for i, last in enumerate(lasts):
            parts = []
            for number, text, codes in columns:
                if (code := codes[i]) >= 0 and (value := text(code)) is not None:
                    parts += [between(last, number), value]
                    last = number
            ends.append(last)
            if goes_on[i] and following is not None:
                parts.append(between(last, following))
            found.append("".join(parts))
        return found, ends

    def _put(self, found: list[str], ends: list[int], codes: Array) -> None:
        """A piece: row i has the text ``found[codes[i]]``."""
        self.pieces.append(found[0] if len(found) == 1 else _spread(found, codes))
        self._last = ends[0] if len(set(ends)) == 1 else np.array(ends, np.int32)[codes]

    def finish(self) -> Iterator[bytes]:
        """The rows, each ended by a newline."""
        self._end_stretch(len(self.layout.names))
        step = len(self.pieces)
        shared = [piece if isinstance(piece, str) else "" for piece in self.pieces]
        for begin in range(0, self.count, LINES):
            rows = slice(begin, min(begin + LINES, self.count))
            flat = shared * (rows.stop - begin)
            for place, piece in enumerate(self.pieces):
                if not isinstance(piece, str):
                    flat[place::step] = piece(rows)
            yield "".join(flat).encode("ascii")


def shared_texts(few: Column, is_time: bool) -> list[str | None]:
    """The text of each row of a column of few; None where there is no value."""
    if isinstance(few, Coded):
        values: list[str | None] = [*texts(few.values, is_time), None]  # the last one is what code -1 takes
        return [values[code] for code in few.codes.tolist()]
    found: list[str | None] = list(texts(few.data, is_time))
    if few.valid is not None:
        for row in np.flatnonzero(~few.valid).tolist():
            found[row] = None
    return found


def _varies(codes: Array) -> bool:
    return not same(codes) and bool((codes != codes[0]).any())


def _combine(keys: list[Array], count: int) -> tuple[Array, Array]:
    """``distinct`` over several columns at once."""
    unlike = list({id(key): key for key in keys}.values())
    if not unlike:
        return np.zeros(count, np.int32), np.zeros(1, np.int32)
    if len(unlike) == 1:
        return distinct(np.ascontiguousarray(unlike[0]))
    rows = np.empty((count, len(unlike)), np.int32)
    for i, key in enumerate(unlike):
        rows[:, i] = key
    return distinct(rows.view(np.dtype((np.void, rows.strides[0]))).ravel())


def _spread(found: list[str], codes: Array) -> Callable[[slice], list[str]]:
    values = np.array(found, object)
    return lambda rows: values[codes[rows]].tolist()
