"""The compiled object against what Python believes of it, and the C constants against this kernel."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import struct
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from callout import verdict
from callout.btf import DECL_TAG, ENUM, STRUCT, Btf, Layout, elf_section
from callout.capture import columns, judging, loading, tiers
from callout.narrowing import ROOM

pytestmark = pytest.mark.object

SOURCE = Path(__file__).parents[1] / "bpf"
VMLINUX = Path("/sys/kernel/btf/vmlinux")
# the structs that both sides share
SHARED = re.findall(r"^struct (\w+) \{", (SOURCE / "record.h").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def data() -> bytes:
    return loading.read_object()


@pytest.fixture(scope="module")
def btf(data: bytes) -> Btf:
    return Btf.of_object(data)


def programs(data: bytes) -> dict[str, str]:
    """Name to section of every program: the global functions outside .text (elf(5), Elf64_Sym)."""
    at = struct.unpack_from("<Q", data, 0x28)[0]
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, at + i * size) for i in range(count)]

    def string(section: int, offset: int) -> str:
        start = headers[section][4] + offset
        return data[start : data.index(b"\0", start)].decode()

    (table,) = (i for i, header in enumerate(headers) if header[1] == 2)  # SHT_SYMTAB
    strings = struct.unpack_from("<I", data, at + table * size + 40)[0]  # its sh_link
    found = {}
    for label, info, _, section, _, _ in struct.iter_unpack("<IBBHQQ", elf_section(data, ".symtab")):
        if info == 1 << 4 | 2 and string(names, headers[section][0]) != ".text":  # STB_GLOBAL, STT_FUNC
            found[string(strings, label)] = string(names, headers[section][0])
    return found


def code(data: bytes) -> dict[str, bytes]:
    """The instructions of every function, programs or not."""
    at = struct.unpack_from("<Q", data, 0x28)[0]
    size, count, _ = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, at + i * size) for i in range(count)]
    (table,) = (i for i, header in enumerate(headers) if header[1] == 2)  # SHT_SYMTAB
    names = headers[struct.unpack_from("<I", data, at + table * size + 40)[0]][4]
    found = {}
    for label, info, _, section, value, length in struct.iter_unpack("<IBBHQQ", elf_section(data, ".symtab")):
        if info & 15 == 2 and length:  # STT_FUNC
            begin, name = headers[section][4] + value, names + label
            found[data[name : data.index(b"\0", name)].decode()] = data[begin : begin + length]
    return found


JMP, JMP32, JA, CALL, EXIT, LD_IMM64 = 5, 6, 0x00, 0x80, 0x90, 0x18  # linux/bpf.h


def ways(insns: list[tuple[int, int, int, int]], at: int) -> list[tuple[int, bool]]:
    """Where an instruction leads, each with whether that may be a way back."""
    operation, _, offset, _ = insns[at]
    kind, what = operation & 7, operation & 0xF0
    if kind not in (JMP, JMP32) or what == CALL:
        return [(at + (2 if operation == LD_IMM64 else 1), False)]
    if what == EXIT:
        return []
    jump = (at + offset + 1, True)
    return [jump] if kind == JMP and what == JA else [(at + 1, True), jump]


def fallen(program: bytes) -> list[int]:
    """Where a loop goes back without a jump: what check_cfg() of kernels up to 6.1 calls a back-edge."""
    insns = list(struct.iter_unpack("<BBhi", program))
    found, state = [], {0: "entered"}
    stack = [(0, iter(ways(insns, 0)))]
    while stack:
        at, rest = stack[-1]
        for to, may_go_back in rest:
            if to not in state and to < len(insns):
                state[to] = "entered"
                stack.append((to, iter(ways(insns, to))))
                break
            if state.get(to) == "entered" and not may_go_back:
                found.append(at)
        else:
            state[at] = "left"
            stack.pop()
    return found


def test_loops_go_back_by_jumps(data: bytes) -> None:
    """Kernels up to 6.1 refuse others, whatever the programs do."""
    refused = [(0x05, 0, 1, 0), (0x07, 1, 0, 1), (0x15, 1, 1, 5), (0x05, 0, -3, 0), (0x95, 0, 0, 0)]
    assert fallen(b"".join(struct.pack("<BBhi", *insn) for insn in refused)) == [1]
    functions = code(data)
    assert functions.keys() >= set(programs(data))
    assert {name: places for name, program in functions.items() if (places := fallen(program))} == {}


def test_the_structs_of_the_header_are_found() -> None:
    assert {"attempt", "copy", "call", "cpu_counters", "narrowing", "doorbell"} <= set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_structs_have_no_holes_and_every_member_a_dtype(btf: Btf, name: str) -> None:
    """`layout` refuses holes; what it gives must read the C declaration member by member."""
    text = (SOURCE / "record.h").read_text()
    body = re.search(rf"^struct {name} \{{\n(.*?)^\}};", text, re.MULTILINE | re.DOTALL)
    assert body
    declared = re.findall(r"^\t(?:enum )?\w+ (\w+)(?:\[\w+\])*(?: DOC\(|;)", body[1], re.MULTILINE)
    assert list(btf.layout(name).dtype.names or ()) == declared


def test_a_record_goes_into_eights_and_its_key_fields_are_what_columns_expects(btf: Btf) -> None:
    layout = btf.layout("attempt")
    assert layout.dtype.itemsize % 8 == 0, "the ring and the flights map align to 8 bytes"
    fields = layout.dtype.fields
    assert fields is not None
    assert fields["kind"][1] == 0, "the drain sorts records by their first byte"
    expected = {"sport": ">u2", "dport": ">u2", "ret": "<i4", "fd": "<i4", "began": "<u8", "comm": "S16"}
    assert {name: fields[name][0].str.replace("|", "") for name in expected} == expected
    assert (fields["sockaddr"][0].shape, fields["saddr"][0].shape, fields["daddr"][0].shape) == (
        (128,),
        (16,),
        (16,),
    )


@pytest.mark.parametrize("name", [name for name in SHARED if name != "narrowing"])
def test_every_member_is_documented(btf: Btf, name: str) -> None:
    if not any(t.kind == DECL_TAG for t in btf.types):
        pytest.skip("the object was built without declaration tags: its libbpf is older than 0.6")
    layout = btf.layout(name)
    assert sorted(layout.docs) == sorted(layout.dtype.names or ())
    assert all(layout.docs.values())


def test_flags_are_bits_of_their_own_and_fit_wherever_they_are_kept(btf: Btf) -> None:
    """A packed enumeration takes the smallest size that fits its constants, so one more may make it wider."""
    flags = sorted(btf.enum("attempt_flag").values())
    assert flags == [1 << i for i in range(len(flags))]
    for place in (btf.layout("attempt").dtype["flags"], judging.KEY["flags"]):
        assert flags[-1] < 1 << place.itemsize * 8


def test_what_a_judgement_rests_on_is_kept_whole(btf: Btf) -> None:
    """A column of the key that is narrower than the record's member would mix up rows."""
    ours, theirs = judging.KEY, btf.layout("attempt").dtype
    narrower = [
        name
        for name in set(ours.names or ()) & set(theirs.names or ()) - {"bound"}  # there: whether it was
        if ours[name].itemsize < theirs[name].itemsize
    ]
    assert narrower == []


