"""Which programs work here, and so which ways out of a process are seen.

Rule of this file: pure; all names and costs come from ``capture.tiers`` and ``doctor.paths``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from callout.capture.tiers import (
    ESSENTIAL,
    LEFTOVER,
    NAMES,
    OVERLOOKED,
    PACKET_TAX_NS,
    PROCESSES,
    SOCKET_PROGRAMS,
    TIERS,
    Program,
    Tier,
)
from callout.doctor.facts import Check, Facts, State, Trial
from callout.doctor.paths import PATHS, Path

# What a kernel needs for the programs of a tier.
TIER_NEEDS = {
    "trampoline": "a kernel that takes fentry and fexit programs",
    "kprobe": "a kernel built with CONFIG_KPROBE_EVENTS",
    "tracepoint": "a kernel built with CONFIG_FTRACE_SYSCALLS, and tracefs mounted or CAP_SYS_ADMIN to open it",
}
HIERARCHY = "needs a cgroup v2 hierarchy: mount -t cgroup2 none DIRECTORY"


def trial_of(program: Program, facts: Facts) -> Trial:
    """What became of a program; one of which there is no report was not tried."""
    return facts.trials.get(program.name, Trial("not tried"))


def works(program: Program, facts: Facts) -> bool:
    """Whether a program can be used here."""
    return trial_of(program, facts).fate == "loaded"


def told(program: Program, facts: Facts) -> str:
    """One program in one sentence: where it attaches, what became of it, what it is for."""
    fate, error = trial_of(program, facts)
    return f"{program.hook} {fate}{': ' if error else ''}{error}; gives: {program.gives}"


def tiers(facts: Facts) -> Iterator[Check]:
    """The tiers, best first, each followed by its programs."""
    for tier in TIERS:
        yield tier_check(tier, facts)
        for program in tier.programs:
            state: State = "ok" if works(program, facts) else "no"
            yield Check(f"tier.{tier.name}.{program.name}", state, told(program, facts))
        for program in tier.evidence:
            state = "ok" if works(program, facts) else "warn"
            yield Check(f"tier.{tier.name}.{program.name}", state, told(program, facts))
        for option in tier.options:
            for program in option.programs:
                state = "ok" if works(program, facts) else "warn"
                text = f"{told(program, facts)}; only with --{option.name}, as {option.payer} pays for it"
                yield Check(f"tier.{tier.name}.{program.name}", state, text)


def tier_check(tier: Tier, facts: Facts) -> Check:
    """One tier: chosen, spare, or why not."""
    name, fates = f"tier.{tier.name}", {trial_of(program, facts).fate for program in tier.programs}
    if tier.name == facts.tier:
        return Check(name, "ok", f"chosen; while tracing, {tax(tier)}")
    if fates == {"loaded"}:
        return Check(name, "ok", f"works, not chosen; with it, while tracing, {tax(tier)}")
    if fates == {"not tried"}:
        return Check(name, "no", f"not tried; with it, while tracing, {tax(tier)}")
    refused = f"cannot be used here; with it, while tracing, {tax(tier)}"
    return Check(name, "no", refused, f"needs {TIER_NEEDS[tier.name]}")


def tax(tier: Tier) -> str:
    """What a tier costs all that has nothing to do with connections."""
    low, high = tier.tax_ns
    if not high:
        return "other system calls of this host pay nothing"
    return f"every other system call of this host takes {low} to {high} ns more"


def sockets(facts: Facts) -> Iterator[Check]:
    """The programs that follow a socket after the call, and the one for the end of a trace, whatever the tier."""
    for program in (*SOCKET_PROGRAMS, LEFTOVER, OVERLOOKED):
        lost: State = "no" if program.name in ESSENTIAL else "warn"
        state: State = "ok" if works(program, facts) else lost
        homeless = state != "ok" and program.hook.startswith("cgroup/") and facts.host.cgroup2 is None
        yield Check(f"socket.{program.name}", state, told(program, facts), HIERARCHY if homeless else "")


def processes(facts: Facts) -> Iterator[Check]:
    """The programs that tell what processes run."""
    for program in PROCESSES:
        state: State = "ok" if works(program, facts) else "warn"
        yield Check(f"entity.{program.name}", state, told(program, facts))


def names(facts: Facts) -> Iterator[Check]:
    """The programs that see names of destinations pass, and what they cost."""
    for program in NAMES:
        state: State = "ok" if works(program, facts) else "warn"
        homeless = state != "ok" and facts.host.cgroup2 is None
        yield Check(f"name.{program.name}", state, told(program, facts), HIERARCHY if homeless else "")
    low, high = PACKET_TAX_NS
    if any(works(program, facts) for program in NAMES):
        cost = f"while tracing, each packet that a socket sends or receives takes {low} to {high} ns more"
        yield Check("name.tax", "ok", f"{cost}; --no-names saves that")


def active(facts: Facts) -> frozenset[str]:
    """The programs that a trace attaches here."""
    if facts.tier is None:
        return frozenset()
    (tier,) = (tier for tier in TIERS if tier.name == facts.tier)
    spare = (*SOCKET_PROGRAMS, *tier.evidence)
    return frozenset(p.name for p in tier.programs) | {p.name for p in spare if works(p, facts)}


def paths(facts: Facts) -> Iterator[Check]:
    """Every way out of a process that this machine has, and who sees it here."""
    for path in PATHS:
        if not path.machines or facts.host.machine in path.machines:
            yield path_check(path, facts)


def path_check(path: Path, facts: Facts) -> Check:
    """One way out: seen by what, or seen in part, or why not."""
    name, attached = f"path.{path.name}", active(facts)
    seers = [program for program in path.seen_by if program in attached]
    if seers:
        return Check(name, "ok", f"{path.what}: observed by {', '.join(seers)}")
    if facts.tier is None:
        return Check(name, "no", f"{path.what}: not observed, as tracing does not work here")
    able = [tier.name for tier in TIERS if seers_of(path, tier.programs)]
    remedy = f"needs the tier {' or '.join(able)}" if able else lacking(path, facts)
    (chosen,) = (tier for tier in TIERS if tier.name == facts.tier)
    asked = [option for option in chosen.options if seers_of(path, option.programs)]
    for option in asked:
        hooks = " and ".join(program.hook for program in option.programs)
        if all(works(program, facts) for program in option.programs):
            remedy = f"trace with --{option.name}, for which {option.payer} pays" + (
                f"; else {remedy}" if able else ""
            )
        elif not able:
            remedy = f"needs {hooks}"
    partly = [program for program in path.partly_by if program in attached]
    if partly:
        return Check(name, "warn", f"{path.what}: {path.part}, observed by {', '.join(partly)}", remedy)
    lack = (
        f"not seen by the {facts.tier} tier"
        if able or asked
        else "the programs that observe it do not work here"
    )
    return Check(name, "no", f"{path.what}: {lack}", remedy)


def seers_of(path: Path, programs: Sequence[Program]) -> list[Program]:
    """Those of some programs that see a way."""
    return [program for program in programs if program.name in path.seen_by]


def lacking(path: Path, facts: Facts) -> str:
    """What to do where the programs that every tier shares, or the evidence of the chosen one, do not work."""
    own = [program for tier in TIERS if tier.name == facts.tier for program in seers_of(path, tier.evidence)]
    if not seers_of(path, SOCKET_PROGRAMS):
        needed = " or ".join(program.hook for program in own)
        return f"needs {needed}" if needed else "no program of this tier can observe it"
    hooks = {p.name: p.hook for p in SOCKET_PROGRAMS}
    on_cgroups = any(hooks.get(name, "").startswith("cgroup/") for name in path.seen_by)
    return HIERARCHY if on_cgroups and facts.host.cgroup2 is None else ""
