"""Which BPF programs this kernel takes: each one is loaded and attached alone, then removed.

Rule of this file: the only part of the doctor that touches the kernel's BPF side. A refusal is a fact;
nothing stays attached. A trial costs 10 to 50 ms; there is none where ``privileges`` would stop a trace.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from callout.capture import privileges
from callout.capture.tiers import (
    LEFTOVER,
    NAMES,
    OPTIONS,
    OVERLOOKED,
    PROCESSES,
    SOCKET_PROGRAMS,
    TIERS,
    Program,
)
from callout.doctor.facts import Facts, Host, Trial
from callout.errors import CalloutError

ENOTSUPP = 524  # include/linux/errno.h, not for user space: this architecture has no trampolines
# No such function, tracepoint or kind of probe in this kernel, as opposed to one that it does not let us use.
ABSENT = frozenset({errno.ENOENT, errno.ESRCH, ENOTSUPP})
ALL = (
    *SOCKET_PROGRAMS,
    LEFTOVER,
    OVERLOOKED,
    *PROCESSES,
    *NAMES,
    *(program for tier in TIERS for program in (*tier.programs, *tier.evidence)),
    *(program for option in OPTIONS.values() for program in option.programs),
)


class Native(NamedTuple):
    """What is needed of the native part of the package, so that a test can stand in for a kernel."""

    version: str
    attempt: Callable[[Program], None]  # loads and attaches one program, removes it; raises OSError
    choose: Callable[[], str]  # the tier of a trace, started and ended; raises CalloutError or OSError


def native() -> Native:
    """The real one. Raises ImportError or OSError where libbpf or the BPF object is missing."""
    from callout._native import ffi, lib
    from callout.btf import Btf
    from callout.capture.cgroups import directory
    from callout.capture.constants import constants_for
    from callout.capture.kernel import KernelSource
    from callout.capture.loading import Loaded, read_object
    from callout.narrowing import Narrowing

    constants = constants_for(Narrowing(), Btf.of_object(read_object()).layout("narrowing"))

    def attempt(program: Program) -> None:
        loaded = Loaded((program,), constants)
        try:
            if not program.hook.startswith("iter/"):  # which is run, not attached
                with directory(None) as cgroup:
                    loaded.attach(program, cgroup)
        finally:
            loaded.close()

    def choose() -> str:
        with KernelSource() as source:
            assert source.tier is not None  # once entered, it has one
            return source.tier.name

    return Native(ffi.string(lib.co_version()).decode(), attempt, choose)


def obstacle(host: Host) -> str:
    """Why no program is even tried, "" if nothing is in the way: the conditions of ``privileges.check``."""
    lacking = privileges.missing(host.effective)
    if lacking:
        return f"needs {', '.join(lacking)}"
    if host.btf_size is None:
        return "needs the kernel's BTF"
    return ""


def one_line(error: OSError) -> str:
    """The kernel's or libbpf's words, without what is said twice."""
    words = " ".join((error.strerror or str(error)).split())
    head, _, told = words.partition("; ")
    repeats = error.errno is not None and told.endswith(os.strerror(error.errno))
    return head if repeats or not told else f"{head}; {told}"


def trial(program: Program, attempt: Callable[[Program], None]) -> Trial:
    """Tries one program."""
    try:
        attempt(program)
    except OSError as error:
        return Trial("absent" if error.errno in ABSENT else "refused", one_line(error))
    return Trial("loaded")


def choice(choose: Callable[[], str]) -> tuple[str | None, str]:
    """The tier that a trace uses here, or None and why it does not start."""
    try:
        return choose(), ""
    except CalloutError as error:
        return None, error.message.partition("\n")[0]  # what follows is told program by program
    except OSError as error:
        return None, one_line(error)


def gather(host: Host, native: Callable[[], Native] = native) -> Facts:
    """Tries every program on this host, then a whole trace."""
    reason = obstacle(host)
    trials: Mapping[str, Trial] = {program.name: Trial("not tried", reason) for program in ALL}
    try:
        part = native()
    except (ImportError, OSError) as error:
        cause = " ".join(str(error).split())
        trials = {program.name: Trial("not tried", reason or "needs libbpf") for program in ALL}
        return Facts(host, None, cause, trials, None, reason or "needs libbpf")
    if reason:
        return Facts(host, part.version, "", trials, None, reason)
    trials = {program.name: trial(program, part.attempt) for program in ALL}
    tier, why = choice(part.choose)
    return Facts(host, part.version, "", trials, tier, why)
