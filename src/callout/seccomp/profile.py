"""What a profile's file says: default, architectures, rules. Docker's, Podman's and the OCI runtime-spec's form.

Rule of this file: every refusal names line and column. What no runtime would take is refused, as is a name of a
field that no form has; what is only meant for other systems (flags, listenerPath) is kept.
Source: github.com/opencontainers/runtime-spec (config-linux.md, Seccomp), github.com/moby/profiles (seccomp.go).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from callout.seccomp.located import Located, load

ACTIONS = (
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
)  # fmt: skip
OPERATORS = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
)  # fmt: skip
ARCHITECTURES = {  # the names of profiles, and ours
    "SCMP_ARCH_X86": "i386", "SCMP_ARCH_X86_64": "x86_64", "SCMP_ARCH_X32": "x32", "SCMP_ARCH_ARM": "arm",
    "SCMP_ARCH_AARCH64": "aarch64", "SCMP_ARCH_MIPS": "mips_o32", "SCMP_ARCH_MIPS64": "mips_n64",
    "SCMP_ARCH_MIPS64N32": "mips_n32", "SCMP_ARCH_MIPSEL": "mips_o32", "SCMP_ARCH_MIPSEL64": "mips_n64",
    "SCMP_ARCH_MIPSEL64N32": "mips_n32", "SCMP_ARCH_PPC": "powerpc", "SCMP_ARCH_PPC64": "powerpc64",
    "SCMP_ARCH_PPC64LE": "powerpc64", "SCMP_ARCH_S390": "s390", "SCMP_ARCH_S390X": "s390x",
    "SCMP_ARCH_PARISC": "parisc", "SCMP_ARCH_PARISC64": "parisc64", "SCMP_ARCH_RISCV64": "riscv",
    "SCMP_ARCH_LOONGARCH64": "loongarch64", "SCMP_ARCH_M68K": "m68k", "SCMP_ARCH_SH": "sh", "SCMP_ARCH_SHEB": "sh",
}  # fmt: skip
MEMBERS = {"defaultAction", "defaultErrnoRet", "defaultErrno", "architectures", "archMap", "syscalls", "flags",
           "listenerPath", "listenerMetadata"}  # fmt: skip
RULE_MEMBERS = {"name", "names", "action", "args", "errnoRet", "errno", "includes", "excludes", "comment"}
ARG_MEMBERS = {"index", "value", "valueTwo", "op"}
LIMIT_MEMBERS = {"caps", "arches", "minKernel"}
ARGUMENTS = 6  # of a system call (include/linux/seccomp.h)


@dataclass(frozen=True)
class Action:
    """What is done: one of ACTIONS, with the number that a program gets (ERRNO) or a tracer (TRACE)."""

    name: str
    number: int | None = None


@dataclass(frozen=True)
class Condition:
    """A comparison of one argument; for MASKED_EQ ``value`` is the mask and ``other`` what must remain."""

    index: int
    operator: str
    value: int
    other: int = 0

    def holds(self, argument: int) -> bool:
        """Whether it holds for a value of the argument."""
        if self.operator == "SCMP_CMP_MASKED_EQ":
            return argument & self.value == self.other
        return {
            "SCMP_CMP_NE": argument != self.value, "SCMP_CMP_LT": argument < self.value,
            "SCMP_CMP_LE": argument <= self.value, "SCMP_CMP_EQ": argument == self.value,
            "SCMP_CMP_GE": argument >= self.value, "SCMP_CMP_GT": argument > self.value,
        }[self.operator]  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """To what a rule is limited, or what it excludes: capabilities, architectures by Go's names, kernels."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rule:
    """One entry of ``syscalls``. ``alternatives``: the argument filters, one of which must hold in all its parts."""

    names: tuple[str, ...]
    action: Action
    alternatives: tuple[tuple[Condition, ...], ...]
    includes: Limits
    excludes: Limits
    line: int


