"""From the bytes of a compiled BPF object to NumPy dtypes, enumerations and member docs.

Rule of this file: bytes in, values out. The layout of a record is declared once, in C; what is read here is
the BTF of the very object that gets loaded, so the two sides cannot disagree. What a dtype cannot express is
refused by name: pointers, bit-fields, unions and holes.

Format: Documentation/bpf/btf.rst in the kernel tree; the section lookup follows elf(5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from callout.errors import InputError

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)
EXTRA_BYTES = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}  # after the common 12 bytes, besides vlen items
ITEM_BYTES = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
TRANSPARENT = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
BIG_ENDIAN = {"be_port"}
DEEPEST = 32  # typedefs, qualifiers and arrays around one member; more is a cycle, which only damage can make
REBUILD = "build it again: the file was cut short or changed"


@contextmanager
def intact(what: str) -> Iterator[None]:
    """Turns what mangled bytes raise (cut short, offsets astray, sizes that no dtype has) into InputError."""
    try:
        yield
    except (struct.error, LookupError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{what} is damaged: {error}", REBUILD) from error


@dataclass(frozen=True, slots=True)
class Type:
    """One BTF type: ``size_or_type`` and ``data`` (what follows the common header) are kept as they stand."""

    kind: int
    name: str
    kind_flag: bool
    vlen: int
    size_or_type: int
    data: bytes


@dataclass(frozen=True)
class Layout:
    """A struct as user space sees it: its dtype, what kind each member is (typedef name) and its doc."""

    dtype: np.dtype[np.void]
    kinds: dict[str, str] = field(default_factory=dict)
    docs: dict[str, str] = field(default_factory=dict)


@intact("the ELF file")
def elf_section(data: bytes, name: str) -> bytes:
    """The bytes of section ``name`` of a 64-bit little-endian ELF file. Raises InputError if it has none."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise InputError("not a 64-bit little-endian ELF object")
    offset, (size, count, names) = (
        struct.unpack_from("<Q", data, 0x28)[0],
        struct.unpack_from("<HHH", data, 0x3A),
    )
    sections = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(count)]
    table = data[sections[names][4] : sections[names][4] + sections[names][5]]
    for label, _, _, _, start, length in sections:
        if table[label : table.index(b"\0", label)].decode() == name:
            return data[start : start + length]
    raise InputError(
        f"the object has no section {name}", "it was built without -g or stripped of BTF: build it again"
    )


class Btf:
    """The types of one object file."""

    @intact("the object's BTF")
    def __init__(self, section: bytes) -> None:
        magic, _, _, header, type_at, type_size, text_at, text_size = struct.unpack_from("<HBBIIIII", section)
        if magic != 0xEB9F:
            raise InputError("not BTF: wrong magic number")
        text = section[header + text_at : header + text_at + text_size]
        self.types: list[Type] = [Type(0, "void", False, 0, 0, b"")]
        at, end = header + type_at, header + type_at + type_size
        while at < end:
            label, info, size = struct.unpack_from("<III", section, at)
            kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
            extra = EXTRA_BYTES.get(kind, 0) + ITEM_BYTES.get(kind, 0) * vlen
            name = text[label : text.index(b"\0", label)].decode()
            self.types.append(
                Type(kind, name, bool(info >> 31), vlen, size, section[at + 12 : at + 12 + extra])
            )
            at += 12 + extra
        self._text = text
        self._by_name = {(t.kind, t.name): i for i, t in enumerate(self.types) if t.name}

    @classmethod
    def of_object(cls, data: bytes) -> Btf:
        """Reads the .BTF section of an object file."""
        return cls(elf_section(data, ".BTF"))

    @intact("the object's BTF")
    def enum(self, name: str) -> dict[str, int]:
        """The constants of an enumeration, in the order of their declaration."""
        return self.constants(self._find(ENUM, name))

    @intact("the object's BTF")
    def constants(self, enumeration: Type) -> dict[str, int]:
        """The same for an enumeration that need not have a name."""
        # Whether they are signed is not told by older compilers (clang before 15): a flag in the highest bit is none
        pairs = (
            (name, value & 0xFFFFFFFF if value == -(1 << 31) else value)
            for name, value in struct.iter_unpack("<Ii", enumeration.data)
        )
        return {self._string(label): value for label, value in pairs}

    @intact("the object's BTF")
    def layout(self, name: str) -> Layout:
        """The dtype of a struct, without holes. Raises InputError naming the member that does not fit."""
        index = self._by_name.get((STRUCT, name))
        if index is None:
            raise InputError(f"the object's BTF has no struct {name}")
        t = self.types[index]
        names, formats, offsets, kinds = [], [], [], {}
        expected = 0
        for label, member, bits in struct.iter_unpack("<III", t.data):
            label_text = self._string(label)
            if (t.kind_flag and bits >> 24) or bits % 8:
                raise InputError(f"{name}.{label_text} is a bit-field: records have none")
            kind, dtype = self._dtype(member, f"{name}.{label_text}")
            offset = (bits & 0xFFFFFF if t.kind_flag else bits) // 8
            if offset < expected:
                raise InputError(f"{name}: {label_text} overlaps what is before it")
            if offset > expected:
                raise InputError(f"{name} has a hole of {offset - expected} bytes before {label_text}")
            expected = offset + dtype.itemsize
            names.append(label_text)
            formats.append(dtype)
            offsets.append(offset)
            kinds[label_text] = kind
        if expected != t.size_or_type:
            raise InputError(f"{name} has a hole of {t.size_or_type - expected} bytes at its end")
        dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": t.size_or_type})
        return Layout(dtype, kinds, {names[i]: text for i, text in self._tags(index).items() if i >= 0})

    def _find(self, kind: int, name: str) -> Type:
        index = self._by_name.get((kind, name))
        if index is None:
            raise InputError(f"the object's BTF has no type {name}")
        return self.types[index]

    def _string(self, at: int) -> str:
        return self._text[at : self._text.index(b"\0", at)].decode()

    def _tags(self, index: int) -> dict[int, str]:
        return {
            struct.unpack("<i", t.data)[0]: t.name
            for t in self.types
            if t.kind == DECL_TAG and t.size_or_type == index
        }

    def _dtype(self, index: int, where: str, depth: int = 0) -> tuple[str, np.dtype[np.generic]]:
        """The outermost typedef's name (the kind) and the dtype of a member's type."""
        kind = ""
        t = self.types[index]
        while t.kind in TRANSPARENT and depth < DEEPEST:
            depth += 1
            if t.kind == TYPEDEF and not kind:
                kind = t.name
            t = self.types[t.size_or_type]
        kind = kind or t.name
        if t.kind == ARRAY and depth < DEEPEST:
            element, _, count = struct.unpack("<III", t.data)
            _, inner = self._dtype(element, where, depth + 1)
            if self.types[element].name == "char":
                return kind or "text", np.dtype((np.bytes_, count))
            return kind, np.dtype((inner, (count,)))
        if t.kind == INT:
            signed = t.data[3] & 1
            order = ">" if kind in BIG_ENDIAN else "<"
            return kind, np.dtype(f"{order}{'i' if signed else 'u'}{t.size_or_type}")
        if t.kind in (ENUM, ENUM64):
            return kind, np.dtype(f"<u{t.size_or_type}")
        raise InputError(f"{where} is of a type that records cannot have (BTF kind {t.kind})")