def test_programs_and_tiers_name_each_other(data: bytes) -> None:
    """In both directions, each with the section that says where libbpf attaches it."""
    groups = chain.from_iterable((tier.programs, tier.evidence) for tier in tiers.TIERS)
    asked = chain.from_iterable(option.programs for option in tiers.OPTIONS.values())
    everything = list(
        chain(
            tiers.SOCKET_PROGRAMS,
            [tiers.LEFTOVER, tiers.OVERLOOKED],
            tiers.PROCESSES,
            tiers.CONVERSATION,
            tiers.CGROUPS,
            tiers.NAMES,
            *groups,
            asked,
        )
    )
    listed = {p.name: p.hook for p in everything}
    assert len(listed) == len(everything)
    assert listed == programs(data)
    assert set(listed) >= tiers.ESSENTIAL
    assert len({tier.name for tier in tiers.TIERS}) == len(tiers.TIERS)
    assert {option for tier in tiers.TIERS for option in tier.options} == set(tiers.OPTIONS.values())
    assert set(chain(*chain(*tiers.RETURNS.values()))) <= set(listed)


def test_the_kernel_side_has_the_room_that_options_promise(btf: Btf) -> None:
    fields = btf.layout("narrowing").dtype.fields
    assert fields is not None
    assert {name: fields[name][0].shape[0] for name in ROOM} == ROOM
    assert {"n" + name for name in ROOM} <= set(fields)


def test_the_licence_lets_the_kernel_load_it(data: bytes) -> None:
    assert elf_section(data, "license") == b"Dual BSD/GPL\0"  # include/linux/license.h


