"""`callout explain --sockaddr`: bytes in any common spelling, decoded as strace prints them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callout.cli.explain import read_hex
from callout.errors import UsageError

INET = "020001bb7f0000010000000000000000"
ABBREV = '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("127.0.0.1")}'


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([INET], ABBREV),
        (["02 00 01 bb 7f 00 00 01 00 00 00 00 00 00 00 00"], ABBREV),
        (["02:00:01:BB:7F:00:00:01:00:00:00:00:00:00:00:00"], ABBREV),
        (["0x02, 0x00, 0x01, 0xbb, 0x7f000001, 0x0000000000000000"], ABBREV),
        ([r"\x02\x00\x01\xbb\x7f\x00\x00\x01" + r"\x00" * 8], ABBREV),
        (["0100 2f746d702f78"], '{sa_family=AF_UNIX, sun_path="/tmp/x"}'),
        (["0100 00 627573"], '{sa_family=AF_UNIX, sun_path=@"bus"}'),
        # only so many bytes as the call was told of
        (["0100 2f746d702f78", "--addrlen", "4"], '{sa_family=AF_UNIX, sun_path="/t"}'),
        # strace's -X
        (
            [INET, "-X", "raw"],
            r'{sa_family=0x2, sin_port="\x01\xbb", sin_addr="\x7f\x00\x00\x01"}',
        ),
        (
            [INET, "--style", "verbose"],
            r'{sa_family=0x2 /* AF_INET */, sin_port="\x01\xbb" /* htons(443) */, '
            r'sin_addr="\x7f\x00\x00\x01" /* inet_addr("127.0.0.1") */}',
        ),
    ],
)
def test_decoded(words: list[str], printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callout", "explain", "--sockaddr", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, printed + "\n", "")


@given(st.binary(max_size=40), st.sampled_from(["", " ", ":", ", ", r"\x", " 0x", "\n"]), st.booleans())
def test_every_spelling_of_the_same_bytes(data: bytes, between: str, upper: bool) -> None:
    digits = [f"{byte:02X}" if upper else f"{byte:02x}" for byte in data]
    lead = between if between.endswith("x") else ""
    assert read_hex(lead + between.join(digits)) == data


@given(st.text(max_size=12))
def test_any_text_is_bytes_or_refused(text: str) -> None:
    try:
        data = read_hex(text)
    except UsageError:
        return
    assert len(data) <= len(text) / 2
