"""Records of a kind are decoded once, and every column is what it would be without that."""

from __future__ import annotations

import numpy as np
import pytest

from callout.batch import Array
from callout.btf import Btf
from callout.capture.alike import LEAST, alike
from callout.capture.columns import Columns, Decoder
from callout.capture.kernel import read_object

BTF = Btf.of_object(read_object())
FLAGS = BTF.enum("attempt_flag")
COUNT = 4 * LEAST


def records() -> Array:
    """Calls of one process to two ports in turn; what is each attempt's own differs in all of them."""
    made = np.zeros(COUNT, BTF.layout("attempt").dtype)
    number = np.arange(COUNT)
    made["id"], made["began"], made["ended"] = number, 10**9 + 1000 * number, 10**9 + 1000 * number + 500
    made["cookie"], made["pointer"], made["sport"] = 9 + number, 4096 + number, 30000 + number
    made["pid"], made["comm"], made["family"], made["type"], made["protocol"] = 7, b"sh", 2, 2, 17
    made["addrlen"], made["dport"], made["peer_family"] = 16, 53 + number % 2, 2
    made["flags"] = FLAGS["FLAG_PEER"] | FLAGS["FLAG_LOCAL"] | FLAGS["FLAG_RETURNED"]
    made["sockaddr"][:, 0] = 2
    made["sockaddr"][:, 3] = made["dport"]
    return made


def test_kinds_are_what_differs_beside_the_attempts_own() -> None:
    found = alike(records(), FLAGS)
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == ([0, 1] * (COUNT // 2), [0, 1])


def test_columns_are_the_same() -> None:
    made = records()
    decoder = Decoder(BTF)
    decoder.offset()
    kinds = alike(made, FLAGS)
    assert kinds is not None
    with_kinds = Columns(decoder, made, kinds).sources()
    without = Columns(decoder, made).sources()
    assert list(with_kinds) == list(without)
    for name, source in without.items():
        assert with_kinds[name]().tolist() == source().tolist(), name


def test_too_many_kinds() -> None:
    made = records()
    made["pid"] = np.arange(COUNT)
    assert alike(made, FLAGS) is None
    made["pid"][:LEAST] = 1  # alike only in the rows that are looked at first
    assert alike(made, FLAGS) is None


def test_few_records() -> None:
    assert alike(records()[: LEAST - 1], FLAGS) is None


@pytest.mark.parametrize("flag", ["FLAG_UNREADABLE", "FLAG_SWAPPED"])
def test_where_the_pointer_or_the_change_is_shown(flag: str) -> None:
    made = records()
    made["flags"][5] |= FLAGS[flag]
    assert alike(made, FLAGS) is None


def test_an_address_too_short_to_show() -> None:
    made = records()
    made["addrlen"][5] = 1
    assert alike(made, FLAGS) is None
    made["flags"][5] |= FLAGS["FLAG_NO_ADDRESS"]
    assert alike(made, FLAGS) is not None
