"""What the filter of a profile does to a system call: on which host, by which table of numbers, under what conditions.

Rule of this file: as libseccomp makes filters of rules (src/db.c, db_rule_add): of rules without argument filters the
first counts; one without takes the place of those with; rules of calls that socketcall(2) has too count for it as
well, where their filter of the first argument is lost (src/syscalls.c, abi_rule_add). Filters that compare different
arguments of one call are read as they stand; libseccomp merges them into one tree, which in rare cases loses one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from callout.reference import tables
from callout.seccomp.profile import ARCHITECTURES, Action, Condition, Profile, Rule

CALLS = (
    "connect", "socket", "sendto", "sendmsg", "sendmmsg", "socketcall", "io_uring_setup", "io_uring_enter",
    "io_uring_register",
)  # fmt: skip
MULTIPLEXED = {
    "socket": 1,
    "connect": 3,
    "sendto": 11,
    "sendmsg": 16,
    "sendmmsg": 20,
}  # include/uapi/linux/net.h
DOCKER_CAPS = (  # of a container without --cap-add (github.com/moby/moby, oci/caps/defaults.go)
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
GO_NAMES = {  # what includes.arches and excludes.arches have, by the names of profiles
    "SCMP_ARCH_X86": ("x86", "386"), "SCMP_ARCH_X86_64": ("amd64",), "SCMP_ARCH_ARM": ("arm",),
    "SCMP_ARCH_AARCH64": ("arm64",), "SCMP_ARCH_MIPS64": ("mips64",), "SCMP_ARCH_MIPS64N32": ("mips64n32",),
    "SCMP_ARCH_MIPSEL": ("mipsel",), "SCMP_ARCH_MIPSEL64": ("mipsel64",), "SCMP_ARCH_PPC": ("ppc",),
    "SCMP_ARCH_PPC64": ("ppc64",), "SCMP_ARCH_PPC64LE": ("ppc64le",), "SCMP_ARCH_RISCV64": ("riscv64",),
    "SCMP_ARCH_S390": ("s390",), "SCMP_ARCH_S390X": ("s390x",), "SCMP_ARCH_LOONGARCH64": ("loong64", "loongarch64"),
}  # fmt: skip
NATIVE = {  # by uname -m
    "x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X", "riscv64": "SCMP_ARCH_RISCV64", "loongarch64": "SCMP_ARCH_LOONGARCH64",
    "mips64": "SCMP_ARCH_MIPSEL64", "i686": "SCMP_ARCH_X86", "armv7l": "SCMP_ARCH_ARM",
}  # fmt: skip
RELATED = {"x86_64": ("i386", "x32"), "aarch64": ("arm",), "s390x": ("s390",), "powerpc64": ("powerpc",)}
KILLED = Action("SCMP_ACT_KILL")  # libseccomp's answer to calls of a table that is not listed


@dataclass(frozen=True)
class Host:
    """A machine: its native architecture and the tables of numbers that the profile takes there."""

    native: str
    taken: tuple[str, ...]

    @property
    def name(self) -> str:
        """The native architecture in our words."""
        return ARCHITECTURES[self.native]

    @property
    def abis(self) -> tuple[str, ...]:
        """Tables of numbers that such a machine can have, whether the profile takes them or not."""
        taken = [ARCHITECTURES[name] for name in self.taken]
        return tuple(dict.fromkeys([*taken, *RELATED.get(self.name, ())]))

    def takes(self, abi: str) -> bool:
        """Whether the profile has a word about a table."""
        return abi in {ARCHITECTURES[name] for name in self.taken}


@dataclass(frozen=True)
class Context:
    """What rules may be limited to: capabilities of the process, and the kernel."""

    caps: frozenset[str]
    kernel: tuple[int, int]


@dataclass(frozen=True)
class Decision:
    """What becomes of one call by one table. ``cases`` are argument filters with their actions; ``otherwise`` is for
    all else. ``by`` has the lines of the rules, empty where the default decides, ``ignored`` those that change nothing.
    ``through`` is socketcall where the call is one of its functions. ``conflict``: filters of different actions that
    can hold together. ``refused``: rules that say different things of the same, for which libseccomp refuses all.
    """

    call: str
    host: str
    abi: str
    number: int | None
    cases: tuple[tuple[tuple[Condition, ...], Action], ...]
    otherwise: Action
    by: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    through: str = ""
    conflict: bool = False
    refused: bool = False
    variants: tuple[tuple[str, Decision], ...] = field(default=(), compare=False)

    @property
    def outcome(self) -> tuple[object, ...]:
        """What a call comes to, whatever led there."""
        return self.cases, self.otherwise

    def action(self, arguments: Sequence[int]) -> Action:
        """What becomes of a call with such arguments."""
        for conditions, action in self.cases:
            if all(one.holds(arguments[one.index]) for one in conditions):
                return action
        return self.otherwise


@cache
def numbers() -> dict[str, dict[str, str]]:
    """The reference's numbers of system calls, by table."""
    return {row["abi"]: row for row in tables.records("numbers")}


