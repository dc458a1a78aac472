r"""Batches as Arrow tables and back: the one place that knows both.

Rule of this file: columns are converted whole, never row by row, and nothing is lost on the way. Text is
dictionary-encoded just as ``Coded`` is. Objects become JSON text (field metadata ``callout.type``: ``json``);
fields that the schema does not know travel in one last column of that kind, ``extra``. Arrow text is UTF-8,
text of the kernel is not: a byte that is not UTF-8 becomes NUL and two hexadecimal digits, any other lone
surrogate NUL, ``u`` and four, and a NUL that would read as one of them is itself written ``\0`` ``00``.

pyarrow is imported when it is first needed; the packages are the extras ``callout[arrow]`` and
``callout[polars]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from callout.batch import Array, Batch, Coded, Column, Plain, distinct
from callout.errors import UsageError
from callout.rows import UNSIGNED, from_rows, from_values
from callout.schema import FIELDS

if TYPE_CHECKING:
    import polars
    import pyarrow

WANTED = {
    "time": "a timestamp",
    "int": "a whole number",
    "bool": "a boolean",
    "text": "text",
    "ip": "text",
    "text_list": "a list",
    "list": "a list",
    "object": "an object",
}
KINDS = {"text": str, "ip": str, "text_list": list, "list": list, "object": dict}
EXTRA = "extra"  # column for the fields that the schema does not know, as one JSON object

_LONE = re.compile("[\ud800-\udfff]|\0(?=[0-9a-f]{2}|u[0-9a-f]{4})")
_WRITTEN = re.compile("\0(?:([0-9a-f]{2})|u([0-9a-f]{4}))")


def arrow() -> Any:
    """The module ``pyarrow``. Raises UsageError where it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(
            "Arrow and Parquet need the extra callout[arrow]", "pip install 'callout[arrow]'"
        ) from error
    return pyarrow


# --- text


def to_utf8(text: str) -> str:
    """Text as Arrow can hold it; the same text unless it has lone surrogates or NULs that look like ours."""
    if not _LONE.search(text):
        return text
    return re.sub("[\ud800-\udfff\0]", lambda found: _written(ord(found[0])), text)


def _written(point: int) -> str:
    if point == 0:
        return "\x0000"
    return f"\0{point - 0xDC00:02x}" if 0xDC80 <= point <= 0xDCFF else f"\0u{point:04x}"


def from_utf8(text: str) -> str:
    """The inverse of ``to_utf8``."""
    return _WRITTEN.sub(lambda found: _read(found[1], found[2], found[0]), text) if "\0" in text else text


def _read(byte: str | None, point: str | None, whole: str) -> str:
    if point is not None:
        return chr(int(point, 16)) if point[0] == "d" and point[1] in "89abcdef" else whole
    number = int(byte or "", 16)
    return chr(0xDC00 + number) if number >= 0x80 else "\0" if number == 0 else whole


# --- to Arrow


@cache
def arrow_schema() -> pyarrow.Schema:
    """One field for each of the schema, and EXTRA: the same for every batch of every file."""
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


def to_table(batch: Batch) -> pyarrow.Table:
    """The columns that the batch has, in its order, as one Arrow table. Raises UsageError without pyarrow."""
    pa, schema = arrow(), arrow_schema()
    fields, arrays = [], []
    for name in batch.names:
        if name in FIELDS:
            fields.append(schema.field(name))
            arrays.append(_array(batch.column(name), fields[-1]))
    extra = _extra(batch)
    if extra is not None:
        fields.append(schema.field(EXTRA))
        arrays.append(_array(extra, fields[-1]))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=schema.metadata))


def to_record_batch(batch: Batch) -> pyarrow.RecordBatch:
    """All columns of ``arrow_schema``, null where the batch has none. Raises UsageError without pyarrow."""
    pa, schema, count = arrow(), arrow_schema(), len(batch)
    arrays = []
    extra = _extra(batch)
    for f in schema:
        column = extra if f.name == EXTRA else batch.column(f.name) if f.name in batch else None
        arrays.append(_nulls(f.type, count) if column is None else _array(column, f))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _nulls(kind: Any, count: int) -> Any:
    """No values at all. ``pa.nulls`` would do, but fills new memory each time."""
    pa = arrow()
    zeros = _zeros(max(1 << (count * 8).bit_length(), 1 << 16))
    if pa.types.is_dictionary(kind):
        indices = pa.Array.from_buffers(pa.int32(), count, [zeros, zeros], count)
        return pa.DictionaryArray.from_arrays(indices, _no_text(), safe=False)
    if pa.types.is_list(kind):
        return pa.Array.from_buffers(kind, count, [zeros, zeros], count, children=[pa.array([], pa.string())])
    return pa.Array.from_buffers(kind, count, [zeros, zeros], count)


