"""The laboratory as data: the lines of `callout lab` in NDJSON, and what its tables are made of.

Rule of this file: what happened as plain values; how it looks is ``lab_screen``'s. Names of fields that a row has
too are the schema's.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from callout.cause import meanings
from callout.lab import SCENARIOS, Scenario, known, snippet, snippet_c, snippet_python
from callout.lab.seen import Shown, claimed
from callout.verdict import VERDICTS, errno_name

if TYPE_CHECKING:
    from callout.laboratory import Run
    from callout.reference import Outcome

BROKEN = ("differs", "mended")  # results that are not as this program says they are


def to_line(value: Mapping[str, Any]) -> str:
    """One line of NDJSON."""
    return json.dumps(value) + "\n"


def distinct(values: Iterable[str | None]) -> list[str]:
    """Values that there are, each once, in order."""
    return list(dict.fromkeys(value for value in values if value))


def rows() -> list[dict[str, Any]]:
    """Every scenario with what it claims."""
    return [row(scenario) for scenario in SCENARIOS]


def row(scenario: Scenario) -> dict[str, Any]:
    """One scenario with what it claims."""
    outcomes = [e for expected in scenario.expected for e in (expected, expected.late) if e is not None]
    return {
        "name": scenario.name,
        "kind": scenario.family,
        "family": list(scenario.address_families),
        "entry": list(scenario.entries),
        "verdict": distinct(expected.verdict for expected in outcomes),
        "errno": distinct(expected.errno for expected in outcomes),
        "cause": distinct(expected.cause for expected in outcomes),
        "sentence": scenario.sentence,
        "attempts": len(scenario.expected),
        "needs": list(scenario.requirements),
    }


def has(row: Mapping[str, Any], words: Sequence[str]) -> bool:
    """Whether a row has all the words, wherever they stand; case does not matter."""
    text = " ".join(
        " ".join(value) if isinstance(value, list) else str(value) for value in row.values()
    ).lower()
    return all(word.lower() in text for word in words)


def told(scenario: Scenario, run: Run) -> dict[str, Any]:
    """What happened in a scenario."""
    made = run.seen.of(scenario)
    own = [shown.attempt for shown in made if not shown.attempt.command]
    return {
        **row(scenario),
        "impossible": run.impossible.get(scenario.name),
        "arranged": arranged(scenario, run.arranged.get(scenario.name, ())),
        "c": snippet_c.lines(own),
        "python": snippet_python.lines(own),
        "attempts": [attempt(shown, run) for shown in made],
        "differences": run.seen.differences(scenario) if scenario.name not in run.impossible else [],
    }


def attempt(shown: Shown, run: Run) -> dict[str, Any]:
    """One attempt: how it was made, what was claimed, what came."""
    made = shown.attempt
    return {
        "command": made.command or None,
        "strace": snippet.strace(made) or None,
        "connect.return": made.return_,
        "connect.errno": made.error,
        "claimed": claimed(shown.expected, run.seen.tier),
        "row": nested(shown.row),
        "later": [nested(row) for row in shown.late],
        "why": why(shown),
        "remedy": remedy(shown) or None,
    }


def nested(row: Mapping[str, Any] | None) -> Any:
    """A row of callout's as its own NDJSON has it."""
    if row is None:
        return None
    from callout.batch import Batch
    from callout.rows import from_rows
    from callout.sinks import Target
    from callout.sinks.ndjson import NdjsonSink

    stream = io.BytesIO()
    NdjsonSink(Target(stream, None, False, 80, False)).write(Batch(1, from_rows([row])))
    return json.loads(stream.getvalue())


SENDS = ("sendto", "sendmsg", "sendmmsg")


def why(shown: Shown) -> str:
    """What the verdicts or causes mean: of the rows, or where there is none of what the scenario claims."""
    if shown.row is not None:
        pairs = [(row["connect.verdict"], row.get("connect.cause")) for row in (shown.row, *shown.late)]
    else:
        claims = (shown.expected, *([shown.expected.late] if shown.expected.late else []))
        pairs = [(claim.verdict, claim.cause) for claim in claims]
    told = [meanings()[cause] if cause else VERDICTS[verdict] for verdict, cause in pairs]
    if shown.attempt.call in SENDS and pairs[0] == ("associated", None):
        told[0] = "it was sent to that peer"
    swapped = (shown.row or {}).get("connect.swapped")
    if swapped:
        told[0] += (
            f"; the caller's memory had {swapped['entry']} {swapped['when']}, which used {swapped['used']}"
        )
    return "; later: ".join(told)


@cache
def outcomes() -> dict[str, list[Outcome]]:
    """What the reference states with a remedy, by the scenarios that show it."""
    from callout.cli.explain import whole

    found: dict[str, list[Outcome]] = {}
    for outcome in whole().outcomes:
        for name in outcome.scenarios if outcome.remedy else ():
            found.setdefault(name, []).append(outcome)
    return found


def remedy(shown: Shown) -> str:
    """What to do about a failure, in the words of the reference; empty where it has none."""
    claims = (shown.expected, *([shown.expected.late] if shown.expected.late else []))
    ends = {(claim.verdict, claim.errno or "") for claim in claims}
    told = [
        one.remedy for one in outcomes().get(shown.attempt.scenario, ()) if (one.verdict, one.errno) in ends
    ]
    return "; ".join(dict.fromkeys(told))


def arranged(scenario: Scenario, told: Sequence[str]) -> list[str]:
    """What was in place before the attempts: routes, firewall, and what the scenario reported."""
    routes = [f"ip {line}" for line in scenario.routes.splitlines()]
    rules = [f"nft: chain output {{ {line} }}" for line in scenario.firewall.splitlines()]
    return [*routes, *rules, *told]


def compared(scenario: Scenario, run: Run) -> dict[str, Any]:
    """The result of a check: as claimed, differs, known (it differs, and that is known), mended (it was known to
    differ, but does not), not possible here.
    """
    found = {"name": scenario.name, "kernel": os.uname().release, "tier": run.seen.tier}
    if scenario.name in run.impossible:
        return {**found, "result": "impossible", "reason": run.impossible[scenario.name], "differences": []}
    differences = run.seen.differences(scenario)
    reason = known.reason(scenario.name, run.seen.tier) if run.seen.tier else ""
    result = "differs" if differences else "as claimed"
    if reason:
        result = "known" if differences else "mended"
    return {**found, "result": result, "reason": reason or None, "differences": differences}


def returned(value: int | None) -> str:
    """What a call returned, in words."""
    return "?" if value is None else str(value) if value >= 0 else f"-{errno_name(-value)}"