def number(abi: str, call: str) -> int | None:
    """The number of a call in a table; None where it does not have it."""
    text = numbers()[abi].get(call, "")
    return int(text) if text else None


def hosts(profile: Profile, machine: str) -> tuple[Host, ...]:
    """The machines that a profile speaks of; ``machine`` is this one's, which is meant where it names none."""
    if profile.arch_map:
        return tuple(Host(native, (native, *subs)) for native, subs in profile.arch_map)
    native = NATIVE.get(machine, "SCMP_ARCH_X86_64")
    return (Host(native, tuple(dict.fromkeys([native, *profile.architectures]))),)


def applies(rule: Rule, host: Host, context: Context) -> bool:
    """Whether a runtime takes a rule over into the filter (moby, setupSeccomp)."""
    own = GO_NAMES.get(host.native, ())
    if any(arch in own for arch in rule.excludes.arches) or any(
        cap in context.caps for cap in rule.excludes.caps
    ):
        return False
    if rule.excludes.min_kernel and context.kernel >= rule.excludes.min_kernel:
        return False
    if rule.includes.arches and not any(arch in own for arch in rule.includes.arches):
        return False
    if any(cap not in context.caps for cap in rule.includes.caps):
        return False
    return not rule.includes.min_kernel or context.kernel >= rule.includes.min_kernel


def decisions(profile: Profile, context: Context, machine: str) -> list[Decision]:
    """Every call on every host by every table, with the variants that capabilities and kernels make."""
    found = []
    for host in hosts(profile, machine):
        for abi in host.abis:
            for call in CALLS:
                for decision in of_call(profile, context, host, abi, call):
                    found.append(with_variants(profile, context, host, decision))
    return found


def of_call(profile: Profile, context: Context, host: Host, abi: str, call: str) -> Iterator[Decision]:
    """A call by its own number and, where the table has that, as a function of socketcall."""
    own = number(abi, call)
    if not host.takes(abi):
        if own is not None:
            yield Decision(call, host.name, abi, own, (), KILLED)
        return
    rules = [rule for rule in profile.rules if applies(rule, host, context)]
    found = direct(profile, rules, host, abi, call, own)
    if own is not None or found.refused:
        yield found
    if call in MULTIPLEXED and number(abi, "socketcall") is not None:
        yield multiplexed(profile, rules, host, abi, call)


Entry = tuple[tuple[Condition, ...], Action, int]


def direct(
    profile: Profile, rules: Sequence[Rule], host: Host, abi: str, call: str, own: int | None
) -> Decision:
    """A call by its own number."""
    entries: list[Entry] = [
        (conditions, rule.action, rule.line)
        for rule in rules
        if call in rule.names and rule.action != profile.default
        for conditions in rule.alternatives
    ]
    return decided(Decision(call, host.name, abi, own, (), profile.default), entries)


def multiplexed(profile: Profile, rules: Sequence[Rule], host: Host, abi: str, call: str) -> Decision:
    """A function of socketcall(2): by rules for socketcall, which see its number only, and by rules for the call.

    Rules for the call compare the number of the function where they had a filter of the first argument; further
    filters compare registers that hold something else.
    """
    function = Condition(0, "SCMP_CMP_EQ", MULTIPLEXED[call])
    entries: list[Entry] = []
    for rule in rules:
        for conditions in rule.alternatives if rule.action != profile.default else ():
            for name in rule.names:
                if name == call:
                    rest = tuple(one for one in conditions if one.index != 0)
                    entries.append(((function, *rest), rule.action, rule.line))
                elif name == "socketcall" and all(
                    one.holds(function.value) for one in conditions if one.index == 0
                ):
                    entries.append((conditions, rule.action, rule.line))
    base = Decision(
        call, host.name, abi, number(abi, "socketcall"), (), profile.default, through="socketcall"
    )
    found = decided(base, entries)
    cases = tuple(
        (tuple(one for one in conditions if one.index != 0), action) for conditions, action in found.cases
    )
    certain = next((action for conditions, action in cases if not conditions), None)
    if certain is None or found.conflict:
        return replace(found, cases=cases)
    return replace(found, cases=(), otherwise=certain)


