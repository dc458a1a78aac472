"""``CALLOUT_TEST_TIER``: the tier of programs that all live sources of these tests use, not the best.

Rule of this file: sources of this process get it here, those of `callout trace` in ``watch.traced``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callout.capture.tiers import TIERS

from .watch import TIER


@pytest.fixture(scope="session", autouse=True)
def one_tier() -> Iterator[None]:
    """With no other tier to fall back on, one that does not load here fails."""
    with pytest.MonkeyPatch.context() as patch:
        if TIER:
            chosen = tuple(tier for tier in TIERS if tier.name == TIER)
            assert chosen, f"there is no tier {TIER!r}"
            patch.setattr("callout.capture.kernel.TIERS", chosen)
        yield
