"""Records of a kind are kept and decoded once, and every column is what it would be without that."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from callout._native import ffi, lib
from hypothesis import given
from hypothesis import strategies as st

from callout.batch import Array, Batch, Plain
from callout.btf import Btf
from callout.capture.columns import Decoder
from callout.capture.kinds import Kinds, Lane
from callout.capture.loading import read_object
from callout.sinks.ndjson import encode

BTF = Btf.of_object(read_object())
FLAGS = BTF.enum("attempt_flag")
RECORD = BTF.layout("attempt").dtype
COUNT = 1024  # more than native/kinds.c looks at before it gives up


def records(count: int = COUNT) -> Array:
    """Calls of one process to two ports in turn; what is each attempt's own differs in all of them."""
    made = np.zeros(count, RECORD)
    number = np.arange(count)
    made["id"], made["began"], made["ended"] = number, 10**9 + 1000 * number, 10**9 + 1000 * number + 500
    made["cookie"], made["sport"], made["fd"], made["lost"] = 9 + number, 30000 + number, 3 + number % 5, 0
    made["pid"], made["comm"], made["family"], made["type"], made["protocol"] = 7, b"sh", 2, 2, 17
    made["addrlen"], made["dport"], made["peer_family"] = 16, 53 + number % 2, 2
    made["flags"] = FLAGS["FLAG_PEER"] | FLAGS["FLAG_LOCAL"] | FLAGS["FLAG_RETURNED"]
    made["sockaddr"][:, 0] = 2
    made["sockaddr"][:, 3] = made["dport"]
    return made


def drained(made: Array, room: int = 0) -> Kinds:
    """What a lane with room for so many, or as many as they are, makes of these records."""
    native = ffi.new("struct co_lane *")
    lane = Lane(native, 1, RECORD, room or len(made))
    data = ffi.from_buffer(made)
    for i in range(len(made)):
        lib.co_keep(native, data + i * RECORD.itemsize)
    return lane.take()


def test_kinds_are_what_differs_beside_the_attempts_own() -> None:
    found = drained(records())
    assert found.codes is not None
    assert (found.codes.tolist(), len(found.records)) == ([0, 1] * (COUNT // 2), 2)
    assert found.own["id"].tolist() == list(range(COUNT))


def test_columns_are_the_same() -> None:
    made = records()
    decoder = Decoder(BTF)
    decoder.offset()
    by_kind, one_by_one = decoder.batch(drained(made)), decoder.batch(made)
    assert by_kind.few is not None
    assert one_by_one.few is None
    for batch in (by_kind, decoder.batch(drained(made)), by_kind.select(np.arange(COUNT))):
        assert batch.names == one_by_one.names
        assert sorted(batch.key_names) == sorted(one_by_one.key_names)
        for name in batch.names:
            assert batch.column(name).tolist() == one_by_one.column(name).tolist(), name
        for name in batch.key_names:
            assert batch.key(name).tolist() == one_by_one.key(name).tolist(), name


def test_every_kind_has_one_number() -> None:
    """Also where several have the same place in the table by which they are found."""
    made = records()
    made["pid"] = np.arange(COUNT) % 32
    found = drained(made)
    assert len(found.records) == 32
    assert found.whole().tobytes() == made.tobytes()


@pytest.mark.parametrize("kinds", [2, 60, 200])
def test_the_last_sockets_keep_no_more_than_their_rows(kinds: int) -> None:
    """The records of a batch lie in a buffer of many more."""
    made = records(200)
    made["pid"] = np.arange(200) % kinds
    decoder = Decoder(BTF)
    decoder.batch(drained(made))  # what is made once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            decoder.batch(drained(made, 64 * COUNT))
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    told = decoder.associations.memory()
    assert kept <= told.bytes + 200_000, (kept, told)
    assert told.bytes <= told.most_bytes


def test_late_errors_find_their_sockets() -> None:
    """By kind, one by one, and the last attempt of a port where it was used again."""
    for kinds in (2, COUNT):
        made = records()
        made["pid"] = np.arange(COUNT) % kinds
        decoder = Decoder(BTF)
        decoder.batch(drained(made))
        late = made[-3:-2].copy()
        late["phase"], late["err"], late["ended"] = BTF.enum("record_phase")["PHASE_LATE"], 111, 10**12
        late["pid"] = late["id"] = late["sockaddr"] = late["addrlen"] = 0
        (row,) = decoder.batch(late).rows()
        assert (row["connect.id"], row["process.pid"]) == (COUNT - 3, (COUNT - 3) % kinds)
        assert (row["connect.verdict"], row["connect.errno"]) == ("refused", "ECONNREFUSED")
        late["sport"] = 1
        assert len(decoder.batch(late)) == 0


def test_a_view_goes_with_what_it_was_made_of() -> None:
    """Without waiting for the garbage collector, which comes seldom to what is few and large."""
    gc.disable()
    try:
        few = Batch(1, {"process.pid": lambda: Plain(np.ones(1))})
        few.memo["view"] = view = few.view()
        view.memo["another"] = view.view()
        assert view.column("process.pid").tolist() == [1]
        gone = weakref.ref(view)
        del few, view
        assert gone() is None
    finally:
        gc.enable()


def test_many_kinds_are_records_as_they_are() -> None:
    made = records()
    made["pid"] = np.arange(COUNT)
    found = drained(made)
    assert found.codes is None
    assert found.records.tobytes() == made.tobytes()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=COUNT), st.integers(1, 40))
def test_nothing_is_lost(pids: list[int], most: int) -> None:
    made = records(len(pids))
    made["pid"] = np.array(pids) % most
    found = drained(made)
    assert found.whole().tobytes() == made.tobytes()
    assert found.whole(slice(3, 7)).tobytes() == made[3:7].tobytes()


def test_a_lane_can_be_filled_again_while_a_batch_is_kept() -> None:
    native = ffi.new("struct co_lane *")
    lane = Lane(native, 1, RECORD, COUNT)
    kept = []
    for turn in range(3):
        made = records()
        made["pid"] = np.arange(COUNT) + turn
        data = ffi.from_buffer(made)
        lib.co_begin(native)
        for i in range(COUNT):
            lib.co_keep(native, data + i * RECORD.itemsize)
        kept.append((lane.take(), made))
    for taken, made in kept:
        assert taken.whole().tobytes() == made.tobytes()


def test_a_swapped_address_is_its_own_attempts() -> None:
    made = records()
    made["flags"] |= FLAGS["FLAG_SWAPPED"]
    decoder = Decoder(BTF)
    copies = np.zeros(1, BTF.layout("copy").dtype)
    copies["id"], copies["sockaddr"][:, 0], copies["sockaddr"][:, 4:8] = 5, 2, 9
    decoder.copies.add(copies)
    swapped = decoder.batch(drained(made)).column("connect.swapped").tolist()
    assert [i for i, value in enumerate(swapped) if value is not None and "9.9.9.9" in value["used"]] == [5]


def test_rows_of_a_kind_are_written_as_each_by_itself() -> None:
    """Also when the same kinds come again, and others of them, in another order."""
    decoder = Decoder(BTF)
    decoder.offset()
    made = records()
    made["fd"][::7] = -1  # absent in some rows
    made["flags"][::7] |= FLAGS["FLAG_NO_FD"]
    made["uid"][::3] = 1000
    for order in (slice(None), slice(None), slice(None, None, -1), slice(512)):
        some = np.ascontiguousarray(made[order])
        by_kind, one_by_one = decoder.batch(drained(some)), decoder.batch(some)
        assert by_kind.few is not None
        assert b"".join(encode(by_kind)) == b"".join(encode(one_by_one))