def decided(base: Decision, entries: Sequence[Entry]) -> Decision:
    """What rules make of a call, in libseccomp's way: one after the other."""
    whole: Entry | None = None
    kept: list[Entry] = []
    ignored: list[int] = []
    for entry in entries:
        conditions, action, line = entry
        if whole is not None:
            ignored += [line] if action != whole[1] else []
        elif not conditions:
            ignored += [place for _, other, place in kept if other != action]
            whole, kept = entry, []
        elif any(same(other, conditions) or begins(conditions, other) for other, _, _ in kept):
            clash = [place for other, what, place in kept if same(other, conditions) and what != action]
            shorter = any(begins(conditions, other) for other, _, _ in kept)
            if clash and not shorter:
                return replace(base, by=(*clash, line), refused=True)
            ignored += [line] if shorter else []
        else:
            longer = [other for other in kept if begins(other[0], conditions)]
            if any(what != action for _, what, _ in longer):
                return replace(base, by=(*(place for *_, place in longer), line), refused=True)
            kept = [other for other in kept if other not in longer] + [entry]
    ignored = list(dict.fromkeys(ignored))
    if whole is not None:
        return replace(base, otherwise=whole[1], by=(whole[2],), ignored=tuple(ignored))
    cases = tuple(dict.fromkeys((conditions, action) for conditions, action, _ in kept))
    conflict = any(
        one[1] != two[1] and together(one[0], two[0]) for n, one in enumerate(cases) for two in cases[n + 1 :]
    )
    return replace(base, cases=cases, by=tuple(dict.fromkeys(line for *_, line in kept)), conflict=conflict)


def begins(longer: tuple[Condition, ...], shorter: tuple[Condition, ...]) -> bool:
    """Whether filters begin with others, in order of the arguments: then those decide before."""
    ordered = sorted(longer, key=lambda one: one.index)
    return len(shorter) < len(longer) and ordered[: len(shorter)] == sorted(
        shorter, key=lambda one: one.index
    )


def same(one: tuple[Condition, ...], two: tuple[Condition, ...]) -> bool:
    """Whether both are the same filters, in whatever order."""
    return set(one) == set(two)


def together(one: tuple[Condition, ...], two: tuple[Condition, ...]) -> bool:
    """Whether both can hold for the same call; True also where that is not told easily."""
    for index in {condition.index for condition in one} & {condition.index for condition in two}:
        conditions = [condition for condition in (*one, *two) if condition.index == index]
        samples = {
            value + step
            for condition in conditions
            for value in (condition.value, condition.other)
            for step in (-1, 0, 1)
        }
        if not any(
            value >= 0 and all(condition.holds(value) for condition in conditions) for value in samples
        ):
            return False
    return True


def with_variants(profile: Profile, context: Context, host: Host, decision: Decision) -> Decision:
    """A decision with what other capabilities and other kernels would make of it."""
    named = {decision.call, decision.through} - {""}
    rules = [rule for rule in profile.rules if named & set(rule.names)]
    caps = dict.fromkeys(cap for rule in rules for cap in (*rule.includes.caps, *rule.excludes.caps))
    kernels = {k for rule in rules for k in (rule.includes.min_kernel, rule.excludes.min_kernel) if k}
    others: list[tuple[str, Context]] = []
    for cap in caps:
        has = cap in context.caps
        changed = context.caps - {cap} if has else context.caps | {cap}
        others.append((f"{'without' if has else 'with'} {cap}", replace(context, caps=changed)))
    for kernel in sorted(kernels):
        newer = context.kernel >= kernel
        words = f"{'before' if newer else 'from'} Linux {kernel[0]}.{kernel[1]}{'' if newer else ' on'}"
        below = (kernel[0], kernel[1] - 1) if kernel[1] else (kernel[0] - 1, 99)
        others.append((words, replace(context, kernel=below if newer else kernel)))
    variants = []
    for words, other in others:
        for found in of_call(profile, other, host, decision.abi, decision.call):
            if found.through == decision.through and found.outcome != decision.outcome:
                variants.append((words, found))
    return replace(decision, variants=tuple(variants))


def default_context(profile: Profile, kernel: tuple[int, int]) -> Context:
    """The capabilities that the file tells, else those of a container without any added."""
    return Context(frozenset(DOCKER_CAPS if profile.caps is None else profile.caps), kernel)
