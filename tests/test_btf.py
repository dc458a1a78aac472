"""BTF to dtypes, by sections made here; the real object is read in test_object.py."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.btf import ARRAY, CONST, DECL_TAG, ENUM, INT, PTR, STRUCT, TYPEDEF, Btf, elf_section
from callout.errors import InputError

SIGNED = 1 << 24  # encoding bits of an INT: Documentation/bpf/btf.rst, 2.2.1


class Writer:
    """A BTF section, type by type; every method returns the number of the type that it adds."""

    def __init__(self) -> None:
        self.text, self.types, self.count = b"\0", b"", 0

    def string(self, text: str) -> int:
        at = len(self.text)
        self.text += text.encode() + b"\0"
        return at

    def add(
        self, kind: int, name: str, size: int, data: bytes = b"", vlen: int = 0, flag: bool = False
    ) -> int:
        label = self.string(name) if name else 0
        self.types += struct.pack("<III", label, flag << 31 | kind << 24 | vlen, size) + data
        self.count += 1
        return self.count

    def integer(self, name: str, size: int, signed: bool = False) -> int:
        return self.add(INT, name, size, struct.pack("<I", (SIGNED if signed else 0) | size * 8))

    def array(self, element: int, count: int) -> int:
        return self.add(ARRAY, "", 0, struct.pack("<III", element, element, count))

    def enum(self, name: str, size: int, **constants: int) -> int:
        data = b"".join(struct.pack("<Ii", self.string(key), value) for key, value in constants.items())
        return self.add(ENUM, name, size, data, len(constants))

    def struct(self, name: str, size: int, *members: tuple[str, int, int], flag: bool = False) -> int:
        """Members are (name, type, offset in bits)."""
        data = b"".join(struct.pack("<III", self.string(key), kind, bits) for key, kind, bits in members)
        return self.add(STRUCT, name, size, data, len(members), flag)

    def tag(self, target: int, member: int, text: str) -> int:
        return self.add(DECL_TAG, text, target, struct.pack("<i", member))

    def section(self) -> bytes:
        sizes = struct.pack("<IIII", 0, len(self.types), len(self.types), len(self.text))
        return struct.pack("<HBBI", 0xEB9F, 1, 0, 24) + sizes + self.types + self.text

    def btf(self) -> Btf:
        return Btf(self.section())


def elf(*sections: tuple[str, bytes]) -> bytes:
    """A 64-bit little-endian ELF file with these sections after the empty one and .shstrtab (elf(5))."""
    names, body, headers = b"\0.shstrtab\0", b"", bytes(64)
    for name, data in sections:
        headers += struct.pack("<IIQQQQIIQQ", len(names), 1, 0, 0, 64 + len(body), len(data), 0, 0, 1, 0)
        names += name.encode() + b"\0"
        body += data
    headers += struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64 + len(body), len(names), 0, 0, 1, 0)
    count, table = len(sections) + 2, 64 + len(body) + len(names)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack("<HHIQQQIHHHHHH", 1, 247, 1, 0, 0, table, 0, 64, 0, 0, 64, count, count - 1)
    return identity + head + body + names + headers


def example() -> Writer:
    """A record with every type that records may have."""
    w = Writer()
    u8, u16, s32, u64 = (
        w.integer("u8", 1),
        w.integer("u16", 2),
        w.integer("int", 4, True),
        w.integer("u64", 8),
    )
    char = w.integer("char", 1, True)
    port, time = w.add(TYPEDEF, "be_port", u16), w.add(TYPEDEF, "boot_ns", u64)
    address = w.add(TYPEDEF, "ip_addr", w.array(u8, 16))
    colour = w.enum("colour", 1, RED=1, BLUE=-2)
    record = w.struct(
        "record",
        66,
        ("began", w.add(CONST, "", time), 0),
        ("port", port, 64),
        ("colour", colour, 80),
        ("small", u8, 88),
        ("result", s32, 96),
        ("address", address, 128),
        ("comm", w.array(char, 16), 256),
        ("pairs", w.array(w.array(u16, 3), 3), 384),
    )
    w.tag(record, 1, "port of the peer")
    w.tag(record, -1, "the whole record")
    return w


def test_layout_of_every_type_that_records_may_have() -> None:
    layout = example().btf().layout("record")
    assert layout.dtype == np.dtype(
        [
            ("began", "<u8"),
            ("port", ">u2"),
            ("colour", "u1"),
            ("small", "u1"),
            ("result", "<i4"),
            ("address", "u1", (16,)),
            ("comm", "S16"),
            ("pairs", ("<u2", (3,)), (3,)),
        ]
    )
    assert layout.kinds == {
        "began": "boot_ns",
        "port": "be_port",
        "colour": "colour",
        "small": "u8",
        "result": "int",
        "address": "ip_addr",
        "comm": "text",
        "pairs": "",
    }
    assert layout.docs == {"port": "port of the peer"}


def test_enum_keeps_its_order_and_signs() -> None:
    assert list(example().btf().enum("colour").items()) == [("RED", 1), ("BLUE", -2)]


def hole(w: Writer) -> None:
    byte, word = w.integer("u8", 1), w.integer("u32", 4)
    w.struct("record", 8, ("a", byte, 0), ("b", word, 32))


def hole_at_the_end(w: Writer) -> None:
    w.struct("record", 8, ("a", w.integer("u32", 4), 0))


def overlap(w: Writer) -> None:
    word = w.integer("u32", 4)
    w.struct("record", 6, ("a", word, 0), ("b", word, 16))


def bit_field(w: Writer) -> None:
    w.struct("record", 4, ("a", w.integer("u32", 4), 3 << 24), flag=True)


def bit_offset(w: Writer) -> None:
    w.struct("record", 4, ("a", w.integer("u32", 4), 3))


def pointer(w: Writer) -> None:
    w.struct("record", 8, ("a", w.add(PTR, "", 0), 0))


def typedef_of_itself(w: Writer) -> None:
    w.struct("record", 8, ("a", w.add(TYPEDEF, "loop", 1), 0))


def array_of_itself(w: Writer) -> None:
    w.struct("record", 8, ("a", w.array(1, 2), 0))


def type_that_is_not_there(w: Writer) -> None:
    w.struct("record", 8, ("a", 99, 0))


def name_that_is_not_there(w: Writer) -> None:
    w.add(STRUCT, "record", 8, struct.pack("<III", 9999, 1, 0), 1)


def size_of_no_integer(w: Writer) -> None:
    w.struct("record", 3, ("a", w.integer("u24", 3), 0))


def array_without_end(w: Writer) -> None:
    w.struct("record", 8, ("a", w.array(w.integer("u64", 8), 0xFFFFFFFF), 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (hole, "record has a hole of 3 bytes before b"),
        (hole_at_the_end, "record has a hole of 4 bytes at its end"),
        (overlap, "record: b overlaps what is before it"),
        (bit_field, "record.a is a bit-field: records have none"),
        (bit_offset, "record.a is a bit-field: records have none"),
        (pointer, "record.a is of a type that records cannot have (BTF kind 2)"),
        (typedef_of_itself, "record.a is of a type that records cannot have (BTF kind 8)"),
        (array_of_itself, "record.a is of a type that records cannot have (BTF kind 3)"),
    ],
)
def test_what_a_record_cannot_have_is_named(make: Callable[[Writer], None], message: str) -> None:
    w = Writer()
    make(w)
    with pytest.raises(InputError) as caught:
        w.btf().layout("record")
    assert caught.value.message == message


@pytest.mark.parametrize(
    "make", [type_that_is_not_there, name_that_is_not_there, size_of_no_integer, array_without_end]
)
def test_what_leads_nowhere_or_fits_no_dtype_is_damage(make: Callable[[Writer], None]) -> None:
    w = Writer()
    make(w)
    with pytest.raises(InputError, match=r"^the object's BTF is damaged: "):
        w.btf().layout("record")


def test_missing_names() -> None:
    btf = example().btf()
    with pytest.raises(InputError, match=r"^the object's BTF has no struct attempt$"):
        btf.layout("attempt")
    with pytest.raises(InputError, match=r"^the object's BTF has no type flags$"):
        btf.enum("flags")
    with pytest.raises(InputError, match=r"^the object's BTF has no struct colour$"):
        btf.layout("colour")


def test_sections_of_an_object() -> None:
    data = elf((".text", b"code"), (".BTF", example().section()), (".BTF.ext", b""))
    assert elf_section(data, ".text") == b"code"
    assert elf_section(data, ".BTF.ext") == b""
    assert Btf.of_object(data).layout("record") == example().btf().layout("record")
    with pytest.raises(InputError) as caught:
        elf_section(data, ".maps")
    assert str(caught.value) == (
        "the object has no section .maps\n  it was built without -g or stripped of BTF: build it again"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a 64-bit little-endian ELF object"),
        (b"\x7fELF\x01\x01", "not a 64-bit little-endian ELF object"),  # 32-bit
        (b"\x7fELF\x02\x02", "not a 64-bit little-endian ELF object"),  # big-endian
        (b"\x7fELF\x02\x01", "the ELF file is damaged: "),  # cut short
        (elf((".BTF", b"\x9f\xeb")), "the object's BTF is damaged: "),  # cut short
        (elf((".BTF", bytes(24))), "not BTF: wrong magic number"),
    ],
)
def test_files_that_are_no_objects(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Btf.of_object(data)
    assert caught.value.message.startswith(message)


@given(st.data())
def test_mangled_bytes_are_input_errors_and_nothing_else(data: st.DataObject) -> None:
    """Whatever is overwritten or cut off: a layout, or an InputError."""
    whole = bytearray(elf((".BTF", example().section())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=4))
        whole[at : at + len(patch)] = patch
    mangled = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        btf = Btf.of_object(mangled)
        btf.enum("colour")
        assert btf.layout("record").dtype.itemsize > 0
    except InputError:
        pass


@given(st.binary(max_size=200))
def test_any_bytes_as_types(noise: bytes) -> None:
    """A sound header before noise: the types are read, or refused."""
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(noise), 0, len(noise))
    try:
        types = Btf(header + noise).types
    except InputError:
        return
    assert (len(types) - 1) * 12 <= len(noise)
