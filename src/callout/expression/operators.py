r"""What an operator means for one value: `predicate(type, operator, values)` returns the predicate.

Text is matched as Falco does: `glob` is fnmatch(3) with flags 0, so `*` also crosses `/`; `pmatch` is a
prefix of whole path components, each of them a glob; `regex` must match the whole value. Falco's regular
expressions are RE2's, callout's are Python's `re`: they also have look-around and back-references, and a
careless one can take exponential time on long values. `bcontains` and `bstartswith` look at the bytes of the
text.
"""

from __future__ import annotations

import operator as compare
import re
import socket
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, TypeAlias

Test: TypeAlias = Callable[[Any], bool]

ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "=": compare.eq,
    "!=": compare.ne,
    "<": compare.lt,
    "<=": compare.le,
    ">": compare.gt,
    ">=": compare.ge,
}

_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
_CLASS_OR_ESCAPE = re.compile(r"\\(.)|\[\^", re.DOTALL)


def predicate(type_: str, operator: str, values: Sequence[Any], modifier: str = "") -> Test:
    """Predicate of one value that is present, for a comparison with written `values`."""
    if modifier:
        return modified(modifier, [predicate(type_, operator, (value,)) for value in values])
    if type_ == "ip":
        return _address_test(operator, values)
    if type_ == "text_list":
        return _list_test(operator, frozenset(values))
    if type_ == "dynamic":
        return _dynamic_test(operator, values)
    if type_ == "text" and operator not in ("=", "!=", "in", "intersects", *ORDER):
        return _text_test(operator, values)
    return _plain_test(operator, values)


def modified(modifier: str, tests: Sequence[Test]) -> Test:
    """`oneof` is exactly one, `anyof` one or more, `allof` each; of no values, nothing is true."""
    if modifier == "oneof":
        return lambda value: sum(test(value) for test in tests) == 1
    if modifier == "anyof":
        return lambda value: any(test(value) for test in tests)
    return lambda value: bool(tests) and all(test(value) for test in tests)


def either_of(test: Test) -> Test:
    """`test` for values of which some are lists: any item satisfies it."""
    return lambda value: any(map(test, value)) if isinstance(value, list) else test(value)


def _plain_test(operator: str, values: Sequence[Any]) -> Test:
    if operator in ("in", "intersects"):
        return frozenset(values).__contains__
    relation, wanted = ORDER[operator], values[0]
    return lambda value: bool(relation(value, wanted))


def _list_test(operator: str, wanted: frozenset[Any]) -> Test:
    """`in` is that all items (and there are some) are among the values, `intersects` that any is."""
    if operator == "in":
        return lambda value: bool(value) and wanted.issuperset(value)
    return lambda value: not wanted.isdisjoint(value)


def _dynamic_test(operator: str, values: Sequence[Any]) -> Test:
    """For a value of unknown type: numbers order as numbers, everything else compares as its text."""
    if operator in ("<", "<=", ">", ">="):
        ordered = _plain_test(operator, values)
        return lambda value: type(value) in (int, float) and ordered(value)
    textual = predicate("text", operator, values)
    return lambda value: textual(_words(value))


def _words(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_test(operator: str, values: Sequence[str]) -> Test:
    wanted = values[0] if values else ""
    match operator:
        case "contains":
            return lambda value: wanted in value
        case "icontains":
            lowered = wanted.lower()
            return lambda value: lowered in value.lower()
        case "startswith":
            return lambda value: bool(value.startswith(wanted))
        case "endswith":
            return lambda value: bool(value.endswith(wanted))
        case "glob":
            return _matches(glob(wanted))
        case "iglob":
            return _matches(glob(wanted, re.IGNORECASE))
        case "regex":
            return _matches(re.compile(wanted))
        case "pmatch":
            return _path_test(values)
        case "bcontains":
            within = bytes.fromhex(wanted)
            return lambda value: within in _bytes(value)
        case "bstartswith":
            start = bytes.fromhex(wanted)
            return lambda value: _bytes(value).startswith(start)
    raise AssertionError(f"operator {operator} has no meaning for text")


def _matches(pattern: re.Pattern[str]) -> Test:
    return lambda value: pattern.fullmatch(value) is not None


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def glob(pattern: str, flags: int = 0) -> re.Pattern[str]:
    r"""Regular expression of an fnmatch(3) pattern with flags 0.

    Python's `fnmatch` differs in two points, which are put into its terms: `\x` is x itself, `[^` is `[!`.
    """

    def meant(match: re.Match[str]) -> str:
        if match[1] is None:
            return "[!"
        return f"[{match[1]}]" if match[1] in "*?[" else match[1]

    return re.compile(translate(_CLASS_OR_ESCAPE.sub(meant, pattern)), flags)


def _path_test(values: Sequence[str]) -> Test:
    patterns = [[glob(part) for part in value.split("/") if part] for value in values]

    def test(value: str) -> bool:
        parts = [part for part in value.split("/") if part]
        return any(
            len(pattern) <= len(parts) and all(map(re.Pattern.match, pattern, parts)) for pattern in patterns
        )

    return test


@lru_cache(maxsize=65_536)
def address(text: str) -> tuple[int, int] | None:
    """IP version and number of an address; an IPv4-mapped one is the IPv4 one, None is no address."""
    try:
        if ":" not in text:
            return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, text))
        packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except OSError:
        return None
    return (4, int.from_bytes(packed[12:])) if packed.startswith(_MAPPED) else (6, int.from_bytes(packed))


def _address_test(operator: str, values: Sequence[str]) -> Test:
    """Membership in any of the networks; `!=` of another IP version is true, of what is no address false.

    Networks are kept as sets by version and prefix length, so thousands of them cost no more than a few.
    """
    networks: dict[tuple[int, int], set[int]] = {}
    for value in values:
        base, _, prefix = value.partition("/")
        found = address(base)
        assert found is not None, "the parser writes addresses in canonical text"
        bits = 32 if found[0] == 4 else 128
        shift = bits - int(prefix or bits)
        networks.setdefault((found[0], shift), set()).add(found[1] >> shift)
    levels = [(version, shift, frozenset(numbers)) for (version, shift), numbers in networks.items()]

    def inside(text: str) -> bool | None:
        found = address(text)
        if found is None:
            return None
        return any(found[0] == version and found[1] >> shift in numbers for version, shift, numbers in levels)

    if operator == "!=":
        return lambda text: inside(text) is False
    return lambda text: inside(text) is True