@dataclass(frozen=True)
class Profile:
    """A whole file. ``caps`` are those of the process, where the file tells (a runtime-spec's config.json).

    ``arch_map``: by native architecture, what else is taken there; ``architectures`` the same without a map.
    """

    file: str
    default: Action
    architectures: tuple[str, ...]
    arch_map: tuple[tuple[str, tuple[str, ...]], ...]
    rules: tuple[Rule, ...]
    caps: tuple[str, ...] | None = None


def read(text: str, file: str) -> Profile:
    """The profile in a text; ``file`` is the name to say. Raises InputError with line and column."""
    top = load(text, file)
    members = object_of(top, "a profile")
    caps: tuple[str, ...] | None = None
    if "linux" in members or "ociVersion" in members:
        caps = bounding(members)
        top = within(top, "linux", "seccomp")
        members = object_of(top, "linux.seccomp")
    known(top, MEMBERS, "a profile")
    if "defaultAction" not in members:
        raise top.wrong(
            "the profile has no defaultAction", 'add "defaultAction": "SCMP_ACT_ERRNO" or another action'
        )
    if list_of(members.get("architectures")) and list_of(members.get("archMap")):
        raise members["archMap"].wrong(
            "both architectures and archMap are given", "runtimes take one of them"
        )
    number = whole(members["defaultErrnoRet"]) if "defaultErrnoRet" in members else None
    if number is None and "defaultErrno" in members:
        number = errno_of(members["defaultErrno"])
    return Profile(
        file,
        action(members["defaultAction"], number),
        tuple(architecture(item) for item in list_of(members.get("architectures"))),
        tuple(mapped(item) for item in list_of(members.get("archMap"))),
        tuple(rule(item) for item in list_of(members.get("syscalls"))),
        caps,
    )


def within(top: Located, *path: str) -> Located:
    """A member of a member."""
    for name in path:
        members = object_of(top, name)
        if name not in members:
            raise top.wrong(f"there is no {'.'.join(path)} here", "without it a runtime filters nothing")
        top = members[name]
    return top


def bounding(members: dict[str, Located]) -> tuple[str, ...] | None:
    """The bounding capabilities of a runtime-spec's process; None where it has none."""
    for name in ("process", "capabilities", "bounding"):
        found = members.get(name)
        if found is None:
            return None
        if name == "bounding":
            return tuple(string(item) for item in list_of(found))
        members = object_of(found, name)
    return None


def rule(item: Located) -> Rule:
    """One entry of ``syscalls``."""
    members = object_of(item, "a rule")
    known(item, RULE_MEMBERS, "a rule")
    if "name" in members and list_of(members.get("names")):
        raise members["name"].wrong("both name and names are given", "runtimes take one of them")
    names = (
        [string(members["name"])] if "name" in members else [string(n) for n in list_of(members.get("names"))]
    )
    if not names:
        raise item.wrong("the rule names no system call", 'add "names": [...]')
    if "action" not in members:
        raise item.wrong("the rule has no action", f"one of {', '.join(ACTIONS)}")
    number = whole(members["errnoRet"]) if "errnoRet" in members else None
    if number is None and "errno" in members:
        number = errno_of(members["errno"])
    return Rule(
        tuple(names),
        action(members["action"], number),
        alternatives([condition(argument) for argument in list_of(members.get("args"))]),
        limits(members.get("includes")),
        limits(members.get("excludes")),
        item.line,
    )


def alternatives(conditions: list[Condition]) -> tuple[tuple[Condition, ...], ...]:
    """How runc reads them: all must hold, but where one argument is compared twice, one suffices (matchCall)."""
    if not conditions:
        return ((),)
    if len({one.index for one in conditions}) < len(conditions):
        return tuple((one,) for one in conditions)
    return (tuple(conditions),)


