"""Named constants of socket addresses: every number that has a name is in one data file, read on first use.

The file is ``callout/reference/sockaddr_constants.csv`` (columns ``table,name,value``); its names and numbers
are those of the Linux headers (``linux/socket.h``, ``linux/if_ether.h``, ``linux/if_arp.h``, ...), each table
with the subset that strace 7.2 knows.  Rows of one table keep their order, because flags are named in it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from types import MappingProxyType

_SOCKTYPES = "socktypes"


@functools.cache
def _tables() -> dict[str, dict[int, str]]:
    # Imported here: together they cost more than all the rest of the package, and only a decode needs them.
    import csv
    from importlib import resources

    source = resources.files("callout") / "reference" / "sockaddr_constants.csv"
    tables: dict[str, dict[int, str]] = {}
    for row in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        tables.setdefault(row["table"], {})[int(row["value"])] = row["name"]
    # MIPS numbers SOCK_STREAM and SOCK_DGRAM the other way round (arch/mips/include/asm/socket.h).
    swapped = tables.pop(f"{_SOCKTYPES} (mips)")
    tables[_SOCKTYPES] = tables.pop(f"{_SOCKTYPES} (non-mips)")
    if os.uname().machine.startswith("mips"):
        tables[_SOCKTYPES] |= swapped
    return tables


@functools.cache
def names(table: str) -> Mapping[int, str]:
    """Return the read-only mapping from value to name of one ``table``, for example ``"addrfams"``.

    Raises ``KeyError`` when the data file has no such table.
    """
    return MappingProxyType(_tables()[table])


def family_name(number: int) -> str:
    """Return the name of address family ``number`` (``'AF_INET'``); without one, ``'0x2f'``."""
    return names("addrfams").get(number) or f"{number:#x}"