@cache
def _zeros(size: int) -> Any:
    return arrow().py_buffer(bytes(size))


@cache
def _no_text() -> Any:
    pa = arrow()
    return pa.array([], pa.string())


def _array(column: Column, f: Any) -> Any:
    pa = arrow()
    role = (f.metadata or {}).get(b"callout.type", b"").decode()
    if pa.types.is_dictionary(f.type):
        coded = column if isinstance(column, Coded) else _as_coded(column)
        render = json.dumps if role == "json" else to_utf8
        return _dictionary(coded, lambda values: [render(value) for value in values])
    if pa.types.is_list(f.type):
        coded = column if isinstance(column, Coded) else _as_coded(column)
        return _lists(coded)
    plain = column if isinstance(column, Plain) else _as_plain(column, f.type)
    data = np.ascontiguousarray(plain.data)
    valid = plain.valid
    if valid is not None and valid.all():
        valid = None
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    if pa.types.is_boolean(f.type):
        values = np.packbits(data.astype(bool, copy=False), bitorder="little")
    elif pa.types.is_timestamp(f.type):
        values = data.astype("datetime64[ns]", copy=False)
    else:
        values = _integers(data, plain.valid, f)
    return pa.Array.from_buffers(f.type, len(data), [bits, pa.py_buffer(values)])


def _integers(data: Array, valid: Array | None, f: Any) -> Array:
    """The numbers in the width of the field. Raises ValueError where one does not fit."""
    kind = np.dtype(f.type.to_pandas_dtype())
    if data.dtype.kind not in "iu":
        raise ValueError(f"{f.name}: {data.dtype} where whole numbers belong")
    if data.dtype.itemsize == 8 and data.dtype != kind and len(data):
        known = data if valid is None else data[valid]
        limits = np.iinfo(kind)
        if len(known) and (int(known.min()) < limits.min or int(known.max()) > limits.max):
            raise ValueError(f"{f.name}: a number does not fit in {kind}")
    return data.astype(kind, copy=False)


def _dictionary(coded: Coded, texts: Callable[[Iterable[Any]], list[str]]) -> Any:
    """A dictionary array; of values that many batches share only those that occur here."""
    pa = arrow()
    codes, values = np.ascontiguousarray(coded.codes), coded.values
    if len(values) > max(64, len(codes)):
        numbers, first = distinct(codes)
        used = codes[first]
        codes = np.where(codes < 0, np.int32(-1), numbers)
        values = [values[code] if code >= 0 else "" for code in used.tolist()]
    bits = None
    if len(codes) and int(codes.min()) < 0:
        present = codes >= 0
        bits = pa.py_buffer(np.packbits(present, bitorder="little"))
        codes = np.where(present, codes, np.int32(0))  # readers may look at the index of a null, too
    indices = pa.Array.from_buffers(pa.int32(), len(codes), [bits, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts(values), pa.string()), safe=False)


def _lists(coded: Coded) -> Any:
    """Lists of text: those of the distinct values, copied to the rows by Arrow."""
    pa = arrow()
    codes = np.ascontiguousarray(coded.codes)
    numbers, first = distinct(codes)
    lists = [
        None if code < 0 else [to_utf8(str(text)) for text in coded.values[code]]
        for code in codes[first].tolist()
    ]
    return pa.array(lists, pa.list_(pa.string())).take(pa.array(numbers))


def _as_coded(column: Plain) -> Coded:
    values = column.tolist()
    return from_values(values)


