"""Loading the BPF object: the programs that this kernel takes, best tier first.

Rule of this file: everything between the compiled object and attached programs. What is refused is a fact that
is kept (``ProgramState``), and an error only where nothing can be traced without it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from callout import verdict
from callout._native import ffi, lib
from callout.batch import Array
from callout.capture import privileges
from callout.capture.cgroups import directory
from callout.capture.channels import smallest
from callout.capture.tiers import ESSENTIAL, RETURNS, Program, Tier
from callout.errors import NotPermittedError

MAPS = 64  # more than the object has
CHUNK = 1 << 16  # bytes that are read of an iterator at once
MUST = ESSENTIAL.union(*chain(*RETURNS.values()))  # those that load must attach: attempts wait for them


class ProgramState(NamedTuple):
    """What became of one program: ``error`` is None when attached, else the kernel's or libbpf's words."""

    program: Program
    error: str | None


def read_object() -> bytes:
    """The compiled BPF object that is shipped with the package."""
    return files("callout").joinpath("observe.bpf.o").read_bytes()


def exists(program: Program) -> bool:
    """Whether the running kernel has the tracepoint of a program; other hooks are found out by loading."""
    kind, _, name = program.hook.partition("/")
    return kind != "tp_btf" or bool(lib.co_has_tracepoint(name.encode()))


def hook(program: Program) -> None:
    """Raises OSError where the running kernel lets nothing attach to the hook of a program."""
    if error := lib.co_hook(program.hook.encode()):
        words = f"attaching {program.hook}: {verdict.errno_name(-error)} ({os.strerror(-error)})"
        raise OSError(-error, words)


def returns(programs: Sequence[Program]) -> int:
    """Of which attempts these programs see the return, as ``narrow.returns`` has it."""
    names = {program.name for program in programs}
    return sum(bit for bit, sets in RETURNS.items() if any(needed <= names for needed in sets))


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


def check(action: str, result: int) -> int:
    """The result of a native call. Raises OSError with libbpf's words where it failed."""
    if result < 0:
        raise OSError(-result, libbpf_error(action, result))
    return result


class Map(NamedTuple):
    """A map of the kernel. ``type``: number of ``enum bpf_map_type``; ``entries``: at most, bytes of a ring, 0 where it
    has no bound of its own; ``bytes``: the memory that it takes, about.
    """

    name: str
    type: int
    entries: int
    key_size: int
    value_size: int
    bytes: int


def memory_of(fd: int) -> int:
    """Bytes that a map takes by its descriptor's fdinfo (bpf_map_show_fdinfo() in kernel/bpf/syscall.c)."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0


class Loaded:
    """One loaded object with attached programs. Close it, and nothing of it is left in the kernel.

    ``sizes``: entries of maps (bytes of rings) by name where they are not to be the smallest; None: as declared.
    """

    def __init__(
        self, wanted: Sequence[Program], constants: Array, sizes: Mapping[str, int | None] | None = None
    ) -> None:
        self._data = read_object()
        out = ffi.new("struct callout **")
        check("opening the BPF object", lib.co_open(self._data, len(self._data), out))
        self.handle = out[0]
        self.programs = tuple(wanted)
        try:
            for program in wanted:
                check(f"finding {program.name}", lib.co_want(self.handle, program.name.encode()))
            blob = constants.tobytes()
            check("setting constants", lib.co_constants(self.handle, b".rodata", blob, len(blob)))
            for name, entries in {**smallest(), **(sizes or {})}.items():
                if entries is None:
                    continue
                check(f"sizing {name}", lib.co_resize(self.handle, name.encode(), entries))
            check("loading", lib.co_load(self.handle))
        except OSError:
            self.close()
            raise

    def attach(self, program: Program, cgroup: int = -1) -> None:
        """Attaches one program; ``cgroup``: descriptor of its directory. Raises OSError with libbpf's words."""
        check(f"attaching {program.hook}", lib.co_attach(self.handle, program.name.encode(), cgroup))

    def detach(self) -> None:
        """Detaches all programs; the maps stay readable."""
        lib.co_detach(self.handle)

    def iterate(self, program: Program, over: str = "") -> bytes:
        """Runs an iterator program once, over a map where it iterates one; what it wrote. Raises OSError."""
        fd = lib.co_iterator(self.handle, program.name.encode(), over.encode() or ffi.NULL)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        try:
            return b"".join(iter(lambda: os.read(fd, CHUNK), b""))
        finally:
            os.close(fd)

    def missed(self, program: Program) -> int:
        """How often a program was skipped because it ran on the same CPU already; negative where unknown."""
        missed: int = lib.co_missed(self.handle, program.name.encode())
        return missed

    def lookup(self, name: str, key: int, value: Array) -> None:
        """Reads one value of a map into ``value``."""
        k = ffi.new("unsigned int *", key)
        check(f"reading {name}", lib.co_lookup(self.handle, name.encode(), k, ffi.from_buffer(value)))

    def values(self, name: str, key_size: int, value_size: int, room: int) -> Array:
        """Up to ``room`` values of a hash map, as rows of bytes."""
        values = np.zeros((room, value_size), np.uint8)
        count = lib.co_values(self.handle, name.encode(), key_size, value_size, ffi.from_buffer(values), room)
        return values[:count]

    def maps(self) -> list[Map]:
        """All maps, with the memory that they take."""
        found = ffi.new("struct co_map[]", MAPS)
        count = lib.co_maps(self.handle, found, MAPS)
        return [
            Map(ffi.string(m.name).decode(), m.type, m.entries, m.key_size, m.value_size, memory_of(m.fd))
            for m in found[0 : min(count, MAPS)]
        ]

    def close(self) -> None:
        """Detaches and unloads everything."""
        if self.handle:
            lib.co_close(self.handle)
            self.handle = ffi.NULL


