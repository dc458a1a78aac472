"""Which records come through which ring, and the arrays that they are moved into.

Rule of this file: CHANNELS and RINGS are the whole list. A new kind of record is a struct in ``bpf/record.h``, a
line here, and a handler for its records where the source is made. Attempts have a ring of their own, so that
no storm of other records (forks, DNS answers) can push them out; losses are counted by kind in the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from callout._native import ffi, lib
from callout.batch import Array
from callout.btf import Btf
from callout.capture.kinds import Lane
from callout.capture.tiers import CGROUPS, CONVERSATION, EXEC, EXIT, FORK, LOOK, NAMES, Program
from callout.footprint import Table

Handler: TypeAlias = Callable[[Any], None]

ATTEMPT = "RECORD_ATTEMPT"
STEP = "RECORD_STEP"
DIRECTORY = "RECORD_DIRECTORY"
ROOM = 8192  # attempts of one drain: 2.5 MiB
RING = "ring"  # the one that the reader sleeps on; all others are emptied whenever it wakes, and wake it when they fill
PACKETS = "packets"
NEW_CGROUPS = "cgroup_ring"
PROCESSES = "process_ring"
DIRECTORIES = "directory_ring"
RINGS = {  # bytes, where a kind that comes through it is wanted
    RING: 16 << 20,
    PROCESSES: 2 << 20,
    DIRECTORIES: 1 << 20,
    PACKETS: 2 << 20,
    NEW_CGROUPS: 256 << 10,
}
FORGOTTEN = "processes not noted"


class Channel(NamedTuple):
    """One kind of record. ``loss``: what a summary calls those that were lost.

    ``tail``: its last member, of which only the used part may be sent. ``programs``, ``maps``: what it takes to
    have them.
    """

    kind: str
    layout: str
    ring: str = RING
    room: int = ROOM
    tail: str = ""
    loss: str = ""
    programs: tuple[Program, ...] = ()
    maps: tuple[str, ...] = ()


CHANNELS = (
    Channel(ATTEMPT, "attempt"),
    Channel("RECORD_COPY", "copy"),
    Channel("RECORD_CALL", "call", loss="related calls lost", programs=CONVERSATION, maps=("talks",)),
    Channel(STEP, "step", room=1024, loss="steps lost"),
    Channel("RECORD_PACKET", "packet", PACKETS, 1024, "data", "packets with names lost", NAMES, ("hellos",)),
    Channel("RECORD_CGROUP", "new_cgroup", NEW_CGROUPS, 256, "path", "cgroups lost", CGROUPS),
    Channel("RECORD_FORK", "life", PROCESSES, 4096, loss=FORGOTTEN, programs=(FORK,)),
    Channel("RECORD_EXEC", "exec", PROCESSES, 512, "text", FORGOTTEN, (EXEC,)),
    Channel("RECORD_TASK", "exec", PROCESSES, 512, "text", FORGOTTEN, (LOOK,)),
    Channel("RECORD_EXIT", "life", PROCESSES, 4096, programs=(EXIT,)),
    Channel(DIRECTORY, "directory", DIRECTORIES, 256, "text", "directories not noted", maps=("directories",)),
)


class Drain:
    """The reader of one ring: its channels, where their records go, and who takes them."""

    def __init__(self, btf: Btf, channels: Sequence[Channel], handlers: Mapping[str, Handler]) -> None:
        """``handlers``: by kind. They get arrays that are only valid during the call, those of attempts ``Kinds``."""
        self.channels = tuple(channels)
        self._handlers = [handlers[channel.kind] for channel in channels]
        self._native = ffi.new("struct co_lane[]", len(channels))
        kinds = btf.enum("record_kind")
        self._arrays: list[Array | Lane] = []
        for place, channel in enumerate(channels):
            lane, kind, dtype = self._native[place], kinds[channel.kind], btf.layout(channel.layout).dtype
            lane.least = dtype.itemsize
            if channel.kind == ATTEMPT:
                self._arrays.append(Lane(ffi.addressof(lane), kind, dtype, channel.room))
                continue
            array = np.zeros(channel.room, dtype)
            self._arrays.append(array)
            if channel.tail:
                fields: Any = dtype.fields
                lane.least = fields[channel.tail][1]
            lane.kind, lane.size, lane.room = kind, dtype.itemsize, channel.room
            lane.buffer = ffi.cast("char *", array.ctypes.data)

    def memory(self) -> list[Table]:
        """The arrays that records are moved into, by kind."""
        found = []
        for channel, array in zip(self.channels, self._arrays, strict=True):
            name = f"records: {channel.layout} ({channel.kind.removeprefix('RECORD_').lower()})"
            now, most = (array.memory(), array.most()) if isinstance(array, Lane) else (array.nbytes,) * 2
            found.append(Table(name, channel.room, channel.room, now, most))
        return found

    def run(self, handle: Any, ring: int) -> bool:
        """Hands out what is ready; whether an array was full, so that there may be more. Raises OSError."""
        count = lib.co_drain(handle, ring, self._native, len(self.channels))
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        full = False
        for place, handler in enumerate(self._handlers if count else ()):
            rows, array = self._native[place].rows, self._arrays[place]
            full |= rows == self.channels[place].room
            if rows:
                handler(array.take() if isinstance(array, Lane) else array[:rows])
        return full


def smallest() -> dict[str, int]:
    """Sizes of what not every trace needs: the least that a kernel takes."""
    maps = [name for channel in CHANNELS for name in channel.maps]
    return {**dict.fromkeys(RINGS, os.sysconf("SC_PAGESIZE")), **dict.fromkeys(maps, 1)}