def _as_plain(column: Coded, kind: Any) -> Plain:
    pa = arrow()
    dtype = np.dtype(
        "datetime64[ns]"
        if pa.types.is_timestamp(kind)
        else "?"
        if pa.types.is_boolean(kind)
        else kind.to_pandas_dtype()
    )
    values = np.array([*column.values, 0], np.int64 if dtype.kind == "M" else dtype)
    return Plain(values[column.codes].view(dtype), column.codes >= 0)


def _extra(batch: Batch) -> Coded | None:
    """The fields that the schema does not know, as one object per row."""
    names = [name for name in batch.names if name not in FIELDS]
    if not names:
        return None
    columns = [(name, batch.column(name).tolist()) for name in names]
    rows = [{name: v[i] for name, v in columns if v[i] is not None} or None for i in range(len(batch))]
    return from_values(rows)


def to_polars(batch: Batch) -> polars.DataFrame:
    """A Polars data frame. Raises UsageError where polars or pyarrow is not installed."""
    try:
        import polars
    except ImportError as error:
        raise UsageError(
            "data frames need the extra callout[polars]", "pip install 'callout[polars]'"
        ) from error
    frame = polars.from_arrow(to_table(batch))
    assert isinstance(frame, polars.DataFrame)
    return frame


# --- from Arrow


def from_table(table: pyarrow.Table | pyarrow.RecordBatch) -> Batch:
    """A batch with the columns that have values. Columns of unknown names are kept; structs become objects.

    Raises ValueError (also pyarrow.ArrowInvalid, which is one) where a column cannot be what its name says.
    """
    pa = arrow()
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    columns: dict[str, Column] = {}
    for f, chunks in zip(table.schema, table.columns, strict=True):
        if chunks.null_count == len(chunks):
            continue
        if pa.types.is_dictionary(f.type):
            chunks = chunks.unify_dictionaries()
        array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0)
        role = (f.metadata or {}).get(b"callout.type", b"").decode()
        column = _column(array, f.name, role)
        if f.name == EXTRA and role == "json":
            columns.update(from_rows(column.tolist()))
        else:
            columns[f.name] = column
    return Batch(table.num_rows, columns)


def _column(array: Any, name: str, role: str) -> Column:
    pa = arrow()
    kind = array.type
    known = FIELDS[name].type if name in FIELDS else None
    numbers = {"time": pa.types.is_timestamp, "int": pa.types.is_integer, "bool": pa.types.is_boolean}
    if known in numbers and not numbers[known](kind):
        raise ValueError(f"{name}: {kind} where {WANTED[known]} belongs")
    if known is None or known in numbers:
        if pa.types.is_timestamp(kind):
            array = array.cast(pa.timestamp("ns", kind.tz))
            return Plain(_fixed(array, np.dtype("datetime64[ns]")), _valid(array))
        if pa.types.is_integer(kind):
            return Plain(_fixed(array, np.dtype(kind.to_pandas_dtype())), _valid(array))
        if pa.types.is_boolean(kind):
            return Plain(array.fill_null(False).to_numpy(zero_copy_only=False), _valid(array))
    if str(kind) == "string_view":
        array = array.cast(pa.string())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = array.dictionary_encode()
    if pa.types.is_dictionary(array.type):
        codes = array.indices.cast(pa.int32()).fill_null(-1).to_numpy()
        coded = Coded(codes, [_restored(value) for value in array.dictionary.to_pylist()])
        if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < len(coded.values):
            raise ValueError(f"{name}: an index outside of the dictionary")
        if role == "json" or known in ("object", "list"):
            coded = Coded(codes, [json.loads(value) for value in array.dictionary.to_pylist()])
    else:
        coded = from_values([_restored(value) for value in array.to_pylist()])
    if known is not None and not all(isinstance(value, KINDS[known]) for value in coded.values):
        raise ValueError(f"{name}: {kind} where {WANTED[known]} belongs")
    return coded


def _restored(value: Any) -> Any:
    if isinstance(value, str):
        return from_utf8(value)
    return [_restored(item) for item in value] if isinstance(value, list) else value


def _fixed(array: Any, dtype: np.dtype[Any]) -> Array:
    """The numbers of an array as they lie in memory, whatever stands where there is none."""
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype, count=len(array) + array.offset)[array.offset :]


def _valid(array: Any) -> Array | None:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool) if array.null_count else None
