"""The part of an expression that the kernel can check before a record is made.

The result is a superset: a row that the expression accepts always satisfies the narrowing. Only comparisons
for equality that a conjunction requires are used (and alternatives of an `or` that all restrict the same
thing); what is negated is not, because `not` of a comparison with a missing value is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeAlias

from callout.expression.tree import And, Compare, Expression, Field, Node, Or

Outcome: TypeAlias = Literal["success", "failure"]

_COMM = 15  # bytes of a task's name, include/linux/sched.h: TASK_COMM_LEN without the final NUL
_EQUAL = frozenset({"=", "in", "intersects"})
_UNSPEC, _INET, _INET6 = 0, 2, 10  # include/linux/socket.h
_NETWORK = {  # IPv4 can be asked for by a mapped IPv6 address; to sendto(2) on UDP, AF_UNSPEC means AF_INET
    "ipv4": frozenset({_UNSPEC, _INET, _INET6}),
    "ipv6": frozenset({_UNSPEC, _INET6}),
}


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a row must have; None is no restriction, an empty set is that no row can match.

    `families` are the AF_ numbers of the address passed to the call, which is not always the socket's
    (`connect.family`, therefore not used here); `comms` are thread names of at most 15 bytes; `ports` are
    those of the address that is used, so after any rewriting.
    """

    pids: frozenset[int] | None = None
    uids: frozenset[int] | None = None
    ports: frozenset[int] | None = None
    comms: frozenset[str] | None = None
    families: frozenset[int] | None = None
    outcome: Outcome | None = None


def pushdown(expression: Expression | Node) -> Narrowing:
    """Narrowing that every row accepted by `expression` satisfies."""
    return _narrow(expression.tree if isinstance(expression, Expression) else expression)


def _narrow(node: Node) -> Narrowing:
    if isinstance(node, And):
        return reduce(_both, map(_narrow, node.terms))
    if isinstance(node, Or):
        return reduce(_either, map(_narrow, node.terms))
    return _leaf(node) if isinstance(node, Compare) else Narrowing()


def _both(one: Narrowing, other: Narrowing) -> Narrowing:
    def smaller(a: frozenset[Any] | None, b: frozenset[Any] | None) -> frozenset[Any] | None:
        return b if a is None else a if b is None else a & b

    return _merge(one, other, smaller, one.outcome or other.outcome)


def _either(one: Narrowing, other: Narrowing) -> Narrowing:
    def larger(a: frozenset[Any] | None, b: frozenset[Any] | None) -> frozenset[Any] | None:
        return None if a is None or b is None else a | b

    return _merge(one, other, larger, one.outcome if one.outcome == other.outcome else None)


_Sets: TypeAlias = Callable[["frozenset[Any] | None", "frozenset[Any] | None"], "frozenset[Any] | None"]


def _merge(one: Narrowing, other: Narrowing, sets: _Sets, outcome: Outcome | None) -> Narrowing:
    return Narrowing(
        sets(one.pids, other.pids),
        sets(one.uids, other.uids),
        sets(one.ports, other.ports),
        sets(one.comms, other.comms),
        sets(one.families, other.families),
        outcome,
    )


def _leaf(node: Compare) -> Narrowing:
    field, values = node.left, node.right
    if not isinstance(field, Field) or field.kind != "column" or not isinstance(values, tuple):
        return Narrowing()
    if node.operator not in _EQUAL:
        return Narrowing()
    match field.name:
        case "process.pid":
            return Narrowing(pids=_numbers(values))
        case "user.id":
            return Narrowing(uids=_numbers(values))
        case "destination.port":
            return Narrowing(ports=_numbers(values))
        case "process.name":
            return Narrowing(comms=frozenset(_comm(str(value)) for value in values))
        case "network.type":
            return Narrowing(families=_union(_NETWORK.get(str(value)) for value in values))
        case "event.outcome":
            return Narrowing(outcome=_outcome(values))
    return Narrowing()


def _numbers(values: Iterable[Any]) -> frozenset[int] | None:
    """Values as numbers, also where the schema has them as text; None when one of them is no number."""
    numbers = [int(value) if str(value).isdecimal() else None for value in values]
    known = frozenset(number for number in numbers if number is not None)
    return known if None not in numbers else None


def _comm(name: str) -> str:
    return name.encode("utf-8", "surrogateescape")[:_COMM].decode("utf-8", "surrogateescape")


def _union(sets: Iterable[frozenset[int] | None]) -> frozenset[int] | None:
    """Union; None when one of them is unrestricted."""
    found = list(sets)
    known = [numbers for numbers in found if numbers is not None]
    return frozenset[int]().union(*known) if len(known) == len(found) else None


def _outcome(values: tuple[Any, ...]) -> Outcome | None:
    return values[0] if len(values) == 1 and values[0] in ("success", "failure") else None
