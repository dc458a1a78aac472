"""Our notation against strace's own: each address goes through connect(-1, ...) under this machine's strace.

Descriptor -1 fails before any socket is looked at, so nothing is ever contacted.  The address lies at the end
of a page with nothing after it, so that reading one byte too many would show.

``test_sockaddr_golden.csv`` keeps what strace 7.2 printed for one address per rule, for machines without it.
To add an address, append a row with ``hex`` and ``addrlen``, and have strace fill in the rest:
``python tests/test_sockaddr_strace.py`` (``STRACE`` in the environment names another than the one on PATH).
"""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from callout.sockaddr import STYLES, decode_sockaddr
from callout.sockaddr.notation import interface_name

GOLDEN = Path(__file__).with_name("test_sockaddr_golden.csv")
GOLDEN_VERSION = (7, 2)
OLDEST_VERSION = (7, 0)
# Names that strace has had since 7.2; the ones before print the number.
NAMES_SINCE_7_2 = ("ETH_P_GRE_OSI", "ETH_P_8021AC", "ETH_P_NXP_NETC")

STRACE = os.environ.get("STRACE", "strace")

# The first address after the page that the socket addresses lie on; nothing else is mapped so low.
END = 0x2000_1000

# Reads lines "hex,addrlen" and passes each address to connect(2).
DRIVER = f"""
import ctypes, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.connect.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
READ_WRITE, PRIVATE_ANONYMOUS_FIXED_NOREPLACE = 3, 0x100022
page = libc.mmap({END - 4096}, 4096, READ_WRITE, PRIVATE_ANONYMOUS_FIXED_NOREPLACE, -1, 0)
assert page == {END - 4096}
for line in sys.stdin:
    data, addrlen = line.split(",")
    data = bytes.fromhex(data)
    ctypes.memmove({END} - len(data), data, len(data))
    libc.connect(-1, {END} - len(data), int(addrlen))
"""

Case = tuple[bytes, int]


