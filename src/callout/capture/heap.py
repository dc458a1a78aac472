"""Memory of the C library's heap, kept for the next batch.

Rule of this file: the one place that sets something of the allocator. glibc gives memory back to the kernel
whenever 128 KiB at the end of the heap are free, and takes pieces of that size from the kernel one by one
(mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD). Arrays of a batch are made and dropped together, so each
batch would pay for fresh pages again: a fifth of all time under load.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
KEPT = 8 << 20  # bytes free at the end of the heap
PIECE = 4 << 20  # bytes of the largest piece from the heap: more than any array of a batch


def keep() -> None:
    """Lets the process keep what it frees, up to KEPT. Does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, PIECE)
        mallopt(M_TRIM_THRESHOLD, KEPT)
