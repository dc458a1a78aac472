"""Batches as Arrow tables and data frames, and back: the way there is ``arrow_columns``, the way back is here.

Rule of this file: what was written comes back exactly, and tables of others as far as their columns can be
what their names say.

pyarrow is imported when it is first needed; the packages are the extras ``callout[arrow]`` and
``callout[polars]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from callout.arrow_columns import (
    EXTRA,
    Encoder,
    arrow,
    arrow_schema,
    schema_for,
    to_record_batch,
    to_table,
)
from callout.batch import Array, Batch, Coded, Column, Plain
from callout.errors import UsageError
from callout.octets import converted, from_json, inward
from callout.rows import from_rows, from_values
from callout.schema import FIELDS

if TYPE_CHECKING:
    import polars
    import pyarrow

__all__ = [
    "EXTRA",
    "Encoder",
    "arrow",
    "arrow_schema",
    "from_table",
    "schema_for",
    "to_polars",
    "to_record_batch",
    "to_table",
    "widened",
]

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


# --- data frames


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
            chunks = widened(pa.table([chunks], pa.schema([f]))).column(0).unify_dictionaries()
        array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0)
        role = (f.metadata or {}).get(b"callout.type", b"").decode()
        column = _column(array, f.name, role)
        if f.name == EXTRA and role == "json":
            for name, more in from_rows(column.tolist()).items():
                columns[name] = _filled(columns[name], more) if name in columns else more
        else:
            columns[f.name] = column
    return Batch(table.num_rows, columns)


def widened(table: pyarrow.Table) -> pyarrow.Table:
    """A table whose dictionaries can be unified: all values of several batches may need a wider index."""
    pa = arrow()
    wide = pa.int32()
    for place, (f, chunks) in enumerate(zip(table.schema, table.columns, strict=True)):
        if not pa.types.is_dictionary(f.type) or f.type.index_type == wide:
            continue
        kind = pa.dictionary(wide, f.type.value_type)
        arrays = [
            pa.DictionaryArray.from_arrays(chunk.indices.cast(wide), chunk.dictionary)
            for chunk in chunks.chunks
        ]
        table = table.set_column(place, f.with_type(kind), pa.chunked_array(arrays, kind))
    return table


def _filled(column: Column, more: Column) -> Column:
    """A column with the values of another one where it has none."""
    pairs = zip(column.tolist(), more.tolist(), strict=True)
    return from_rows([{"": b if a is None else a} for a, b in pairs])[""]


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
        coded = Coded(codes, [converted(value, inward) for value in array.dictionary.to_pylist()])
        if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < len(coded.values):
            raise ValueError(f"{name}: an index outside of the dictionary")
        if role == "json" or known in ("object", "list"):
            coded = Coded(codes, [from_json(value) for value in array.dictionary.to_pylist()])
    else:
        coded = from_values([converted(value, inward) for value in array.to_pylist()])
    if known is not None and not all(isinstance(value, KINDS[known]) for value in coded.values):
        raise ValueError(f"{name}: {kind} where {WANTED[known]} belongs")
    return coded


def _fixed(array: Any, dtype: np.dtype[Any]) -> Array:
    """The numbers of an array as they lie in memory, whatever stands where there is none."""
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype, count=len(array) + array.offset)[array.offset :]


def _valid(array: Any) -> Array | None:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool) if array.null_count else None
