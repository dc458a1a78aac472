"""A column from codes and the value of each code, where values repeat or are missing.

Rule of this file: each distinct value is kept once, as a ``Coded`` column promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from callout.batch import Array, Coded


def dense(codes: Array, values: Sequence[Any]) -> Coded:
    """``values[code]`` in each row; None, and code -1, are no value. Values need not be hashable."""
    numbers: dict[Any, int] = {}
    kept: list[Any] = []
    places = np.full(len(values) + 1, -1, np.int32)  # the last one is what code -1 takes
    for i, value in enumerate(values):
        if value is not None:
            key = value if isinstance(value, str) else repr(value)
            if key not in numbers:
                numbers[key] = len(kept)
                kept.append(value)
            places[i] = numbers[key]
    return Coded(places[codes], kept)
