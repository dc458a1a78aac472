"""Seccomp profiles: what is read, what is refused and where, and that the filter really does what is told.

The judge is libseccomp: it makes a filter of each profile (as runc does, without the kernel), whose instructions are
then followed here.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from callout import seccomp
from callout.errors import InputError
from callout.seccomp import words
from callout.seccomp.decide import MULTIPLEXED, Context, Decision, default_context, number
from callout.seccomp.profile import Action, Profile, read

KERNEL = (6, 1)
X86 = {"x86_64": 0xC000003E, "i386": 0x40000003, "x32": 0xC000003E}  # AUDIT_ARCH_…, linux/audit.h


def profile(**members: Any) -> Profile:
    return read(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", **members}), "p.json")


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **members: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **members}


def of(
    given: Profile, call: str, abi: str = "x86_64", through: str = "", caps: Sequence[str] = ()
) -> Decision:
    context = Context(default_context(given, KERNEL).caps | set(caps), KERNEL)
    (found,) = (
        one
        for one in seccomp.decisions(given, context, "x86_64")
        if (one.call, one.abi, one.through, one.host) == (call, abi, through, "x86_64")
    )
    return found


def told(*arguments: Any, **options: Any) -> str:
    return words.decision(of(*arguments, **options))


DOMAINS = [
    rule("socket", args=[{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]),
    rule("socket", args=[{"index": 0, "value": 40, "op": "SCMP_CMP_GT"}]),
]
X86_MAP = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]


def test_default_rules_and_error_numbers() -> None:
    given = profile(syscalls=[rule("connect"), rule("sendto", action="SCMP_ACT_ERRNO", errnoRet=13)])
    assert told(given, "connect") == "allowed"
    assert told(given, "sendto") == "fails with EACCES"
    assert told(given, "sendmsg") == "fails with EPERM"
    assert told(profile(defaultErrnoRet=38), "connect") == "fails with ENOSYS"
    assert told(profile(defaultAction="SCMP_ACT_KILL_PROCESS"), "connect") == "the process is killed (SIGSYS)"
    assert of(given, "connect").by == (1,)


def test_argument_filters_in_words() -> None:
    assert told(profile(syscalls=DOMAINS), "socket") == (
        "allowed if domain < 38 (AF_ALG) or domain > 40 (AF_VSOCK); else fails with EPERM"
    )
    both = rule(
        "socket",
        args=[
            {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"},
            {"index": 2, "value": 9, "op": "SCMP_CMP_NE"},
        ],
    )
    assert told(profile(syscalls=[both]), "socket") == (
        "allowed if domain == 16 (AF_NETLINK) and protocol != 9; else fails with EPERM"
    )
    masked = rule("socket", args=[{"index": 1, "value": 0xF, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}])
    assert "type & 0xf == 0x1" in told(profile(syscalls=[masked]), "socket")


def test_socketcall_loses_the_filter_of_the_first_argument() -> None:
    given = profile(archMap=X86_MAP, syscalls=DOMAINS)
    assert told(given, "socket", abi="i386").startswith("allowed if domain < 38")
    assert told(given, "socket", abi="i386", through="socketcall") == "allowed"
    (hole,) = (finding for finding in holes(given) if finding.abis)
    assert (hole.hole, hole.abis) == (True, ("i386",))
    assert "socketcall(SYS_SOCKET)" in hole.text


def holes(given: Profile) -> list[seccomp.Finding]:
    found = seccomp.findings(seccomp.decisions(given, default_context(given, KERNEL), "x86_64"))
    return [finding for finding in found if finding.hole]


def test_socketcall_refused_by_name_closes_it_for_connect() -> None:
    given = profile(
        defaultAction="SCMP_ACT_ALLOW",
        archMap=X86_MAP,
        syscalls=[rule("connect", "socketcall", action="SCMP_ACT_ERRNO")],
    )
    assert told(given, "connect", abi="i386", through="socketcall") == "fails with EPERM"
    assert told(given, "socketcall", abi="i386") == "fails with EPERM"


def test_tables_that_are_not_listed_are_killed() -> None:
    given = profile(archMap=[{"architecture": "SCMP_ARCH_X86_64"}], syscalls=[rule("connect", "socketcall")])
    assert told(given, "connect", abi="i386") == "the thread is killed (SIGSYS)"
    assert told(given, "socketcall", abi="i386") == "the thread is killed (SIGSYS)"
    assert told(given, "connect") == "allowed"


def test_ways_around_a_refused_connect() -> None:
    given = profile(
        defaultAction="SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_X86_64"],
        syscalls=[rule("connect", action="SCMP_ACT_ERRNO")],
    )  # fmt: skip
    texts = [hole.text for hole in holes(given)]
    assert [text.split(":")[0] for text in texts] == [
        "connect is refused, but io_uring is allowed",
        "connect is refused, but sendto is allowed",
        "connect is refused, but sendmsg is allowed",
        "connect is refused, but sendmmsg is allowed",
    ]


def test_capabilities_and_kernels_make_variants() -> None:
    given = profile(
        syscalls=[
            rule("socket", includes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("connect", includes={"minKernel": "6.1"}),
            rule("sendto", excludes={"caps": ["CAP_NET_RAW"]}, action="SCMP_ACT_LOG"),
            rule("sendmsg", includes={"arches": ["arm64"]}),
            rule("sendmmsg", excludes={"arches": ["arm64"]}),
        ]
    )
    variants = {
        call: [(given, words.decision(other)) for given, other in of(given, call).variants]
        for call in ("socket", "connect", "sendto")
    }
    assert variants == {
        "socket": [("with CAP_SYS_ADMIN", "allowed")],
        "connect": [("before Linux 6.1", "fails with EPERM")],
        "sendto": [("without CAP_NET_RAW", "allowed, and logged")],
    }
    assert told(given, "socket", caps=["CAP_SYS_ADMIN"]) == "allowed"
    assert (told(given, "sendmsg"), told(given, "sendmmsg")) == ("fails with EPERM", "allowed")


def test_first_unconditional_rule_decides_and_the_others_are_told() -> None:
    text = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [\n{"names": ["connect"], "action": "SCMP_ACT_LOG"},\n'
    text += '{"names": ["connect"], "action": "SCMP_ACT_KILL"}]}'
    given = read(text, "p.json")
    assert told(given, "connect") == "allowed, and logged"
    found = seccomp.findings(seccomp.decisions(given, default_context(given, KERNEL), "x86_64"))
    assert "line 3 says something else of connect, without effect: line 2 decides" in [
        one.text for one in found
    ]


def test_runtime_spec_with_its_capabilities() -> None:
    text = json.dumps(
        {
            "ociVersion": "1.2.0",
            "process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}},
            "linux": {
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ERRNO",
                    "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["connect"], "action": "SCMP_ACT_NOTIFY", "args": None}],
                }
            },
        }
    )
    given = read(text, "config.json")
    assert given.caps == ("CAP_SYS_ADMIN",)
    assert told(given, "connect") == "a supervisor decides (user notification)"


WRONG = [
    ('{\n  "defaultAction": "SCMP_ACT_ERRNO",\n}', "p.json:3:1: not JSON: expecting property name"),
    ('{"a": NaN}', "p.json: not JSON: NaN is no JSON number"),
    ("[]", "p.json:1:1: a profile is an object, not an array"),
    ("{}", "p.json:1:1: the profile has no defaultAction"),
    ('{"defaultAction": "ALLOW"}', "p.json:1:19: 'ALLOW' is no action\n  one of SCMP_ACT_KILL, "),
    ('{"defaultAction": 1}', "p.json:1:19: a string is needed here, not 1"),
    ('{"defaultAktion": "SCMP_ACT_ALLOW"}', "p.json:1:19: a profile has no 'defaultAktion'"),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": {}}',
        "p.json:2:14: an array is needed here, not an object",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [{"action": "SCMP_ACT_KILL"}]}',
        "p.json:2:15: the rule names no system call",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["connect"]}]}',
        "p.json:1:50: the rule has no action",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_KILL"}]}',
        "p.json:1:59: both name and names are given",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_KILL",\n'
        '"args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}',
        "p.json:2:20: a system call has no argument 6",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_KILL",\n'
        '"args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]}]}',
        "p.json:2:32: a whole number from 0 on is needed here, not -1",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_KILL",\n'
        '"includes": {"minKernel": "new"}}]}',
        "p.json:2:27: minKernel is not of the form 4.8",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}',
        "p.json:1:55: 'SCMP_ARCH_Z80' is no architecture",
    ),
    (
        '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],\n'
        ' "archMap": [{"architecture": "SCMP_ARCH_X86"}]}',
        "p.json:2:13: both architectures and archMap are given",
    ),
    ('{"ociVersion": "1.0", "linux": {}}', "p.json:1:32: there is no linux.seccomp here"),
    ("[" * 100_000, "p.json: not a profile: nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text, "p.json")
    assert str(caught.value).startswith(message)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values, st.sampled_from([None, 2]))
def test_located_values_are_those_of_json(value: Any, indent: int | None) -> None:
    from callout.seccomp.located import Located, load

    def plain(item: Located) -> Any:
        if isinstance(item.value, dict):
            return {name: plain(member) for name, member in item.value.items()}
        return [plain(member) for member in item.value] if isinstance(item.value, list) else item.value

    text = json.dumps(value, indent=indent)
    assert plain(load(text, "x")) == value


def interpreted(program: bytes, nr: int, arch: int, arguments: Sequence[int]) -> int:
    """What a classic BPF filter returns (Documentation/networking/filter.rst), for one call (seccomp(2))."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", nr if nr < 2**31 else nr - 2**32, arch, 0, *padded)
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at, a = 0, 0
    while True:
        op, jt, jf, k = code[at]
        at += 1
        if op == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            a = int(struct.unpack_from("=I", data, k)[0])
        elif op == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            a &= k
        elif op == 0x05:  # BPF_JMP | BPF_JA
            at += k
        elif op in (0x15, 0x25, 0x35):  # BPF_JEQ, BPF_JGT, BPF_JGE
            taken = a == k if op == 0x15 else a > k if op == 0x25 else a >= k
            at += jt if taken else jf
        elif op == 0x06:  # BPF_RET | BPF_K
            return int(k)
        else:
            raise AssertionError(f"an instruction that seccomp filters have not: {op:#x}")