class Loader:
    """Finds the best tier that loads here, with as much of what goes with it as loads and attaches.

    ``beside``: programs that are wanted with every tier. ``late``: those of them that are attached last: there
    are many, and a tier that fails fails before them. ``also``: names of options of a tier, whose programs are wanted
    too; ``without``: names of programs that are not. ``held``: those of ``beside`` that are attached when they are
    needed, not now. ``states`` says what became of each.
    """

    def __init__(
        self,
        constants: Array,
        sizes: Mapping[str, int | None],
        beside: Sequence[Program],
        late: Sequence[Program] = (),
        cgroup: str | None = None,
        also: Collection[str] = (),
        without: Collection[str] = (),
        held: Collection[Program] = (),
    ) -> None:
        self._also, self._without, self._held = also, without, held
        self.states: list[ProgramState] = []
        self._constants, self._sizes = constants, sizes
        self._beside, self._late = tuple(beside), frozenset(late)
        self._cgroup = cgroup

    def best(self, tiers: Sequence[Tier]) -> tuple[Loaded, Tier]:
        """The first tier that can be loaded and attached. Raises NotPermittedError where none can."""
        refusals: list[str] = []
        for tier in tiers:
            try:
                if tier is not tiers[-1]:  # to load it all takes long, and there is another one to try
                    for program in tier.programs:
                        hook(program)
                return self._try(tier), tier
            except OSError as error:
                refusals.append(f"{tier.name}: {error.strerror}")
        raise NotPermittedError(
            "no tier of programs can be loaded here\n  " + "\n  ".join(refusals),
            privileges.OLD_LIBBPF
            if ffi.string(lib.co_version()).startswith(b"0.")
            else "`callout doctor` shows each program and why it is refused",
        )

    def _try(self, tier: Tier) -> Loaded:
        """Loads a tier with all that goes with it, or as much as loads and attaches. OSError if the tier fails."""
        asked = chain(*(option.programs for option in tier.options if option.name in self._also))
        # first what sees a send return: it must be there when a send is entered
        every = (*asked, *tier.evidence, *self._beside)
        wanted = tuple(p for p in every if p.name not in self._without)
        self.states = [ProgramState(p, "this kernel has no such tracepoint") for p in wanted if not exists(p)]
        extra = tuple(p for p in wanted if exists(p))
        self._constants["returns"] = returns(extra)
        try:
            loaded = Loaded((*extra, *tier.programs), self._constants, self._sizes)
        except OSError:
            Loaded(tier.programs, self._constants).close()  # the tier itself must load
            extra = tuple(p for p in extra if self._loads(p))
            self._constants["returns"] = returns(extra)
            loaded = Loaded((*extra, *tier.programs), self._constants, self._sizes)
        try:
            with directory(self._cgroup) as cgroup:
                late = tuple(p for p in extra if p in self._late)
                early = tuple(p for p in extra if p not in self._late)
                for program in (*early, *tier.programs, *late):
                    must = program in tier.programs or program.name in MUST
                    self._attach(loaded, program, cgroup, must)
        except OSError:
            loaded.close()
            raise
        return loaded

    def _attach(self, loaded: Loaded, program: Program, cgroup: int, must: bool) -> None:
        try:
            if not program.hook.startswith("iter/") and program not in self._held:  # an iterator is run
                loaded.attach(program, cgroup)
        except OSError as error:
            if must:
                raise
            self.states.append(ProgramState(program, error.strerror))
        else:
            self.states.append(ProgramState(program, None))

    def _loads(self, program: Program) -> bool:
        try:
            Loaded((program,), self._constants).close()
        except OSError as error:
            if program.name in ESSENTIAL:
                raise
            self.states.append(ProgramState(program, error.strerror))
            return False
        return True
