"""What callers of callout.sockaddr rely on beside strace's notation (for that: test_sockaddr_strace.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.errors import UsageError
from callout.sockaddr import FAMILIES, STYLES, Address, decode_sockaddr, family_name, parse_sockaddr
from callout.sockaddr.constants import names
from callout.sockaddr.notation import interface_name


def address(family: int, rest: str) -> bytes:
    return family.to_bytes(2, sys.byteorder) + bytes.fromhex(rest)


def number(value: int, size: int = 4) -> str:
    return value.to_bytes(size, sys.byteorder).hex()


INET = address(2, "01bb c0000201 0000000000000000")
INET6 = address(10, "0035 00000000 20010db8000000000000000000000001") + bytes(4)
LINK_LOCAL = address(10, "0035 00000000 fe800000000000000000000000000001" + number(7))

# Families and lengths that a random address seldom has.
families = st.one_of(st.sampled_from(sorted(FAMILIES)), st.integers(0, 0xFFFF))
addresses = st.one_of(
    st.binary(max_size=140),
    st.builds(
        lambda family, rest: family.to_bytes(2, sys.byteorder) + rest, families, st.binary(max_size=140)
    ),
)
lengths = st.one_of(st.none(), st.integers(-3, 140), st.integers())


@given(addresses, lengths, st.sampled_from(STYLES), st.one_of(st.none(), st.integers(0, 2**64 - 1)))
def test_any_input_gives_printable_ascii(
    data: bytes, addrlen: int | None, style: str, pointer: int | None
) -> None:
    text = decode_sockaddr(data, addrlen, style, pointer=pointer, ifname={1: "lo", 2: 'a"\n\udcff'}.get)
    assert text
    assert text.isascii()
    assert text.isprintable()


@given(addresses, lengths, st.sampled_from((4, 8)))
def test_any_input_can_be_parsed(data: bytes, addrlen: int | None, wordsize: int) -> None:
    parsed = parse_sockaddr(data, addrlen)
    text = decode_sockaddr(data, addrlen, "raw", wordsize=wordsize)
    assert text.startswith("{sa_family=") is (parsed.family is not None)
    assert (parsed.ip is None) is (parsed.port is None)
    assert parsed.address is None or os.fsencode(parsed.address)


@given(addresses, st.integers(-3, 140), st.binary(max_size=40), st.sampled_from(STYLES))
def test_bytes_after_the_address_do_not_matter(data: bytes, addrlen: int, after: bytes, style: str) -> None:
    seen = data.ljust(128, b"\0")[: min(max(addrlen, 0), 128)]
    assert decode_sockaddr(seen + after, addrlen, style) == decode_sockaddr(seen, addrlen, style)
    assert parse_sockaddr(seen + after, addrlen) == parse_sockaddr(seen, addrlen)


@given(addresses, st.sampled_from(STYLES))
def test_bytes_after_the_128th_do_not_matter(data: bytes, style: str) -> None:
    assert decode_sockaddr(data, 2**31 - 1, style) == decode_sockaddr(data[:128], None, style)


@given(addresses, lengths)
def test_missing_bytes_shorten_the_address(data: bytes, addrlen: int | None) -> None:
    assert decode_sockaddr(data, 10_000) == decode_sockaddr(data)
    assert parse_sockaddr(data, 10_000) == parse_sockaddr(data)


@pytest.mark.parametrize(
    ("data", "addrlen", "pointer", "text"),
    [
        (INET, 1, 0x7FFD0010, "0x7ffd0010"),
        (INET, 0, 0, "NULL"),
        (INET, -1, 0x7FFD0010, "0x7ffd0010"),
        (INET, 0xFFFF_FFFF, 0x7FFD0010, "0x7ffd0010"),  # -1 as a C int
        (INET, 17, 0x7FFD0010, "0x7ffd0010"),  # one byte could not be read
        (INET, 2, 0x7FFD0010, "{sa_family=AF_INET}"),
        (INET, 2**32 + 2, 0x7FFD0010, "{sa_family=AF_INET}"),  # 2 as a C int
        (b"", None, 0, "NULL"),
        (INET, -1, None, '""'),
        (INET, 0, None, '""'),
        (b"\2\0", 1, None, r'"\2"'),
        (b"\2", 16, None, r'"\2"'),
        (b"", None, None, '""'),
        (address(1, "2f61"), 110, None, '{sa_family=AF_UNIX, sun_path="/a"}'),
        (INET[:8], 16, None, r'{sa_family=AF_INET, sa_data="\1\273\300\0\2\1"}'),
    ],
)
def test_unreadable_or_too_short(data: bytes, addrlen: int | None, pointer: int | None, text: str) -> None:
    assert decode_sockaddr(data, addrlen, pointer=pointer) == text


def test_styles() -> None:
    assert [decode_sockaddr(INET, style=style) for style in STYLES] == [
        '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}',
        r'{sa_family=0x2, sin_port="\x01\xbb", sin_addr="\xc0\x00\x02\x01"}',
        r'{sa_family=0x2 /* AF_INET */, sin_port="\x01\xbb" /* htons(443) */, '
        r'sin_addr="\xc0\x00\x02\x01" /* inet_addr("192.0.2.1") */}',
    ]


def test_unknown_style_is_an_error_even_where_the_style_would_not_matter() -> None:
    with pytest.raises(UsageError, match="unknown address style 'long'") as caught:
        decode_sockaddr(b"", style="long")
    assert caught.value.remedy == "use one of: abbrev, raw, verbose"


@pytest.mark.parametrize(
    ("style", "scope"),
    [
        ("abbrev", r'if_nametoindex("w\"1")'),
        ("raw", "7"),
        ("verbose", r'7 /* if_nametoindex("w\"1") */'),
    ],
)
def test_interface_names_are_the_callers(style: str, scope: str) -> None:
    assert decode_sockaddr(LINK_LOCAL, style=style, ifname={7: 'w"1'}.get).endswith(
        f"sin6_scope_id={scope}}}"
    )


def test_interface_index_without_a_name() -> None:
    assert decode_sockaddr(LINK_LOCAL, ifname={1: "lo"}.get).endswith("sin6_scope_id=7}")


def test_interface_names_of_this_machine() -> None:
    found = [interface_name(index) for index in (0, 1, 0x7FFF_FFF0, 2**32 - 1, 2**64)]
    assert found == [None, "lo", None, None, None]


@pytest.mark.parametrize(
    ("wordsize", "length", "tail"),
    # Measured with strace 7.2 on a program built with gcc -m32.
    [
        (4, 87, ", ..."),
        (4, 88, ', dsap=0x4 /* LLCP_SAP_SNEP */, ssap=0, service_name="urn", service_name_len=3'),
        (8, 88, ", ..."),
        (8, 95, ", ..."),
        (8, 96, ', dsap=0x4 /* LLCP_SAP_SNEP */, ssap=0, service_name="", service_name_len=0'),
    ],
)
def test_word_size_of_the_caller(wordsize: int, length: int, tail: str) -> None:
    nfc = address(39, "0000" + number(0) + number(0) + number(5) + "0400" + b"urn".hex()).ljust(84, b"\0")
    data = (nfc + bytes.fromhex(number(3))).ljust(128, b"\0")
    assert decode_sockaddr(data, length, wordsize=wordsize) == (
        f"{{sa_family=AF_NFC, dev_idx=0, target_idx=0, nfc_protocol=NFC_PROTO_NFC_DEP{tail}}}"
    )


@pytest.mark.parametrize(
    ("data", "parsed"),
    [
        (b"", Address()),
        (b"\2", Address()),
        (address(0, "00" * 14), Address(0)),
        (address(0x2F, "00" * 14), Address(0x2F)),
        (address(29, "00" * 14), Address(29)),
        (INET, Address(2, "192.0.2.1", 443)),
        (INET[:15], Address(2)),
        (INET6, Address(10, "2001:db8::1", 53)),
        (INET6[:24], Address(10, "2001:db8::1", 53)),
        (INET6[:23], Address(10)),
        (
            address(10, "0050 00000000 00000000000000000000ffffc0000201"),
            Address(10, "::ffff:192.0.2.1", 80),
        ),
        (address(1, ""), Address(1)),
        (address(1, "2f72756e2f7800ff"), Address(1, address="/run/x")),
        (address(1, "61" * 108), Address(1, address="a" * 108)),
        (address(1, "61" * 120), Address(1, address="a" * 108)),
        (address(1, "00"), Address(1, address="@")),
        (address(1, "00627573"), Address(1, address="@bus")),
        (address(1, "006275730000"), Address(1, address="@bus\0\0")),
        (address(1, "2fc3bcff"), Address(1, address="/ü\udcff")),
        (address(1, "40ff"), Address(1, address="./@\udcff")),
        (address(1, "004000ff"), Address(1, address="@@\0\udcff")),
        (address(3, "9c6082868298 04 000000" + number(0)), Address(3, address="N0ACAL-2")),
        (address(3, "ff" * 7 + "000000" + number(0)), Address(3)),
        (address(4, "0451 0000abcd 0001020a10ff 1100"), Address(4, address="0000abcd:0001020a10ff:0451")),
        (address(9, "3132333435" + "00" * 11), Address(9, address="12345")),
        (address(9, "00" * 16), Address(9)),
        (address(16, "0000" + number(7) + number(0)), Address(16, address="pid 7")),
        (address(16, "0000" + number(0) + number(17)), Address(16, address="pid 0 groups 0x11")),
        (
            address(17, "0800" + number(2) + number(1, 2) + "0006" + "02000a10ff01" + "0000"),
            Address(17, address="interface 2 protocol 0x800 02:00:0a:10:ff:01"),
        ),
        (address(17, "0003" + number(2) + "00" * 12), Address(17, address="interface 2 protocol 0x3")),
        (
            address(30, "0100" + number(18) + number(1) + number(9)),
            Address(30, address="services 18:1-9"),
        ),
        (address(30, "0200" + number(18) + number(1) + number(0)), Address(30, address="service 18:1")),
        (
            address(30, "0300" + number(99) + number(0x1001) + number(0)),
            Address(30, address="socket 99 node 0x1001"),
        ),
        (address(30, "00" * 14), Address(30)),
        (address(31, "0100"), Address(31, address="hci1")),
        (address(31, "01000300"), Address(31, address="hci1")),
        (address(31, "0102030a10ff"), Address(31, address="ff:10:0a:03:02:01")),
        (address(31, "0102030a10ff 0500"), Address(31, address="ff:10:0a:03:02:01 channel 5")),
        (address(31, "0300 0102030a10ff 0000"), Address(31, address="ff:10:0a:03:02:01 psm 3")),
        (address(31, "0300 0102030a10ff 0000 0100"), Address(31, address="ff:10:0a:03:02:01 psm 3")),
        (address(31, "00"), Address(31)),
        (
            address(33, number(1, 2) + number(2, 2) + number(16, 2))
            + address(2, "1b59 0a000001")
            + bytes(20),
            Address(33, "10.0.0.1", 7001, "service 1"),
        ),
        (
            address(33, number(1, 2) + number(2, 2) + number(28, 2)) + INET6,
            Address(33, "2001:db8::1", 53, "service 1"),
        ),
        (
            address(33, number(1, 2) + number(2, 2) + number(15, 2)) + INET6,
            Address(33, address="service 1"),
        ),
        (
            address(36, "0000" + number(2) + number(0xABCD, 2) + number(0x12, 2) + "00" * 8),
            Address(36, address="pan 0xabcd 0x0012"),
        ),
        (
            address(36, "0000" + number(3) + number(0xABCD, 2) + "0102030405060708" + "0000"),
            Address(36, address="pan 0xabcd 01:02:03:04:05:06:07:08"),
        ),
        (
            address(36, "0000" + number(0) + number(0xABCD, 2) + "00" * 10),
            Address(36, address="pan 0xabcd"),
        ),
        (
            address(38, "68617368".ljust(28, "0") + "00" * 8 + b"sha256\0".hex()),
            Address(38, address="hash sha256"),
        ),
        (
            address(39, "0000" + number(1) + number(2) + number(5)),
            Address(39, address="device 1 target 2"),
        ),
        (
            address(40, "0000" + number(1024) + number(2) + "00000000"),
            Address(40, address="2:1024"),
        ),
        (address(42, "0000" + number(1) + number(17)), Address(42, address="1:17")),
        (
            address(44, "0000" + number(3) + number(5) + number(0)),
            Address(44, address="interface 3 queue 5"),
        ),
        (
            address(45, "0000" + number(1) + "08010800"),
            Address(45, address="network 1 endpoint 8 type 1"),
        ),
    ],
)
def test_parse(data: bytes, parsed: Address) -> None:
    assert parse_sockaddr(data) == parsed


@pytest.mark.parametrize(
    ("value", "name"), [(0, "AF_UNSPEC"), (1, "AF_UNIX"), (12, "AF_DECnet"), (0x2F, "0x2f")]
)
def test_family_name(value: int, name: str) -> None:
    assert family_name(value) == name


def test_families_are_numbered_without_gaps_and_read_only() -> None:
    assert list(FAMILIES) == list(range(46))
    assert not hasattr(FAMILIES, "__setitem__")


def test_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="no_such_table"):
        names("no_such_table")


def test_socket_types_have_one_numbering() -> None:
    assert [names("socktypes")[value] for value in (1, 2)] in (
        ["SOCK_STREAM", "SOCK_DGRAM"],
        ["SOCK_DGRAM", "SOCK_STREAM"],  # MIPS
    )


def test_import_loads_nothing_heavy_and_reads_no_file() -> None:
    heavy = ["csv", "importlib.resources", "numpy", "ipaddress"]
    # -S: a site directory may load anything of its own.
    script = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]}; import callout.sockaddr; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_styles_and_pointers_combine() -> None:
    for style, pointer in product(STYLES, (None, 0, 1)):
        assert decode_sockaddr(INET, 2, style, pointer=pointer) == decode_sockaddr(INET[:2], None, style)
