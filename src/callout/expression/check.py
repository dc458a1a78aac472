"""Which operator may meet which type, and what a written value means there.

The table is Falco's (libsinsp filter_compare.cpp: flt_is_comparable): addresses compare only for equality,
numbers know no text operators, lists only membership. callout adds `time`, which orders like a number and is
written as ISO 8601, and `dynamic`, a member of an object, whose type is that of each value.
"""

from __future__ import annotations

import math
import re

from callout.expression.tree import Literal

ORDER = frozenset({"<", "<=", ">", ">="})
PATTERNS = frozenset({"glob", "iglob", "regex", "pmatch", "bcontains", "bstartswith"})
"""Operators whose right side is prepared beforehand, so that it cannot be another field."""
STRING = frozenset({"=", "!=", "contains", "icontains", "startswith", "endswith"}) | PATTERNS - {"pmatch"}
"""Operators that take a modifier (oneof, anyof, allof)."""

_MEMBER = frozenset({"in", "intersects", "exists"})
_EQUAL = _MEMBER | {"=", "!="}
_TEXT = _EQUAL | ORDER | STRING | {"pmatch"}
ALLOWED: dict[str, frozenset[str]] = {
    "text": _TEXT,
    "dynamic": _TEXT,
    "int": _EQUAL | ORDER,
    "time": _EQUAL | ORDER,
    "ip": _EQUAL,
    "bool": _EQUAL,
    "text_list": _MEMBER,
    "list": frozenset({"exists"}),
    "object": frozenset({"exists"}),
}

_INTEGER = re.compile(r"[+-]?[0-9]+")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
_NUMBER = re.compile(r"[+-]?[0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?")


def literal(raw: str, type_: str, operator: str) -> Literal:
    """Value of the written `raw` for a field of `type_`; ValueError says what was expected."""
    if type_ == "ip":
        return network(raw)
    if type_ == "bool":
        if raw in ("true", "false"):
            return raw == "true"
        raise ValueError("expected true or false")
    if type_ == "int" or (type_ == "dynamic" and operator in ORDER):
        return number(raw, fraction=operator in ORDER)
    if type_ == "time":
        return raw_time(raw)
    if operator in ("bcontains", "bstartswith"):
        try:
            return bytes.fromhex(raw).hex()
        except ValueError:
            raise ValueError("expected bytes in hexadecimal, such as 48656c6c6f") from None
    if operator == "regex":
        try:
            re.compile(raw)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
    return raw


def number(raw: str, *, fraction: bool) -> int | float:
    """Decimal or hexadecimal integer; with `fraction` also a decimal fraction."""
    if _INTEGER.fullmatch(raw):
        return int(raw)
    if _HEXADECIMAL.fullmatch(raw):
        return int(raw, 16)
    if fraction and _NUMBER.fullmatch(raw) and math.isfinite(value := float(raw)):
        return value
    raise ValueError("expected a number" if fraction else "expected a whole number")


def network(raw: str) -> str:
    """Address or CIDR in canonical text, host bits masked; an IPv4-mapped one is the IPv4 one."""
    import ipaddress  # not needed for `--help`

    try:
        found = ipaddress.ip_network(raw, strict=False)
    except ValueError:
        raise ValueError("expected an IP address or a CIDR such as 10.0.0.0/8") from None
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96")):
        last_bits = int(found.network_address) & 0xFFFFFFFF
        found = ipaddress.IPv4Network((last_bits, found.prefixlen - 96))
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def raw_time(raw: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time (UTC unless it has an offset), or such a number itself."""
    from datetime import UTC, datetime  # rarely needed

    if _INTEGER.fullmatch(raw):
        return int(raw)
    if match := _TIME.fullmatch(raw):
        day, clock, fraction, zone = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone or 'Z'}")
        except ValueError as error:
            raise ValueError(f"not a time: {error}") from None
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 10**9 + int((fraction or "").ljust(9, "0"))
    raise ValueError("expected a time such as 2026-01-31T12:00:00Z, or nanoseconds since 1970")