@pytest.mark.parametrize("tags", [[], ["-DCALLOUT_NO_TAGS"]], ids=["tags", "no tags"])
@pytest.mark.parametrize("arch", ["x86", "arm64"])
def test_it_compiles_for_every_architecture_to_the_same_record(
    btf: Btf, data: bytes, tmp_path: Path, arch: str, tags: list[str]
) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is missing")
    built = tmp_path / "observe.bpf.o"
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-sign-compare"]
    target = ["-target", "bpf", f"-D__TARGET_ARCH_{arch}", "-mcpu=v3", "-O2", "-g", *tags, *warnings]
    done = subprocess.run(
        [clang, *target, "-I", SOURCE, "-c", SOURCE / "observe.bpf.c", "-o", built],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    other = Btf.of_object(built.read_bytes())
    for name in SHARED:
        ours, theirs = btf.layout(name), other.layout(name)
        assert Layout(ours.dtype, ours.kinds) == Layout(theirs.dtype, theirs.kinds)
        assert (not theirs.docs) == bool(tags)
    assert programs(built.read_bytes()) == programs(data)


def header_constants() -> dict[str, int]:
    """What the enumerations of kernel.h say of the kernel's own constants."""
    text = re.sub(r"/\*.*?\*/", "", (SOURCE / "kernel.h").read_text(), flags=re.DOTALL)
    pairs = re.findall(r"\b([A-Z][A-Z0-9_]+) = (\w+)", text)
    return {name: int(value, 8 if value[0] == "0" and value[1:2].isdigit() else 0) for name, value in pairs}


def test_constants_that_c_libraries_know_too() -> None:
    constants = header_constants()
    modules = {"AF_": socket, "O_": os, "E": errno}
    checked = {
        name: (value, getattr(module, name))
        for name, value in constants.items()
        for prefix, module in modules.items()
        if name.startswith(prefix) and hasattr(module, name)
    }
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "O_NONBLOCK", "EINTR", "EALREADY", "EINPROGRESS"} <= set(
        checked
    )
    assert {name: ours for name, (ours, theirs) in checked.items() if ours != theirs} == {}
    assert constants["ERESTARTSYS"] == verdict.ERESTARTSYS


def test_constants_of_this_kernel() -> None:
    """Those of its enumerations, by name; those that it has as macros are not in its BTF."""
    if not VMLINUX.exists():
        pytest.skip(f"{VMLINUX} is missing")
    running = Btf(VMLINUX.read_bytes())
    theirs: dict[str, int] = {}
    for enumeration in running.types:
        if enumeration.kind == ENUM:
            theirs.update(running.constants(enumeration))
    constants = header_constants()
    relocated = "SKB_DROP_REASON_"  # differs by kernel: looked up as the programs load
    checked = {name for name in constants if name in theirs and not name.startswith(relocated)}
    assert {
        "TCP_ESTABLISHED",
        "TCP_SYN_SENT",
        "TCP_CLOSE",
        "BPF_MAP_TYPE_RINGBUF",
        "BPF_F_MMAPABLE",
    } <= checked
    assert {name: constants[name] for name in checked if constants[name] != theirs[name]} == {}
    assert (theirs["TCP_ESTABLISHED"], theirs["TCP_CLOSE"]) == (verdict.TCP_ESTABLISHED, verdict.TCP_CLOSE)


def test_kernel_structures_that_are_read_exist_here() -> None:
    """Every struct and member of kernel.h that libbpf relocates; a gap would fail at load, this names it."""
    if not VMLINUX.exists():
        pytest.skip(f"{VMLINUX} is missing")
    running = Btf(VMLINUX.read_bytes())
    names = {t.name for t in running.types if t.kind == STRUCT}
    text = (SOURCE / "kernel.h").read_text()
    # libbpf leaves out what follows three underscores: the name of a variant
    declared = {name.partition("___")[0] for name in re.findall(r"^struct (\w+) \{", text, re.MULTILINE)}
    elsewhere = {"user_pt_regs"} if os.uname().machine == "x86_64" else set()
    assert len(declared) > 10
    assert declared - names - elsewhere == set()


def test_names_and_numbers_of_sockets() -> None:
    assert {
        getattr(socket, name): name for name in columns.TYPE_NAMES.values() if hasattr(socket, name)
    }.items() <= (columns.TYPE_NAMES.items())
    numbers = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "sctp": 132}
    assert numbers == {
        "tcp": socket.IPPROTO_TCP,
        "udp": socket.IPPROTO_UDP,
        "icmp": socket.IPPROTO_ICMP,
        "ipv6-icmp": socket.IPPROTO_ICMPV6,
        "sctp": socket.IPPROTO_SCTP,
    }
    assert {name: number for number, name in columns.TRANSPORTS.items()}.items() >= numbers.items()
