"""The directories that processes work in, by the numbers that their attempts carry.

Rule of this file: the kernel tells each directory once (``bpf/observe/directory.h``), before the first record with its
number, and forgets those that nobody uses; so does this table, which is larger.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from callout.batch import Array
from callout.btf import Btf
from callout.enrich.images import path
from callout.enrich.kept import Weighed
from callout.footprint import Table

KEPT, KEPT_BYTES = 8192, 8 << 20  # the kernel keeps 2048
ENTRY = 300  # bytes of one beside its path (sys.getsizeof, rounded up)


class Directories:
    """Paths by number. Deleted directories have the path that they had."""

    def __init__(self, btf: Btf) -> None:
        fields: Any = btf.layout("directory").dtype.fields
        self._head = int(fields["text"][1])
        self._cut = btf.enum("directory_flag")["DIRECTORY_CUT"]
        self._paths: Weighed[int, str] = Weighed(KEPT, KEPT_BYTES)

    def told(self, records: Array) -> None:
        """Takes records of the kind RECORD_DIRECTORY."""
        octets, size, head = records.view(np.uint8).data, records.dtype.itemsize, self._head
        columns = [records[name].tolist() for name in ("number", "size", "flags")]
        for i, (number, used, flags) in enumerate(zip(*columns, strict=True)):
            begin = i * size + head
            found = path(octets[begin : begin + used].tobytes(), bool(flags & self._cut))
            self._paths.put(number, found, ENTRY + len(found))

    def path(self, number: int) -> str | None:
        """From the root of the process, or from the top of its mounts where it is not below that; None: not known."""
        found = self._paths.get(number)
        if found is not None:
            self._paths.refresh(number)
        return found

    def memory(self) -> Table:
        """What is kept, about."""
        return self._paths.table("working directories")