RETURNS = {  # linux/seccomp.h
    "SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x00030000,
}  # fmt: skip


def returned(action: Action) -> int:
    if action.name == "SCMP_ACT_ERRNO":
        return 0x00050000 | (action.number or 0)
    return RETURNS[action.name]


def compiled(given: Profile) -> bytes:
    """The filter that libseccomp makes of a profile, put in as runc does."""
    pyseccomp = pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")

    def value(action: Action) -> Any:
        if action.name == "SCMP_ACT_ERRNO":
            return pyseccomp.ERRNO(action.number)
        return getattr(pyseccomp, action.name.removeprefix("SCMP_ACT_"))

    built = pyseccomp.SyscallFilter(value(given.default))
    for name in [one for _, subs in given.arch_map for one in subs]:
        built.add_arch(getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_")))
    for one in given.rules:
        if one.action == given.default:
            continue
        for name in one.names:
            for conditions in one.alternatives:
                arguments = []
                for part in conditions:
                    operator = getattr(pyseccomp, part.operator.removeprefix("SCMP_CMP_"))
                    arguments.append(pyseccomp.Arg(part.index, operator, part.value, part.other))
                built.add_rule(value(one.action), name, *arguments)
    with tempfile.TemporaryFile() as file:
        built.export_bpf(file)
        file.seek(0)
        return file.read()


conditions = st.builds(
    lambda index, op, value: {"index": index, "op": op, "value": value},
    st.sampled_from([0, 1, 2]),
    st.sampled_from(["SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_GE"]),
    st.integers(0, 4),
)
rules = st.builds(
    lambda names, action, args: rule(*names, action=action, args=args, errnoRet=13),
    st.lists(st.sampled_from(["connect", "socket", "sendto", "socketcall"]), min_size=1, max_size=2, unique=True),
    st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG"]),
    st.lists(conditions, max_size=2, unique_by=lambda one: one["index"]),
)  # fmt: skip


def calls() -> Iterator[tuple[str, str, str, int, tuple[int, ...]]]:
    """Call, table, way, number and arguments, of all that are tried."""
    for abi in ("x86_64", "i386"):
        for call in ("connect", "socket", "sendto"):
            own = number(abi, call)
            assert own is not None
            for arguments in ((0, 0, 0), (1, 2, 3), (2, 1, 0), (4, 4, 4), (38, 3, 9)):
                yield call, abi, "", own, arguments
    for call in ("connect", "socket", "sendto"):
        for rest in ((0, 0), (2, 3), (4, 4)):
            yield call, "i386", "socketcall", 102, (MULTIPLEXED[call], *rest)


def is_mixed(given: Profile) -> bool:
    """Whether filters of one call (socketcall's functions are one) compare different arguments."""
    for calls in ({"connect"}, {"socket"}, {"sendto"}, {"connect", "socket", "sendto", "socketcall"}):
        parts = [one for rule in given.rules if calls & set(rule.names) for one in rule.alternatives]
        if len({frozenset(part.index for part in one) - {0} for one in parts if one}) > 1:
            return True
    return any("socketcall" in rule.names and any(rule.alternatives) for rule in given.rules)


@settings(max_examples=150, deadline=None)
@given(st.lists(rules, max_size=5), st.booleans())
def test_libseccomp_makes_the_filter_that_is_told(some: list[dict[str, Any]], listed: bool) -> None:
    arch_map = X86_MAP if listed else [{"architecture": "SCMP_ARCH_X86_64"}]
    given = profile(syscalls=some, archMap=arch_map, defaultAction="SCMP_ACT_KILL_PROCESS")
    assume(not is_mixed(given))
    decisions = seccomp.decisions(given, default_context(given, KERNEL), "x86_64")
    try:
        program = compiled(given)
    except FileExistsError:
        assert [one for one in decisions if one.refused or one.conflict]
        return
    assert [one for one in decisions if one.refused] == []
    for call, abi, through, nr, arguments in calls():
        if through and not listed:
            continue
        decision = of(given, call, abi=abi, through=through)
        if decision.conflict:
            continue  # then it is told that libseccomp decides
        wanted = returned(decision.action(arguments))
        got = interpreted(program, nr, X86[abi], arguments)
        assert got == wanted, (call, abi, through, arguments, words.decision(decision))


AUDIT = [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"}]
PODMAN = [
    rule("socket", action="SCMP_ACT_ERRNO", errnoRet=22, args=AUDIT),
    rule("socket", args=[{"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]),
    rule("socket", args=[{"index": 0, "value": 16, "op": "SCMP_CMP_NE"}]),
]


def test_filters_of_two_arguments_as_podman_has_them() -> None:
    given = profile(defaultAction="SCMP_ACT_KILL", archMap=X86_MAP, syscalls=[rule("socketcall"), *PODMAN])
    program = compiled(given)
    decision = of(given, "socket")
    assert not decision.conflict
    for arguments in ((16, 3, 9), (16, 3, 0), (2, 1, 9), (2, 1, 0)):
        wanted = returned(decision.action(arguments))
        assert interpreted(program, 41, X86["x86_64"], arguments) == wanted, arguments


def test_without_socketcall_libseccomp_refuses_them_for_i386() -> None:
    given = profile(archMap=X86_MAP, syscalls=PODMAN)
    assert told(given, "socket", abi="i386", through="socketcall") == "the profile cannot be loaded"
    with pytest.raises(FileExistsError):
        compiled(given)


def explain(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callout", "explain", "--seccomp-profile", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}, **options,
    )  # fmt: skip


def test_command_line(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "archMap": X86_MAP, "syscalls": DOMAINS}))
    done = explain(str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "allowed if domain < 38 (AF_ALG) or domain > 40" in done.stdout
    assert "hole i386: the argument filter of socket does not hold for socketcall(SYS_SOCKET)" in " ".join(
        done.stdout.split()
    )
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = [json.loads(line) for line in explain(str(file), "-o", "ndjson").stdout.splitlines()]
    (line,) = (one for one in lines if one.get("call") == "socket" and one["abi"] == "x86_64")
    assert line["cases"][0] == {
        "if": [{"index": 0, "op": "SCMP_CMP_LT", "value": 38, "valueTwo": 0}],
        "action": "SCMP_ACT_ALLOW", "errno": None,
    }  # fmt: skip
    assert (line["action"], line["errno"]) == ("SCMP_ACT_ERRNO", errno.EPERM)
    assert [one for one in lines if one.get("hole")]


def test_command_line_refuses(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text("{")
    for arguments, status, message in (
        ([str(file)], 4, f"callout: {file}:1:2: not JSON"),
        ([str(tmp_path / "none")], 4, "callout: cannot read"),
        ([str(tmp_path)], 4, "callout: cannot read"),
        ([str(file), "connect"], 2, "callout: give --seccomp-profile alone"),
    ):
        done = explain(*arguments)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith(message)
    file.write_bytes(b"\xff")
    assert "not text in UTF-8" in explain(str(file)).stderr


def test_standard_input_is_a_file() -> None:
    done = explain("-", input='{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "standard input")
