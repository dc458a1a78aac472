"""Batches to Arrow: schemas, and columns converted whole, never row by row.

Rule of this file: nothing is lost on the way, and nothing is done per row that is the same in every row. Text
is dictionary-encoded just as ``Coded`` is. Objects become JSON text (field metadata ``callout.type``:
``json``); what has no column of its own travels in one last column of that kind, ``extra``. Arrow text is
UTF-8, text of the kernel is not: ``octets`` says how any bytes are written.

pyarrow is imported when it is first needed; the package is the extra ``callout[arrow]``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from callout.batch import Array, Batch, Coded, Column, Plain, distinct, repeated, same
from callout.errors import UsageError
from callout.octets import outward, to_json
from callout.rows import UNSIGNED, from_values
from callout.schema import FIELDS

if TYPE_CHECKING:
    import pyarrow

EXTRA = "extra"  # column for what has no column of its own, as one JSON object
# Fields of text whose values come from short lists. Should 127 not do for a batch, it is written as several.
FEW = frozenset(
    {
        "event.kind", "event.action", "event.outcome", "host.name", "network.transport", "network.type",
        "connect.entry", "connect.family", "connect.type", "connect.verdict", "connect.errno",
        "connect.cause", "connect.pattern",
    }
)  # fmt: skip
# Lists that are streamed as such. Others are JSON text there: Arrow repeats a list in each row, text stands once.
SHORT = frozenset({"event.category", "event.type"})
KEPT = 8192  # rows of a constant column that are made at once, and then used by many batches
CONSTANTS = 256  # of them are kept


def arrow() -> Any:
    """The module ``pyarrow``. Raises UsageError where it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(
            "Arrow and Parquet need the extra callout[arrow]", "pip install 'callout[arrow]'"
        ) from error
    return pyarrow


# --- schemas


@cache
def arrow_schema() -> pyarrow.Schema:
    """One field for each of the schema, and EXTRA: what any batch can be written with."""
    pa = arrow()
    text = pa.dictionary(pa.int32(), pa.string())
    types: dict[str, Any] = {
        "time": pa.timestamp("ns", "UTC"),
        "int": pa.int64(),
        "bool": pa.bool_(),
        "text_list": pa.list_(pa.string()),
    }
    fields = []
    for f in FIELDS.values():
        metadata = {"callout.type": "json" if f.type in ("object", "list") else f.type, "callout.doc": f.doc}
        kind = pa.uint64() if f.name in UNSIGNED else types.get(f.type, text)
        fields.append(
            pa.field(f.name, kind, metadata=metadata | ({"callout.unit": f.unit} if f.unit else {}))
        )
    fields.append(pa.field(EXTRA, text, metadata={"callout.type": "json"}))
    return pa.schema(fields, metadata={"callout.version": _version()})


def _version() -> str:
    try:
        return version("callout")
    except PackageNotFoundError:  # run from a source tree
        return "0"


def schema_for(batch: Batch) -> pyarrow.Schema:
    """The schema to write a source's batches with, told by its first one.

    A steady source gets the columns that it has, in the widths that it has, and EXTRA; any other the whole
    ``arrow_schema``.
    """
    pa, whole = arrow(), arrow_schema()
    if not batch.steady:
        return whole
    fields = []
    for name in [name for name in batch.names if name in FIELDS] + [EXTRA]:
        f = whole.field(name)
        if pa.types.is_list(f.type) and name not in SHORT:
            f = f.with_type(whole.field(EXTRA).type).with_metadata({**f.metadata, b"callout.type": b"json"})
        if pa.types.is_dictionary(f.type):
            f = f.with_type(pa.dictionary(pa.int8() if name in FEW else pa.int16(), pa.string()))
        elif FIELDS[name].type == "int" and isinstance(column := batch.column(name), Plain):
            f = f.with_type(pa.from_numpy_dtype(column.data.dtype.newbyteorder("=")))
        fields.append(f)
    return pa.schema(fields, metadata=whole.metadata)


# --- batches


