"""The live source: loads the BPF programs, drains their ring, hands out batches.

Rule of this file: it moves records and counts
losses; what the values mean is decided in ``columns``.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from callout import verdict
from callout._native import ffi, lib
from callout.batch import Batch
from callout.btf import Btf, Layout
from callout.capture import columns, conversation, privileges
from callout.capture.kinds import Lane
from callout.capture.tiers import CONVERSATION, ESSENTIAL, LEFTOVER, SOCKET_PROGRAMS, TIERS, Program, Tier
from callout.errors import NotPermittedError, UsageError
from callout.narrowing import Narrowing

if TYPE_CHECKING:
    from callout.summary import Summary

ROOM = 16384  # records of one drain: 5 MiB
DOUBLED = "socket_state"  # what it misses, socket_state_missed sees
URGENT = -10  # niceness of a reader that must keep up
IDLE_MS = 100  # longest sleep: bounds a missed wake-up and the reaction to a signal
GATHER_MS = 50  # how long records may gather: rows appear within 200 ms of their verdict
RING = 16 << 20
TRIAL_RING = os.sysconf("SC_PAGESIZE")  # the smallest that a kernel takes
FAMILY_BITS = {2: 1, 10: 2, 0: 4}  # as narrow.h tests them


class ProgramState(NamedTuple):
    """What became of one program: ``error`` is None when attached, else the kernel's or libbpf's words."""

    program: Program
    error: str | None


def read_object() -> bytes:
    """The compiled BPF object that is shipped with the package."""
    return files("callout").joinpath("observe.bpf.o").read_bytes()


def libbpf_error(action: str, number: int) -> str:
    """One line for a failed libbpf call: the last meaningful line of its log, and the error."""
    lines = [line.strip() for line in ffi.string(lib.co_log()).decode(errors="replace").splitlines()]
    told = [
        line
        for line in lines
        if "failed" in line.lower() or "error" in line.lower() or "not " in line.lower()
    ]
    reason = f"{verdict.errno_name(-number)} ({os.strerror(-number)})"
    return f"{action}: {reason}" + (f"; {told[0].removeprefix('libbpf: ')}" if told else "")


class Loaded:
    """One loaded object with attached programs. Close it, and nothing of it is left in the kernel."""

    def __init__(
        self,
        wanted: Sequence[Program],
        constants: np.ndarray[Any, Any],
        ring: int = RING,
    ) -> None:
        self._data = read_object()
        out = ffi.new("struct callout **")
        self._check("opening the BPF object", lib.co_open(self._data, len(self._data), out))
        self.handle = out[0]
        self.programs = tuple(wanted)
        try:
            for program in wanted:
                self._check(f"finding {program.name}", lib.co_want(self.handle, program.name.encode()))
            blob = constants.tobytes()
            self._check("setting constants", lib.co_constants(self.handle, b".rodata", blob, len(blob)))
            self._check("sizing the ring", lib.co_resize(self.handle, b"ring", ring))
            if not constants["conversation"].any():
                self._check("sizing a map", lib.co_resize(self.handle, b"talks", 1))
            self._check("loading", lib.co_load(self.handle))
        except OSError:
            self.close()
            raise

    @staticmethod
    def _check(action: str, result: int) -> None:
        if result < 0:
            raise OSError(-result, libbpf_error(action, result))

    def attach(self, program: Program, cgroup: int = -1) -> None:
        """Attaches one program; ``cgroup``: descriptor of its directory. Raises OSError with libbpf's words."""
        self._check(f"attaching {program.hook}", lib.co_attach(self.handle, program.name.encode(), cgroup))

    def lookup(self, name: str, key: int, value: np.ndarray[Any, Any]) -> None:
        """Reads one value of a map into ``value``."""
        k = ffi.new("unsigned int *", key)
        self._check(f"reading {name}", lib.co_lookup(self.handle, name.encode(), k, ffi.from_buffer(value)))

    def close(self) -> None:
        """Detaches and unloads everything."""
        if self.handle:
            lib.co_close(self.handle)
            self.handle = ffi.NULL


