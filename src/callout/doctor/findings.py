"""What became of each way: seen, seen without some of it, not seen, or not possible here.

Rule of this file: pure. A value that is absent from the row is missing; one that says something else is wrong,
which no claim allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from callout.capture.tiers import SENDS, TIERS, Option, Tier
from callout.doctor.facts import Check, State
from callout.doctor.paths import DATAGRAM, PATHS, SOCKET, Path
from callout.doctor.selftest import Observed
from callout.lab.ways import WAYS, Made, Way
from callout.lab.ways.stage import Taken
from callout.sockaddr import decode_sockaddr

Result: TypeAlias = Literal["seen", "partly", "wrong", "not seen", "not here", "failed"]
NEVER = ("swapped", "rewritten_from")  # nobody touches an address here
PLACES = {path.name: path for path in PATHS}


class Finding(NamedTuple):
    """One way: ``claimed`` tells whether the table of coverage says that it is seen here.

    ``missing`` names what the row lacks, ``wrong`` what it says instead of what was; ``why`` is the reason where
    there is no row to speak of.
    """

    way: Way
    result: Result
    claimed: bool
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    why: str = ""
    note: str = ""

    @property
    def broken(self) -> bool:
        """Whether this is not what the table of coverage says."""
        return self.result in ("wrong", "failed") or (self.result == "not seen" and self.claimed)

    def text(self) -> str:
        """All of it in a few words."""
        parts = {
            "seen": "seen",
            "partly": f"seen without {', '.join(self.missing)}" + (f" ({self.why})" if self.why else ""),
            "wrong": "seen" + (f" without {', '.join(self.missing)}" if self.missing else ""),
            "not seen": "not seen",
            "not here": f"not possible here: {self.why}",
            "failed": f"could not be tried: {self.why}",
        }[self.result]
        if self.wrong:
            parts += f", but {'; '.join(self.wrong)}"
        if self.result == "not seen":
            parts += f": {self.why}" if self.why else ""
        return parts + (f" ({self.note})" if self.note else "")


def expected(way: Way, made: Made) -> dict[str, Any]:
    """What the row of an attempt must have, by the names that findings use."""
    return {
        "entry": way.entry,
        "sockaddr": decode_sockaddr(made.address, len(made.address)),
        "fd": made.fd,
        "return": made.result,
        "verdict": way.verdict,
    }


def claimed(way: Way, observed: Observed) -> bool:
    """Whether the table of coverage says that the attached programs see this attempt."""
    path = PLACES[way.path]
    return bool(observed.attached.intersection(path.seen_by)) or (
        way.in_part and bool(observed.attached.intersection(path.partly_by))
    )


def reason(path: Path, observed: Observed) -> str:
    """Why a way that is not claimed is not seen."""
    if not observed.hierarchy and any(name.startswith("datagram_") for name in path.seen_by):
        return "no cgroup v2 hierarchy is mounted"
    tier = tier_of(observed)
    for option in tier.options:
        if any(program.name in path.seen_by for program in option.programs):
            return only_with(option, observed)
    hooks = [program.hook for program in tier.evidence if program.name in path.seen_by]
    if not hooks:
        return f"the {tier.name} tier has no program that observes it"
    return f"{' and '.join(hooks)} {'are' if len(hooks) > 1 else 'is'} not to be had here"


def tier_of(observed: Observed) -> Tier:
    """The tier of a trace."""
    (tier,) = (tier for tier in TIERS if tier.name == observed.tier)
    return tier


def only_with(option: Option, observed: Observed) -> str:
    """Why something is not seen that an option would show."""
    if option.name in observed.also:
        return f"{' and '.join(p.hook for p in option.programs)} is not to be had here"
    return f"only with --{option.name}, for which {option.payer} pays"


def lack(way: Way, missing: Sequence[str], observed: Observed) -> str:
    """Why a row lacks the result of its call, where that is all that it lacks and an option would show it."""
    if list(missing) != ["return"]:
        return ""
    path, sent = PLACES[way.path], way.entry is not None and way.entry.startswith("send")
    for option in tier_of(observed).options:
        wanted = any(program.name in path.seen_by for program in option.programs)
        if wanted or (option is SENDS and (sent or path.seen_by in (SOCKET, DATAGRAM))):
            return only_with(option, observed)
    return ""


def judge(way: Way, taken: Taken | None, observed: Observed) -> Finding:
    """What became of one way."""
    claim = claimed(way, observed)
    if taken is None:
        return Finding(way, "failed", claim, why="its process told nothing")
    if taken.failed:
        return Finding(way, "failed", claim, why=taken.failed.strip().splitlines()[-1])
    if taken.made is None:
        return Finding(way, "not here", claim, why=taken.not_here)
    rows = observed.rows.get(taken.pid, [])
    if not rows:
        why = "although it is claimed" if claim else reason(PLACES[way.path], observed)
        return Finding(way, "not seen", claim, why=why, note=taken.made.note)
    missing, wrong = compared(way, taken.made, rows[0])
    if rows[0]["connect.id"] in observed.late:
        wrong = (*wrong, "its row came only when the trace ended")
    if len(rows) > 1:
        wrong = (*wrong, f"in {len(rows)} rows: {', '.join(map(brief, rows))}")
    result: Result = "wrong" if wrong else "partly" if missing else "seen"
    return Finding(way, result, claim, missing, wrong, lack(way, missing, observed), taken.made.note)


def compared(way: Way, made: Made, row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a row lacks, and what it says that was not so."""
    missing, wrong = [], []
    for name, value in expected(way, made).items():
        told = row.get(f"connect.{name}")
        if told is None and value is not None:
            missing.append(name)
        elif told != value:
            wrong.append(f"{name} is {told}, not {value}")
    wrong += [f"it says {name}" for name in NEVER if row.get(f"connect.{name}") is not None]
    return tuple(missing), tuple(wrong)


def brief(row: dict[str, Any]) -> str:
    """A row in two words."""
    return f"{row.get('connect.entry')} {row.get('connect.verdict')}"


def findings(observed: Observed) -> list[Finding]:
    """Every way, in the order of WAYS."""
    taken = {one.way: one for one in observed.taken}
    return [judge(way, taken.get(way.name), observed) for way in WAYS]


STATES: dict[Result, State] = {
    "seen": "ok", "partly": "warn", "wrong": "no", "not seen": "no", "not here": "warn", "failed": "no",
}  # fmt: skip


def checks(found: Sequence[Finding], tier: str) -> Iterator[Check]:
    """The findings as lines of the doctor's screen."""
    broken = sum(one.broken for one in found)
    possible = sum(one.result != "not here" for one in found)
    seen = sum(one.result in ("seen", "partly") for one in found)
    told = f"with the {tier} tier, {seen} of the {possible} ways that are possible here are seen"
    if broken:
        yield Check("selftest", "no", f"{told}; {broken} not as the table of coverage says")
    else:
        yield Check("selftest", "ok", f"{told}; all as the table of coverage says")
    for one in found:
        yield Check(f"way.{one.way.name}", STATES[one.result], f"{one.way.what}: {one.text()}")


def ndjson(found: Sequence[Finding], tier: str, release: str) -> str:
    """One JSON object a way."""
    return "".join(
        json.dumps(
            {
                "way": one.way.name,
                "what": one.way.what,
                "path": one.way.path,
                "kernel": release,
                "tier": tier,
                "result": one.result,
                "claimed": one.claimed,
                "missing": list(one.missing),
                "wrong": list(one.wrong),
                "text": one.text(),
            }
        )
        + "\n"
        for one in found
    )