def to_table(batch: Batch) -> pyarrow.Table:
    """The columns that the batch has, in its order, as one Arrow table. Raises UsageError without pyarrow."""
    pa, schema = arrow(), arrow_schema()
    names = [name for name in batch.names if name in FIELDS]
    if len(names) < len(batch.names):
        names.append(EXTRA)
    encoder = Encoder(pa.schema([schema.field(name) for name in names], metadata=schema.metadata))
    return pa.Table.from_batches(encoder.record_batches(batch), encoder.schema)


def to_record_batch(batch: Batch) -> pyarrow.RecordBatch:
    """All columns of ``arrow_schema``, null where the batch has none. Raises UsageError without pyarrow."""
    return Encoder(arrow_schema()).record_batches(batch)[0]


class TooManyError(ValueError):
    """A batch has more distinct values than the index of a dictionary can number."""


class Encoder:
    """Batches as record batches of one schema. Keeps what many of them share: dictionaries and constants."""

    def __init__(self, schema: pyarrow.Schema, narrow: bool = False) -> None:
        """``narrow``: the schema was made for one batch; what does not fit goes to its EXTRA."""
        self.schema = schema
        self._pa = arrow()
        self._narrow = narrow
        self._makers = [(f, self._maker(f)) for f in schema]
        self._own = frozenset(schema.names) & frozenset(FIELDS)
        self._texts: dict[str, tuple[list[str], Any]] = {}
        self._constants: dict[tuple[str, int], Any] = {}

    def record_batches(self, batch: Batch) -> list[pyarrow.RecordBatch]:
        """The rows as one record batch; as several where its values are too many for a dictionary.

        Raises ValueError where a column cannot be what its name says.
        """
        try:
            return [self._record_batch(batch)]
        except TooManyError:
            half = np.arange(len(batch) // 2), np.arange(len(batch) // 2, len(batch))
            return [made for rows in half for made in self.record_batches(batch.select(rows))]

    def _record_batch(self, batch: Batch) -> pyarrow.RecordBatch:
        arrays: list[Any] = []
        count, alike = len(batch), self._alike(batch)
        outside = [name for name in batch.names if name not in self._own]
        for f, make in self._makers[: -1 if self.schema.names[-1:] == [EXTRA] else None]:
            if (whole := alike.get(f.name)) is not None:
                arrays.append(whole.slice(0, count))
                continue
            if f.name not in batch:
                arrays.append(self._nulls(f, count))
                continue
            column = batch.column(f.name)
            if self._narrow and isinstance(column, Plain) and not _fits(column, f):
                outside.append(f.name)
                arrays.append(self._nulls(f, count))
            else:
                arrays.append(make(column))
        if len(arrays) < len(self._makers):
            f, make = self._makers[-1]
            arrays.append(make(_extra(batch, outside)) if outside else self._nulls(f, count))
        return self._pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _alike(self, batch: Batch) -> dict[str, Any]:
        """The columns that are the same in all rows of these kinds, as arrays of as many rows or more."""
        if batch.few is None:
            return {}
        made, found, size = batch.few.memo.get("arrow", (None, {}, 0))
        if made is not self or size < len(batch):
            size = max(len(batch), KEPT)
            found = {}
            for f, make in self._makers:
                column = _one(batch.few.column(f.name), size) if f.name in batch.few else None
                narrow = self._narrow and isinstance(column, Plain) and not _fits(column, f)
                if column is not None and not narrow:
                    found[f.name] = make(column)
            batch.few.memo["arrow"] = self, found, size
        return {name: array for name, array in found.items() if batch.shares(name)}

    def _maker(self, f: Any) -> Callable[[Column], Any]:
        types, kind = self._pa.types, f.type
        if types.is_dictionary(kind):
            return lambda column: self._dictionary(column, f)
        if types.is_list(kind):
            return lambda column: self._list_array(column, f)
        dtype = np.dtype(
            "?"
            if types.is_boolean(kind)
            else "M8[ns]"
            if types.is_timestamp(kind)
            else kind.to_pandas_dtype()
        )
        return lambda column: self._plain(column, f, dtype)

    # --- numbers, times, booleans

    def _plain(self, column: Column, f: Any, dtype: np.dtype[Any]) -> Any:
        if isinstance(column, Coded):
            column = _as_plain(column, dtype)
        count, bits, missing = len(column), None, 0
        if column.valid is not None:
            present = int(np.count_nonzero(column.valid))
            if not present:
                return self._nulls(f, count)
            if present < count:
                bits, missing = _bits(self._pa, column.valid), count - present
        data = column.data
        if same(data):
            column = Plain(data[:1])
        if dtype.kind in "iu":
            data = _integers(column, f.name, dtype)
        else:
            data = column.data.astype(dtype, copy=False)
        if len(data) < count:
            only = int(data.view(np.int64 if dtype.kind == "M" else dtype)[0])
            if dtype.kind == "b":
                values = self._constant(np.dtype("u1"), 255 * only, count)
            else:
                values = self._constant(np.dtype("i8") if dtype.kind == "M" else dtype, only, count)
        elif dtype.kind == "b":
            values = _bits(self._pa, data)
        else:
            values = self._pa.py_buffer(np.ascontiguousarray(data))
        return self._pa.Array.from_buffers(f.type, count, [bits, values], missing)

    def _constant(self, dtype: np.dtype[Any], value: int, count: int) -> Any:
        """At least ``count`` times the same number."""
        key = dtype.char, value
        found = self._constants.get(key)
        if found is None or found.size < count * dtype.itemsize:
            if len(self._constants) >= CONSTANTS:
                self._constants.clear()
            filled = np.full(max(count, KEPT), value, dtype)
            found = self._constants[key] = self._pa.py_buffer(filled)
        return found

    def _nulls(self, f: Any, count: int) -> Any:
        """No values at all. ``pa.nulls`` would do, but fills new memory each time."""
        pa, kind = self._pa, f.type
        zeros = self._constant(np.dtype("i8"), 0, count + 1)
        if pa.types.is_dictionary(kind):
            return pa.DictionaryArray.from_buffers(
                kind, count, [zeros, zeros], self._dictionary_of(f.name, []), count
            )
        children = [pa.array([], pa.string())] if pa.types.is_list(kind) else []
        return pa.Array.from_buffers(kind, count, [zeros, zeros], count, children=children)

    # --- text and lists

    def _dictionary(self, column: Column, f: Any) -> Any:
        """A dictionary array; of values that many batches share only those that occur here."""
        coded = column if isinstance(column, Coded) else from_values(column.tolist())
        pa, count, codes, values = self._pa, len(coded), coded.codes, coded.values
        dtype = np.dtype(f.type.index_type.to_pandas_dtype())
        lowest = int(codes.min(initial=0))
        if not len(values):
            return self._nulls(f, count)
        most = np.iinfo(dtype).max
        if len(values) > max(64, count) or len(values) > most:
            numbers, first = distinct(codes)
            used = codes[first]
            if len(used) > most:
                raise TooManyError(f"{f.name}: {len(used)} values in {count} rows")
            codes = np.where(codes < 0, np.int32(-1), numbers)
            values = [values[code] if code >= 0 else "" for code in used.tolist()]
        bits, missing = None, 0
        if lowest < 0:
            present = codes >= 0
            missing = count - int(np.count_nonzero(present))
            if missing == count:
                return self._nulls(f, count)
            bits = _bits(pa, present)
            codes = np.where(present, codes, np.int32(0))  # readers may look at the index of a null, too
        if same(codes):
            indices = self._constant(dtype, int(codes[0]), count)
        else:
            indices = pa.py_buffer(np.ascontiguousarray(codes.astype(dtype, copy=False)))
        role = (f.metadata or {}).get(b"callout.type", b"")
        render = to_json if role == b"json" else outward
        texts = self._dictionary_of(f.name, [render(value) for value in values])
        return pa.DictionaryArray.from_buffers(f.type, count, [bits, indices], texts, missing)

    def _dictionary_of(self, name: str, texts: list[str]) -> Any:
        """The values of a dictionary: the same object as long as they stay, so that they are written once."""
        before = self._texts.get(name)
        if before is None or (texts and before[0] != texts):
            before = self._texts[name] = texts, self._pa.array(texts, self._pa.string())
        return before[1]

    def _list_array(self, column: Column, f: Any) -> Any:
        """Lists of text: those of the distinct values, put together as bytes. (``take`` of Arrow would do, but what it
        imports costs 45 ms and 9 MiB.)
        """
        pa = self._pa
        coded = column if isinstance(column, Coded) else from_values(column.tolist())
        lists = [[outward(str(text)).encode() for text in value] for value in coded.values]
        lists.append([])  # what code -1 takes
        sizes = [np.array([len(text) for text in texts], np.int32).tobytes() for texts in lists]
        whole = [b"".join(texts) for texts in lists]
        rows: list[int] = coded.codes.tolist()

        def joined(parts: list[bytes]) -> bytes:
            if same(coded.codes):
                return parts[rows[0]] * len(rows)
            return b"".join([parts[code] for code in rows])

        text_ends = _ends(np.frombuffer(joined(sizes), np.int32))
        list_ends = _ends(np.array([len(texts) for texts in lists], np.int32)[coded.codes])
        buffers = [None, pa.py_buffer(text_ends), pa.py_buffer(joined(whole))]
        texts = pa.Array.from_buffers(pa.string(), len(text_ends) - 1, buffers)
        missing = int((coded.codes < 0).sum())
        bits = _bits(pa, coded.codes >= 0) if missing else None
        return pa.Array.from_buffers(
            f.type, len(rows), [bits, pa.py_buffer(list_ends)], missing, children=[texts]
        )


def _ends(sizes: Array) -> Array:
    """Where parts of these sizes begin, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)])


def _one(few: Column, count: int) -> Column | None:
    """A column of ``count`` equal rows, if those of ``few`` are equal."""

    def alike(some: Array) -> bool:
        return bool((some == some[0]).all())

    if isinstance(few, Coded):
        if not alike(few.codes):
            return None
        code = int(few.codes[0])
        values = [few.values[code]] if code >= 0 else []  # not those of other rows
        return Coded(repeated(np.array([min(code, 0)], np.int32), count), values)
    if few.valid is not None and not alike(few.valid):
        return None
    if (few.valid is None or few.valid[0]) and not alike(few.data):
        return None
    valid = None if few.valid is None else repeated(few.valid[:1].copy(), count)
    return Plain(repeated(few.data[:1].copy(), count), valid)


def _bits(pa: Any, flags: Array) -> Any:
    return pa.py_buffer(np.packbits(flags.astype(bool, copy=False), bitorder="little"))


def _fits(column: Plain, f: Any) -> bool:
    """Whether a field that was made narrow for another batch takes this column, too."""
    kind = column.data.dtype
    if kind.kind not in "iu" or FIELDS[f.name].type != "int":
        return True
    wanted = np.dtype(f.type.to_pandas_dtype())
    return np.can_cast(kind, wanted) or _within(column, wanted)


def _within(column: Plain, kind: np.dtype[Any]) -> bool:
    known = column.data if column.valid is None else column.data[column.valid]
    limits = np.iinfo(kind)
    return not len(known) or (int(known.min()) >= limits.min and int(known.max()) <= limits.max)


def _integers(column: Plain, name: str, kind: np.dtype[Any]) -> Array:
    """The numbers in the width of the field. Raises ValueError where one does not fit."""
    data = column.data
    if data.dtype.kind not in "iu":
        raise ValueError(f"{name}: {data.dtype} where whole numbers belong")
    if not np.can_cast(data.dtype, kind) and not _within(column, kind):
        raise ValueError(f"{name}: a number does not fit in {kind}")
    return data.astype(kind, copy=False)


def _as_plain(column: Coded, dtype: np.dtype[Any]) -> Plain:
    values = np.array([*column.values, 0], np.int64 if dtype.kind == "M" else dtype)
    return Plain(values[column.codes].view(dtype), column.codes >= 0)


def _extra(batch: Batch, names: list[str]) -> Coded:
    """The fields that have no column of their own, as one object per row."""
    columns = [(name, batch.column(name).tolist()) for name in names]
    rows = [{name: v[i] for name, v in columns if v[i] is not None} or None for i in range(len(batch))]
    return from_values(rows)
