"""Compile the C programs of the benchmark: the load generator and the floor.

Rule: one table of steps, each output rebuilt when an input is newer; nothing is built that is not measured.
Needs a C compiler; the floor also needs clang with the BPF target, bpftool and libbpf's headers.
Run as ``python -m bench.build``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
WARNINGS = ("-O2", "-g", "-Wall", "-Wextra", "-Werror")


class BenchError(Exception):
    """A measurement could not be made; the message says what happened and what to do."""


@dataclass(frozen=True)
class Programs:
    """Paths of the compiled programs."""

    load: Path
    floor: Path


@dataclass(frozen=True)
class Step:
    """One compiler call: ``argv`` makes ``output`` (on standard output when ``captured``) from ``inputs``."""

    output: Path
    inputs: tuple[Path, ...]
    argv: tuple[str, ...]
    captured: bool = False

    def due(self) -> bool:
        """Whether the output is missing or older than an input."""
        if not self.output.exists():
            return True
        made = self.output.stat().st_mtime_ns
        return any(path.stat().st_mtime_ns >= made for path in self.inputs)

    def run(self) -> None:
        """Make the output; raises BenchError with the compiler's own words."""
        if shutil.which(self.argv[0]) is None:
            raise BenchError(f"{self.argv[0]} is needed to build {self.output.name}, and is not installed")
        done = subprocess.run(self.argv, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(self.argv)}\n{done.stderr}")
        if self.captured:
            self.output.write_text(done.stdout)


def tool(name: str) -> str:
    """Full path of a program, looking in the sbin directories too (bpftool lives there on Debian)."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"
    return shutil.which(name, path=path) or name


def multiarch_include() -> tuple[str, ...]:
    """The include directory that Debian keeps per architecture; clang's BPF target does not know it."""
    compiler = os.environ.get("CC", "cc")
    done = subprocess.run(
        [compiler, "-print-multiarch"], capture_output=True, text=True, timeout=20, check=False
    )
    name = done.stdout.strip()
    return (f"-I/usr/include/{name}",) if done.returncode == 0 and name else ()


def load_steps(into: Path) -> tuple[Step, ...]:
    """How the load generator is made."""
    sources = (BENCH / "load.c", BENCH / "attempts.h")
    compiler = os.environ.get("CC", "cc")
    flags = (*WARNINGS, "-std=gnu11", "-pthread", "-o", str(into / "load"))
    return (Step(into / "load", sources, (compiler, *flags, str(sources[0]))),)


def floor_steps(into: Path) -> tuple[Step, ...]:
    """How the floor is made: BPF object, its skeleton header, the reader."""
    source = BENCH / "floor"
    record, tracefs = source / "record.h", source / "tracefs.h"
    kernel, reader = source / "floor.bpf.c", source / "floor.c"
    built, skeleton, floor = into / "floor.bpf.o", into / "floor.skel.h", into / "floor"
    bpf_flags = ("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", *multiarch_include())
    reader_flags = (*WARNINGS, "-std=gnu11", f"-I{into}", f"-I{source}", "-o", str(floor))
    return (
        Step(built, (kernel, record), (tool("clang"), *bpf_flags, "-c", str(kernel), "-o", str(built))),
        Step(
            skeleton,
            (built,),
            (tool("bpftool"), "gen", "skeleton", str(built), "name", "floor_bpf"),
            captured=True,
        ),
        Step(
            floor,
            (reader, record, tracefs, skeleton),
            (os.environ.get("CC", "cc"), *reader_flags, str(reader), "-lbpf"),
        ),
    )


def build_load(into: Path = BENCH / "build") -> Path:
    """Compile the load generator if it is out of date; its path."""
    return _make(load_steps, into)


def build_floor(into: Path = BENCH / "build") -> Path:
    """Compile the floor if it is out of date; its path."""
    return _make(floor_steps, into)


def build(into: Path = BENCH / "build") -> Programs:
    """Compile everything that is out of date; raises BenchError."""
    return Programs(load=build_load(into), floor=build_floor(into))


def _make(steps_of: Callable[[Path], tuple[Step, ...]], into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    steps = steps_of(into)
    for step in steps:
        if step.due():
            step.run()
    return steps[-1].output


if __name__ == "__main__":
    try:
        print(*vars(build()).values(), sep="\n")
    except BenchError as error:
        sys.exit(f"bench: {error}")
