"""Small look-ups that give numbers a name on this host: drop reasons. Each is asked once.

Rule of this file: cached, local, never over the network.
"""

from __future__ import annotations

from functools import cache

from callout._native import ffi, lib


@cache
def drop_reason(number: int) -> str:
    """Name of an skb_drop_reason of the running kernel, without its prefix: numbers differ by release."""
    text = ffi.string(lib.co_enum_name(b"skb_drop_reason", number)).decode()
    return text.removeprefix("SKB_DROP_REASON_") or str(number)
