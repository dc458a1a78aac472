"""A run of scenarios beside its trace: which row belongs to which attempt, and where they say different things.

Rule of this file: pure; what the laboratory's own process reported is the truth. Of a thread's attempts the nth
has its nth row; an attempt that another program made has the first free row to its address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from callout.lab import named
from callout.lab.report import Attempt
from callout.lab.scenario import Expected, Scenario
from callout.sockaddr import decode_sockaddr
from callout.verdict import errno_name

Row = Mapping[str, Any]
TOLD = ("connect.verdict", "connect.errno", "connect.cause", "connect.return")


class Shown(NamedTuple):
    """One attempt: its truth, its claim, and its rows (``row``: None where none came, or none can)."""

    attempt: Attempt
    expected: Expected
    row: Row | None
    late: Sequence[Row]
    visible: bool


def claimed(expected: Expected, tier: str | None) -> dict[str, object]:
    """The fields of the row that an expectation claims on a tier; None for one that must be absent."""
    cause = expected.cause if tier is None else expected.cause_on(tier)
    words = (expected.verdict, expected.errno, cause, expected.return_)
    told = {**dict(zip(TOLD, words, strict=True)), **expected.fields}
    if "connect.entry" in expected.fields and expected.return_ is None:
        del told["connect.return"]  # that of another call, which not every kernel shows
    return told


class Seen:
    """Attempts and rows of one run. ``tier`` is that of the trace; None without one: then there are no rows."""

    def __init__(
        self, attempts: Iterable[Attempt], rows: Iterable[Row] = (), tier: str | None = None
    ) -> None:
        self.attempts = sorted(attempts, key=lambda attempt: attempt.time)
        self.tier = tier
        self.rows: dict[int, Row] = {}  # by attempt
        self.late: dict[int, list[Row]] = {}  # those after the first, which an error made that came later
        for row in rows:
            if self.rows.setdefault(row["connect.id"], row) is not row:
                self.late.setdefault(row["connect.id"], []).append(row)
        self._found: dict[int, Row] = {}  # by number of the attempt
        self.faults: dict[str, list[str]] = {}  # scenarios whose attempts and rows do not go together
        if tier is not None:
            self._match()

    def visible(self, expected: Expected) -> bool:
        """Whether the tier can see an attempt."""
        return expected.seen_by is None or self.tier in expected.seen_by

    def _match(self) -> None:
        claims = self._claims()
        threads: dict[int, list[int]] = {}
        for number, attempt in enumerate(self.attempts):
            if number in claims and self.visible(claims[number]):
                threads.setdefault(attempt.tid, []).append(number)
        others = threads.pop(0, [])
        by_thread: dict[int, list[Row]] = {}
        for row in sorted(self.rows.values(), key=lambda row: row["@timestamp"]):
            by_thread.setdefault(row["process.thread.id"], []).append(row)
        for thread, numbers in threads.items():
            rows = by_thread.pop(thread, [])
            if len(rows) == len(numbers):
                self._found.update(zip(numbers, rows, strict=True))
                continue
            if not rows and all(claims[number].lenient for number in numbers):
                continue
            for name in {self.attempts[number].scenario for number in numbers}:
                made = Counter(self.attempts[number].scenario for number in numbers)[name]
                self._fault(
                    name, f"a thread made {len(numbers)} attempts ({made} here), and {len(rows)} rows came"
                )
        free = [row for rows in by_thread.values() for row in rows]
        for number in others:
            wanted = decode_sockaddr(bytes.fromhex(self.attempts[number].sockaddr))
            fitting = [row for row in free if row.get("connect.sockaddr") == wanted]
            if fitting:
                self._found[number] = min(fitting, key=lambda row: row["@timestamp"])
                free.remove(self._found[number])
            else:
                self._fault(self.attempts[number].scenario, f"no row came to {wanted}")

    def _claims(self) -> dict[int, Expected]:
        """What is claimed of each attempt, by its number; faults where a scenario made too many or too few."""
        numbers: dict[str, list[int]] = {}
        for number, attempt in enumerate(self.attempts):
            numbers.setdefault(attempt.scenario, []).append(number)
        claims: dict[int, Expected] = {}
        for scenario in named(list(numbers)) if numbers else ():
            mine = numbers[scenario.name]
            if len(mine) != len(scenario.expected):
                self._fault(scenario.name, f"{len(mine)} attempts were made, not {len(scenario.expected)}")
            claims.update(zip(mine, scenario.expected, strict=False))
        return claims

    def _fault(self, name: str, what: str) -> None:
        self.faults.setdefault(name, []).append(what)

    def of(self, scenario: Scenario) -> list[Shown]:
        """Each attempt of a scenario with its claim and its rows, in order of the calls."""
        made = [(n, attempt) for n, attempt in enumerate(self.attempts) if attempt.scenario == scenario.name]
        shown = []
        for (number, attempt), expected in zip(made, scenario.expected, strict=False):
            row = self._found.get(number)
            late = self.late.get(row["connect.id"], []) if row else []
            shown.append(Shown(attempt, expected, row, late, self.visible(expected)))
        return shown

    def differences(self, scenario: Scenario) -> list[str]:
        """What was not as the scenario claims, in words; nothing where all was."""
        found = list(self.faults.get(scenario.name, ()))
        made = self.of(scenario)
        if len(made) != len(scenario.expected) and not found:
            found.append(f"{len(made)} attempts were made, not {len(scenario.expected)}")
        for number, shown in enumerate(made, 1):
            found += (f"attempt {number}: {what}" for what in self._of_one(shown))
        return found

    def _of_one(self, shown: Shown) -> Iterable[str]:
        attempt, expected = shown.attempt, shown.expected
        if not attempt.command:
            wanted = {"the call's return": expected.return_, "the application's error": expected.errno}
            got = {"the call's return": attempt.return_, "the application's error": attempt.error}
            yield from differing(wanted, got)
        if shown.row is None:
            return
        facts: dict[str, object] = claimed(expected, self.tier)
        if not attempt.command:
            facts |= {
                "connect.fd": attempt.fd,
                "connect.addrlen": attempt.addrlen,
                "process.pid": attempt.pid,
            }
        if expected.lenient:
            facts = {name: value for name, value in facts.items() if shown.row.get(name) is not None}
        yield from differing(facts, shown.row)
        late = [claimed(expected.late, self.tier)] if expected.late else []
        if len(late) != len(shown.late):
            yield f"{len(shown.late)} later rows came, not {len(late)}"
        for claim, row in zip(late, shown.late, strict=False):
            yield from (f"later row: {what}" for what in differing(claim, row))


def differing(wanted: Mapping[str, object], got: Mapping[str, Any]) -> Iterable[str]:
    """The fields that are not as wanted."""
    for name, value in wanted.items():
        if got.get(name) != value:
            yield f"{name} is {word(name, got.get(name))}, claimed {word(name, value)}"


def word(name: str, value: object) -> str:
    """A value in words: returns by the name of their error, nothing as "absent"."""
    if value is None:
        return "absent"
    if name.endswith("return") and isinstance(value, int) and value < 0:
        return f"-{errno_name(-value)}"
    return str(value)