def condition(item: Located) -> Condition:
    """One entry of ``args``."""
    members = object_of(item, "an argument filter")
    known(item, ARG_MEMBERS, "an argument filter")
    for name in ("index", "value", "op"):
        if name not in members and name != "value":
            raise item.wrong(f"the argument filter has no {name}")
    index = whole(members["index"])
    if index >= ARGUMENTS:
        raise members["index"].wrong(f"a system call has no argument {index}", "they count from 0 to 5")
    operator = string(members["op"])
    if operator not in OPERATORS:
        raise members["op"].wrong(f"{operator!r} is no comparison", f"one of {', '.join(OPERATORS)}")
    return Condition(
        index,
        operator,
        whole(members["value"]) if "value" in members else 0,
        whole(members["valueTwo"]) if "valueTwo" in members else 0,
    )


def limits(item: Located | None) -> Limits:
    """``includes`` or ``excludes``."""
    if item is None or item.value is None:
        return Limits()
    members = object_of(item, "includes or excludes")
    known(item, LIMIT_MEMBERS, "includes and excludes")
    kernel = None
    if "minKernel" in members:
        match = re.fullmatch(r"(\d+)\.(\d+)", string(members["minKernel"]))
        if not match:
            raise members["minKernel"].wrong("minKernel is not of the form 4.8")
        kernel = (int(match[1]), int(match[2]))
    return Limits(
        tuple(string(one) for one in list_of(members.get("caps"))),
        tuple(string(one) for one in list_of(members.get("arches"))),
        kernel,
    )


def mapped(item: Located) -> tuple[str, tuple[str, ...]]:
    """One entry of ``archMap``."""
    members = object_of(item, "an entry of archMap")
    known(item, {"architecture", "subArchitectures"}, "an entry of archMap")
    if "architecture" not in members:
        raise item.wrong("the entry has no architecture")
    subs = tuple(architecture(one) for one in list_of(members.get("subArchitectures")))
    return architecture(members["architecture"]), subs


def architecture(item: Located) -> str:
    """The name of an architecture."""
    name = string(item)
    if name not in ARCHITECTURES:
        raise item.wrong(f"{name!r} is no architecture", f"one of {', '.join(ARCHITECTURES)}")
    return name


def action(item: Located, number: int | None) -> Action:
    """An action with its number: of ERRNO, EPERM where none is given (runc, getAction)."""
    name = string(item)
    if name not in ACTIONS:
        raise item.wrong(f"{name!r} is no action", f"one of {', '.join(ACTIONS)}")
    if name == "SCMP_ACT_ERRNO" and number is None:
        number = errno.EPERM
    return Action(name, number if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else None)


def errno_of(item: Located) -> int:
    """The number of an error by its name."""
    name = string(item)
    number = getattr(errno, name, None)
    if not isinstance(number, int):
        raise item.wrong(f"{name!r} is no error")
    return number


def object_of(item: Located, what: str) -> dict[str, Located]:
    """The members of an object."""
    if not isinstance(item.value, dict):
        raise item.wrong(f"{what} is an object, not {kind(item)}")
    return item.value


def list_of(item: Located | None) -> list[Located]:
    """The items of an array; none for null and for what is not there."""
    if item is None or item.value is None:
        return []
    if not isinstance(item.value, list):
        raise item.wrong(f"an array is needed here, not {kind(item)}")
    return item.value


def string(item: Located) -> str:
    """A string."""
    if not isinstance(item.value, str):
        raise item.wrong(f"a string is needed here, not {kind(item)}")
    return item.value


def whole(item: Located) -> int:
    """A whole number from 0 on, of 64 bits."""
    value = item.value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise item.wrong(f"a whole number from 0 on is needed here, not {kind(item)}")
    return value


def kind(item: Located) -> str:
    """What a value is, in words."""
    value = item.value
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return "null" if value is None else f"{value!r}"


def known(item: Located, names: set[str], what: str) -> None:
    """Raises InputError for a member that has no meaning."""
    for name, member in _members(item):
        if name not in names:
            raise member.wrong(f"{what} has no {name!r}", f"there are {', '.join(sorted(names))}")


def _members(item: Located) -> Iterator[tuple[str, Located]]:
    if isinstance(item.value, dict):
        yield from item.value.items()