@dataclass
class Counters:
    """Totals over all CPUs. ``entered = submitted + withheld + lost + orphaned + still under way``."""

    entered: int = 0
    submitted: int = 0
    withheld: int = 0
    orphaned: int = 0
    joined: int = 0
    unfollowed: int = 0
    lost: int = 0
    lost_phases: int = 0
    lost_related: int = 0
    missed: dict[str, int] = field(default_factory=dict)


class KernelSource:
    """Attempts of this host, live. A context manager: programs are attached on entry and gone on exit.

    ``related``: also rows for the calls around the attempts (``capture.conversation``).
    """

    def __init__(
        self,
        narrowing: Narrowing | None = None,
        tier: str | None = None,
        ring: int = RING,
        urgent: bool = False,
        related: bool = False,
    ) -> None:
        self.narrowing = narrowing or Narrowing()
        self.narrowing.check()
        self._asked_tier = tier
        self._ring = ring
        self._urgent = urgent
        self._related = related
        self._nice: int | None = None
        self.tier: Tier | None = None
        self.states: list[ProgramState] = []
        self._loaded: Loaded | None = None

    def __enter__(self) -> KernelSource:
        privileges.check()
        btf = Btf.of_object(read_object())
        self.layout: Layout = btf.layout("attempt")
        self._counts = np.zeros(lib.co_cpus(), btf.layout("cpu_counters").dtype)
        self._decoder = columns.Decoder(btf)
        self._copies = np.zeros(ROOM, btf.layout("copy").dtype)
        lanes = [("RECORD_COPY", self._copies)]
        if self._related:
            self._calls = np.zeros(ROOM, btf.layout("call").dtype)
            self._call_decoder = conversation.Calls(btf, self._decoder)
            lanes.append(("RECORD_CALL", self._calls))
        self._lanes = ffi.new("struct co_lane[3]")
        self._nlanes = 1 + len(lanes)
        kinds = btf.enum("record_kind")
        self._attempts = Lane(ffi.addressof(self._lanes[0]), kinds["RECORD_ATTEMPT"], self.layout.dtype, ROOM)
        for lane, (kind, array) in enumerate(lanes, 1):
            self._lanes[lane].kind = kinds[kind]
            self._lanes[lane].size = array.dtype.itemsize
            self._lanes[lane].room = ROOM
            self._lanes[lane].buffer = ffi.cast("char *", array.ctypes.data)
        self._decoder.warm(np.zeros(2, self.layout.dtype))
        constants = constants_for(self.narrowing, btf.layout("narrowing"))
        constants["conversation"] = self._related
        self._load(constants)
        if self._urgent:
            self._hurry()
        return self

    def _hurry(self) -> None:
        """Goes before other work: a reader that waits behind fifty busy processes loses what does not fit the ring."""
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        with suppress(PermissionError):  # without CAP_SYS_NICE it reads at its usual priority
            os.setpriority(os.PRIO_PROCESS, 0, min(usual, URGENT))
            self._nice = usual

    def _load(self, constants: np.ndarray[Any, Any]) -> None:
        tiers = [t for t in TIERS if self._asked_tier in (None, t.name)]
        if not tiers:
            raise UsageError(
                f"there is no tier {self._asked_tier!r}", f"choose from: {', '.join(t.name for t in TIERS)}"
            )
        refusals = []
        for tier in tiers:
            try:
                self._loaded = self._try_tier(tier, constants)
            except OSError as error:
                refusals.append(f"{tier.name}: {error.strerror}")
                continue
            self.tier = tier
            return
        raise NotPermittedError(
            "no tier of programs can be loaded here\n  " + "\n  ".join(refusals),
            "`callout doctor` shows each program and why it is refused",
        )

    def _try_tier(self, tier: Tier, constants: np.ndarray[Any, Any]) -> Loaded:
        """Loads a tier with all that goes with it, or as much as loads and attaches. OSError if the tier fails."""
        wanted = (*SOCKET_PROGRAMS, *tier.evidence, LEFTOVER, *(CONVERSATION if self._related else ()))
        self.states = [ProgramState(p, "this kernel has no such tracepoint") for p in wanted if not exists(p)]
        extra = tuple(p for p in wanted if exists(p))
        try:
            loaded = Loaded((*extra, *tier.programs), constants, self._ring)
        except OSError:
            Loaded(tier.programs, constants, TRIAL_RING).close()  # the tier itself must load
            extra = tuple(p for p in extra if self._loads(p, constants))
            loaded = Loaded((*extra, *tier.programs), constants, self._ring)
        try:
            Loaded._check("reading the ring", lib.co_ring(loaded.handle, b"ring", b"bell"))
            with cgroup_directory(self.narrowing.cgroup) as cgroup:
                # those around attempts last: there are many, and a tier that fails here fails before them
                around = tuple(p for p in extra if p in CONVERSATION)
                before = tuple(p for p in extra if p not in CONVERSATION)
                for program in (*before, *tier.programs, *around):
                    self._attach(
                        loaded, program, cgroup, program in tier.programs or program.name in ESSENTIAL
                    )
        except OSError:
            loaded.close()
            raise
        return loaded

    def _attach(self, loaded: Loaded, program: Program, cgroup: int, must: bool) -> None:
        try:
            if program is not LEFTOVER:
                loaded.attach(program, cgroup)
        except OSError as error:
            if must:
                raise
            self.states.append(ProgramState(program, error.strerror))
        else:
            self.states.append(ProgramState(program, None))

    def _loads(self, program: Program, constants: np.ndarray[Any, Any]) -> bool:
        try:
            Loaded((program,), constants, TRIAL_RING).close()
        except OSError as error:
            if program.name in ESSENTIAL:
                raise
            self.states.append(ProgramState(program, error.strerror))
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detaches everything. Called twice it does nothing."""
        if self._nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, self._nice)
            self._nice = None
        if self._loaded:
            self._loaded.close()
            self._loaded = None

    def batches(self) -> Iterator[Batch]:
        """Batches as they come, for ever; at least one every 100 ms, if empty, so that a caller can stop."""
        while self._loaded:
            self.wait()  # also when there is something: a batch costs the same however small it is
            yield self.read()

    def finish(self, summary: Summary) -> Iterator[Batch]:
        """Detaches, yields what is in the ring and what is under way, and fills in the summary's counters."""
        assert self._loaded
        counters = self.counters()  # before detaching: libbpf forgets a program's misses with its link
        lib.co_detach(self._loaded.handle)
        if ProgramState(LEFTOVER, None) in self.states:
            result = lib.co_iterate(self._loaded.handle, LEFTOVER.name.encode())
            if result < 0:
                raise OSError(-result, os.strerror(-result))
        while len(batch := self.read()):
            yield batch
        for name in ("flights", "requests"):
            yield self.pending(name)
        after = self.counters()
        summary.attempts = after.entered - after.joined
        summary.lost = after.lost
        summary.withheld = after.withheld
        summary.extra = {
            name: number
            for name, number in (
                ("orphaned", after.orphaned),
                ("unfollowed", after.unfollowed),
                ("missed", sum(counters.missed.values())),
                ("phases lost", after.lost_phases),
                ("related calls lost", after.lost_related),
                ("late", self._decoder.associations.rows),
            )
            if number
        }

    def wait(self) -> None:
        """Sleeps until there are records, letting some gather. A signal ends the sleep early."""
        assert self._loaded
        result = lib.co_wait(self._loaded.handle, IDLE_MS, GATHER_MS, self._ring // 4)
        if result < 0 and result != -errno.EINTR:
            raise OSError(-result, os.strerror(-result))

    def read(self) -> Batch:
        """What is ready now, up to ROOM attempts; does not wait."""
        assert self._loaded
        count = lib.co_drain(self._loaded.handle, self._lanes, self._nlanes)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        if self._lanes[0].rows:
            self._loaded.lookup("counters", 0, self._counts)
            self._decoder.lost_now = self._counts["lost"][:, self._lanes[0].kind].tolist()
        if self._lanes[1].rows:
            self._decoder.copies.add(self._copies[: self._lanes[1].rows])
        batch = self._decoder.batch(self._attempts.take())
        if self._related and self._lanes[2].rows:
            batch = self._call_decoder.merged(batch, self._calls[: self._lanes[2].rows].copy())
        return batch

    def pending(self, name: str) -> Batch:
        """What a map still holds of attempts under way, as rows with the verdict `pending`; for the end of a trace."""
        assert self._loaded
        size = self.layout.dtype.itemsize + 8
        room = 32768
        values = np.zeros((room, size), np.uint8)
        count = lib.co_values(self._loaded.handle, name.encode(), 8, size, ffi.from_buffer(values), room)
        records = np.frombuffer(values[:count, :-8].tobytes(), self.layout.dtype).copy()
        records["phase"] = self._decoder.phases["PHASE_PENDING"]
        return self._decoder.batch(records)

    def counters(self) -> Counters:
        """Totals since attach."""
        assert self._loaded
        value = self._counts
        self._loaded.lookup("counters", 0, value)
        totals = {
            name: int(value[name].sum())
            for name in ("entered", "submitted", "withheld", "orphaned", "joined", "unfollowed")
        }
        missed = {p.name: lib.co_missed(self._loaded.handle, p.name.encode()) for p in self._loaded.programs}
        lost = value["lost"].sum(axis=0)
        return Counters(
            **totals,
            lost=int(lost[self._lanes[0].kind]),
            lost_phases=int(lost[0]),
            lost_related=int(lost[self._lanes[2].kind]) if self._related else 0,
            missed={name: number for name, number in missed.items() if number > 0 and name != DOUBLED},
        )


def exists(program: Program) -> bool:
    """Whether the running kernel has the tracepoint of a program; other hooks are found out by loading."""
    kind, _, name = program.hook.partition("/")
    return kind != "tp_btf" or bool(lib.co_has_tracepoint(name.encode()))


def constants_for(narrowing: Narrowing, layout: Layout) -> np.ndarray[Any, Any]:
    """The read-only configuration of the BPF programs, filled by member name."""
    value = np.zeros(1, layout.dtype)
    row = value[0]
    for name, numbers in (
        ("pids", sorted(narrowing.pids or ())),
        ("uids", sorted(narrowing.uids or ())),
        (
            "ports",
            [int.from_bytes(port.to_bytes(2, "big"), "little") for port in sorted(narrowing.ports or ())],
        ),
    ):
        row[name][: len(numbers)] = numbers
        row["n" + name] = len(numbers)
    for i, comm in enumerate(sorted(narrowing.comms or ())):
        row["comms"][i] = np.frombuffer(os.fsencode(comm)[:15].ljust(16, b"\0"), "<u8")
    row["ncomms"] = len(narrowing.comms or ())
    row["families"] = sum(bit for family, bit in FAMILY_BITS.items() if family in (narrowing.families or ()))
    row["nothing"] = any(
        v is not None and not v
        for v in (narrowing.pids, narrowing.uids, narrowing.ports, narrowing.comms, narrowing.families)
    )
    row["outcome"] = {None: 0, "success": 1, "failure": 2}[narrowing.outcome]
    row["phases"] = narrowing.phases
    row["uring"] = lib.co_has_tracepoint(b"io_uring_complete") and any(
        lib.co_has_tracepoint(name) for name in (b"io_uring_submit_req", b"io_uring_submit_sqe")
    )
    row["id_base"] = secrets.randbits(12) << 41
    if narrowing.cgroup:
        # the id of a cgroup is the inode number of its directory (kernfs)
        row["cgroup"] = os.stat(cgroup_path(narrowing.cgroup)).st_ino
    return value


def cgroup_path(path: str | None) -> str:
    """The directory of a cgroup v2, given absolute or relative to the hierarchy's root (None: the root)."""
    from callout.capture.cgroups import hierarchy

    root = hierarchy()
    if root is None:
        raise NotPermittedError("no cgroup v2 hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    if path is None:
        return root
    full = path if path.startswith(root) else os.path.join(root, path.lstrip("/"))
    if not os.path.isdir(full):
        raise UsageError(f"there is no cgroup {path}", f"give a directory below {root}")
    return full


@contextmanager
def cgroup_directory(path: str | None) -> Iterator[int]:
    """A descriptor of a cgroup's directory, for programs that attach there; -1 where no hierarchy is mounted."""
    try:
        full = cgroup_path(path)
    except NotPermittedError:
        yield -1
        return
    fd = os.open(full, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
