"""Which name an address had, for whom, and when.

Rule of this file: pure, bounded, and never more sure than it can be. An answer counts for an attempt only if it came
before it. Who asked comes first: the process itself, then its cgroup (container, unit, session), then anybody in the
network namespace; among those answers that have not expired, then the latest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from callout.enrich.fair import Fair, Limits
from callout.footprint import Table, table

Confidence: TypeAlias = Literal["high", "medium", "low"]
SECOND = 1_000_000_000

LIMITS = Limits(owner=1024, group=16384, total=65536)  # some 25 MB at most
SHARED = 128  # names of one address in one namespace
AT_LEAST = 10 * SECOND  # in which who asked connects, whatever the answer's time to live
AT_MOST = 7 * 86_400 * SECOND
GRACE = 3600 * SECOND  # after its time, in which a name is still told: applications keep addresses for longer
SWEEP = 60 * SECOND
LONGEST = 1000  # bytes by which a name may be longer than usual: 255 bytes, four characters each
ENTRY = 700  # bytes of one entry with its keys, as measured by tests/test_nametable.py


class Asker(NamedTuple):
    """Who asked: the process, None where nobody was seen to ask this question, and the cgroup's id.

    ``process``: start on CLOCK_BOOTTIME and pid.
    """

    process: tuple[int, int] | None
    cgroup: int


class Found(NamedTuple):
    """A name for an attempt; ``when`` the answer came, in ns of CLOCK_BOOTTIME."""

    name: str
    when: int
    confidence: Confidence


def closeness(asked: Asker, attempted: Asker) -> int:
    """2 if the same process asked, 1 if one in the same cgroup, 0 if another one, or nobody who was seen."""
    if asked.process is None:
        return 0
    if asked.process == attempted.process:
        return 2
    return int(asked.cgroup == attempted.cgroup)


@dataclass(slots=True)
class Answer:
    """``before``: when the same answer came the time before, 0 if it did not."""

    name: str
    asker: Asker
    when: int
    before: int
    expires: int

    def seen(self, now: int) -> int:
        """When it came last, as of ``now``; 0 if it came later."""
        return self.when if self.when <= now else self.before if self.before <= now else 0


Place: TypeAlias = tuple[int, str]  # network namespace, address
Key: TypeAlias = tuple[int, str, Asker, str]  # place, asker, name


class NameTable:
    """The answers. Times are ns of CLOCK_BOOTTIME; they must not go back by much."""

    def __init__(self, limits: Limits = LIMITS, at_least: int = AT_LEAST) -> None:
        self._at_least = at_least
        self._answers: Fair[Key, Answer] = Fair(limits, self._dropped)
        self._most = limits.total
        self._by_place: dict[Place, dict[Key, Answer]] = {}
        self._swept = 0
        self.latest = 0  # when the last answer came

    def __len__(self) -> int:
        return len(self._answers)

    def memory(self) -> Table:
        """What is kept, about."""
        return table("names: answers", len(self._answers), self._most, ENTRY, LONGEST)

    def add(self, netns: int, address: str, name: str, asker: Asker, when: int, ttl: int) -> None:
        """An answer came: ``address`` may be kept as that of ``name`` for ``ttl`` seconds."""
        key = netns, address, asker, name
        expires = when + min(max(ttl * SECOND, self._at_least), AT_MOST)
        place = self._by_place.setdefault((netns, address), {})
        old = place.pop(key, None)
        if old is None and len(place) >= SHARED:
            self._answers.drop(self._crowding(place))
            place = self._by_place.setdefault((netns, address), place)
        answer = Answer(name, asker, when, old.when if old else 0, expires)
        place[key] = answer
        self._answers.put(netns, asker, key, answer)
        self.latest = max(self.latest, when)
        if when - self._swept > SWEEP:
            self._sweep(when)

    def find(self, netns: int, address: str, asker: Asker, now: int) -> Found | None:
        """The name that an attempt at ``now`` is for, as far as the answers tell."""
        best: tuple[int, bool, int] | None = None
        names: set[str] = set()
        chosen = ""
        for answer in self._by_place.get((netns, address), {}).values():
            when = answer.seen(now)
            if not when or answer.expires + GRACE < now:
                continue
            rank = closeness(answer.asker, asker), answer.expires >= now, when
            if best is None or rank[:2] > best[:2]:
                names.clear()
            if best is None or rank[:2] >= best[:2]:
                names.add(answer.name)
            if best is None or rank > best:
                best, chosen = rank, answer.name
        if best is None:
            return None
        doubts = (2 - best[0]) + (not best[1]) + (len(names) > 1)
        return Found(chosen, best[2], ("high", "medium", "low")[min(doubts, 2)])

    def changed(self, netns: int, address: str, since: int, until: int) -> bool:
        """Whether an answer about an address came after ``since``, up to ``until``."""
        place = self._by_place.get((netns, address), {})
        return any(
            since < time <= until for answer in place.values() for time in (answer.when, answer.before)
        )

    def _crowding(self, place: dict[Key, Answer]) -> Key:
        """The oldest entry of the asker who has most names for this address."""
        counts: dict[Asker, int] = {}
        for key in place:
            counts[key[2]] = counts.get(key[2], 0) + 1
        most = max(counts, key=lambda asker: counts[asker])
        return next(key for key in place if key[2] == most)

    def _dropped(self, key: Key, answer: Answer) -> None:
        place = self._by_place.get(key[:2])
        if place is not None:
            place.pop(key, None)
            if not place:
                del self._by_place[key[:2]]

    def _sweep(self, now: int) -> None:
        self._swept = now
        gone = [
            key
            for place in self._by_place.values()
            for key, answer in place.items()
            if answer.expires + GRACE < now
        ]
        for key in gone:
            self._answers.drop(key)