def strace_version() -> tuple[int, int] | None:
    """Return major and minor version of the strace of this machine, None without one."""
    if shutil.which(STRACE) is None:
        return None
    first = subprocess.run([STRACE, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", first)
    return (int(found[1]), int(found[2])) if found else None


def strace_texts(cases: list[Case], style: str) -> list[str]:
    """Return what strace prints for each address in ``style``."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace", encoding="ascii") as log:
        options = ["-qq", "-a1", "-e", "trace=connect", "-X", style, "-o", log.name]
        subprocess.run(
            [STRACE, *options, sys.executable, "-I", "-S", "-c", DRIVER],
            input="".join(f"{data.hex()},{addrlen}\n" for data, addrlen in cases),
            stderr=subprocess.PIPE,  # a line for each address that cannot be read
            text=True,
            check=True,
        )
        lines = [line for line in log.read().splitlines() if line.startswith("connect(-1, ")]
    assert len(lines) == len(cases)
    texts = []
    for line, (_, addrlen) in zip(lines, cases, strict=True):
        text, separator, result = line.removeprefix("connect(-1, ").rpartition(f", {addrlen}) = ")
        assert separator, line
        assert result.startswith("-1 "), line
        texts.append(text)
    return texts


def our_texts(
    cases: list[Case], style: str, ifname: Callable[[int], str | None] = interface_name
) -> list[str]:
    """Return what we print for the same addresses at the same place."""
    return [
        decode_sockaddr(data, addrlen, style, pointer=END - len(data), ifname=ifname)
        for data, addrlen in cases
    ]


def golden_rows() -> list[dict[str, str]]:
    """Return the kept table: ``hex``, ``addrlen`` and strace's text in one column per style."""
    with GOLDEN.open(encoding="ascii", newline="") as lines:
        return list(csv.DictReader(lines))


def golden_cases() -> list[Case]:
    """Return the addresses of the kept table."""
    return [(bytes.fromhex(row["hex"]), int(row["addrlen"])) for row in golden_rows()]


def host(form: str, *values: int | bytes) -> bytes:
    """Return ``values`` packed in this machine's byte order without padding."""
    return struct.pack(f"={form}", *values)


def whole(*parts: bytes) -> Case:
    """Return an address with its true length."""
    data = b"".join(parts)
    return data, len(data)


def every_length() -> Iterator[Case]:
    """Yield every family with every length, over bytes that all differ and over bytes that are all alike."""
    for family in (*range(51), 0xFF, 0x2F00, 0xFFFF):
        start = family & 0x7F
        for fill in (bytes(range(start, start + 128)), bytes(128), b"1" * 128, b"\xff" * 128):
            for addrlen in range(-1, 131):
                yield host("H", family) + fill, addrlen


# Shortest length with fields, and the longest that differs from the rest, of each family that has fields.
LENGTHS = {
    **{1: (3, 112), 2: (16, 18), 3: (16, 74), 4: (16, 18), 9: (18, 20), 10: (24, 30), 16: (12, 14)},
    **{17: (20, 34), 30: (16, 18), 31: (3, 16), 33: (36, 66), 36: (20, 22), 38: (25, 90), 39: (16, 98)},
    **{40: (16, 18), 42: (12, 14), 44: (16, 18), 45: (12, 14)},
}


def scattered() -> Iterator[Case]:
    """Yield addresses of families with fields, from a fixed seed, with bytes that often mean something."""
    draw = random.Random(20011)
    likely = [0, 0, 0, 1, 2, 3, 4, 8, 10, 16, 31, 0x30, 0x41, 0x82, 0xFE, 0xFF]
    for _ in range(1_000):
        for family, (least, most) in LENGTHS.items():
            length = draw.choice((least, most, draw.randrange(least, most + 1), draw.randrange(129)))
            body = [
                draw.choice(likely) if draw.random() < 0.8 else draw.randrange(256) for _ in range(length)
            ]
            yield whole((host("H", family) + bytes(body))[:length])


def swept() -> Iterator[Case]:
    """Yield all values, or all that may have a name, of each number that has any; several to an address."""
    for value in range(0x10000):
        number = host("H", value)
        yield whole(host("H", 17), value.to_bytes(2, "big"), host("I", 0), number, bytes(10))
        yield whole(host("H", 31), number, bytes(6), number)
        yield whole(host("HHHHH", 33, value, value, 2, value), bytes(26))
    for value in range(0x100):
        yield whole(host("HHIHH", 36, 0, 2, value ^ 0xFFFF, value ^ 0xFFFF), bytes(8))
        yield whole(host("HHIII", 44, value, 0, 0, 0))
        yield whole(host("HHIHBB", 17, 0, 0, 0, value, 0), bytes(8))
        yield whole(host("HBBIII", 30, value, value, 1, 2, 3))
        yield whole(host("HHH", 31, 0, value))
        yield whole(host("H10sBB", 31, b"", value, 0))
        yield whole(host("HHIIIBB70sQ", 39, 0, 0, 0, value, value, value, b"", 63))
        yield whole(host("HHIIB3s", 40, 0, value, value, value, b""))
        yield whole(host("HHII", 42, 0, value, -value & 0xFFFFFFFF))
        yield whole(host("HHIBBBB", 45, 0, value, value, 0, 0, 0))


@pytest.fixture(scope="module")
def strace() -> tuple[int, int]:
    version = strace_version()
    if version is None:
        pytest.skip(f"no {STRACE} on this machine")
    if version < OLDEST_VERSION:
        pytest.skip(f"{STRACE} is version {version[0]}.{version[1]}, but 7 or later is needed")
    return version


def differences(
    cases: Iterable[Case], style: str, version: tuple[int, int]
) -> list[tuple[str, int, str, str]]:
    """Return the addresses that we print otherwise than strace, with both texts."""
    unique = list(dict.fromkeys(cases))
    too_new = NAMES_SINCE_7_2 if version < GOLDEN_VERSION else ()
    return [
        (data.hex(), addrlen, ours, theirs)
        for (data, addrlen), ours, theirs in zip(
            unique, our_texts(unique, style), strace_texts(unique, style), strict=True
        )
        if ours != theirs and not any(name in ours for name in too_new)
    ]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cases", [golden_cases, every_length, scattered, swept])
def test_same_text_as_strace(
    strace: tuple[int, int], cases: Callable[[], Iterable[Case]], style: str
) -> None:
    assert differences(cases(), style, strace) == []


@pytest.mark.skipif(sys.byteorder == "big", reason="the kept addresses are those of a little-endian machine")
@pytest.mark.parametrize("style", STYLES)
def test_same_text_as_golden_table(style: str) -> None:
    # The table was made where interface 1 is lo, as everywhere, and names no other that exists.
    ours = our_texts(golden_cases(), style, {1: "lo"}.get)
    assert ours == [row[style] for row in golden_rows()]


@pytest.mark.skipif(sys.byteorder == "big", reason="the kept addresses are those of a little-endian machine")
def test_golden_table_has_every_family_with_fields_short_long_and_exact() -> None:
    seen = {(int.from_bytes(data[:2], "little"), addrlen) for data, addrlen in golden_cases()}
    wanted = {(family, least + more) for family, (least, _) in LENGTHS.items() for more in (-1, 0, 1)}
    assert wanted - seen == set()


def main() -> None:
    """Let the strace of this machine fill in the table."""
    version = strace_version()
    if version is None or version < GOLDEN_VERSION:
        raise SystemExit(f"{STRACE}: the table needs version 7.2 or later, this is {version}")
    cases = list(dict.fromkeys(golden_cases()))
    columns = [strace_texts(cases, style) for style in STYLES]
    with GOLDEN.open("w", encoding="ascii", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["hex", "addrlen", *STYLES])
        for (data, addrlen), *texts in zip(cases, *columns, strict=True):
            writer.writerow([data.hex(), addrlen, *texts])


if __name__ == "__main__":
    main()
