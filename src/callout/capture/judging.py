"""From records to evidence, and from evidence to the columns that judge: once per distinct combination.

Rule of this file: it only gathers; the words come from ``verdict`` and ``cause``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from callout import verdict
from callout.batch import Array, Column, compact, distinct
from callout.cause import Judgement, judge
from callout.verdict import Evidence

AF_INET, AF_INET6 = 2, 10
MULTICAST4 = 224  # first byte: 224.0.0.0/4, then reserved addresses up to the limited broadcast

# What a judgement rests on, as one contiguous key per row.
COPIED = ("family", "type", "state", "protocol", "entry", "addrlen", "ret", "flags", "err", "soft", "drop", "syns",
          "phase", "icmp_type", "icmp_code", "denier")  # fmt: skip
KEY = np.dtype(
    [
        ("family", "u2"), ("type", "u1"), ("state", "u1"), ("protocol", "u2"), ("asked", "u2"),
        ("addrlen", "i4"), ("ret", "i4"),
        ("flags", "u4"), ("err", "u2"), ("soft", "u2"),
        ("drop", "u2"), ("syns", "u1"), ("phase", "u1"), ("local", "u1"), ("bound", "u1"), ("entry", "u1"),
        ("denier", "u1"),
        ("icmp_type", "u1"), ("icmp_code", "u1"), ("special", "u1"), ("pad", "V5"),
    ]
)  # fmt: skip


class Judging:
    """The judged columns of one array of records."""

    def __init__(self, records: Array, flags: dict[str, int], phases: dict[str, int],
                 deniers: dict[int, str], drop_reason: Callable[[int], str]) -> None:  # fmt: skip
        self.r = records
        self._flags, self._phases, self._deniers = flags, phases, deniers
        self._drop_reason = drop_reason
        self._judged: tuple[Array, list[tuple[Evidence, Judgement]]] | None = None

    def column(self, value: Callable[[Evidence, Judgement], Any]) -> Column:
        """A column that depends on the evidence alone."""
        codes, pairs = self.judged()
        return compact(codes, [value(e, j) for e, j in pairs])

    def judged(self) -> tuple[Array, list[tuple[Evidence, Judgement]]]:
        """Number of each row's evidence, and the distinct ones with their judgement."""
        if self._judged is None:
            r = self.r
            k = np.zeros(len(r), KEY)
            for name in COPIED:
                k[name] = r[name]
            k["asked"] = np.ascontiguousarray(r["sockaddr"][:, :2]).view("<u2").ravel()
            k["local"] = (r["daddr"] == r["saddr"]).all(axis=1)
            k["bound"] = r["bound"] != 0
            k["special"] = special(r["sockaddr"], k["asked"])
            codes, first = distinct(k)
            found = [
                self._evidence(dict(zip(KEY.names or (), row, strict=True))) for row in k[first].tolist()
            ]
            self._judged = codes, [(e, judge(e)) for e in found]
        return self._judged

    def _evidence(self, v: dict[str, Any]) -> Evidence:
        has = {
            name.removeprefix("FLAG_").lower(): bool(v["flags"] & bit) for name, bit in self._flags.items()
        }
        return Evidence(
            family=v["family"], type=v["type"], protocol=v["protocol"],
            asked_family=0 if has["unreadable"] or v["addrlen"] < 2 else v["asked"],
            addrlen=v["addrlen"],
            ret=v["ret"] if has["returned"] else None,
            state=v["state"] if has["settled"] else None,
            err=v["err"], soft=v["soft"], syns=v["syns"],
            drop=self._drop_reason(v["drop"]) if v["drop"] else "",
            icmp=(v["icmp_type"], v["icmp_code"]) if has["icmp"] else None,
            denier=self._deniers.get(v["denier"], ""),
            followed=has["followed"], rst=has["rst"], exiting=has["exiting"],
            local=bool(v["local"]), bound=bool(v["bound"]), special=bool(v["special"]),
            no_file=has["no_file"], not_socket=has["not_socket"], unreadable=has["unreadable"],
            sent=has["sent"],
            given_up=v["phase"] == self._phases["PHASE_PENDING"],
        )  # fmt: skip


def special(addresses: Array, families: Array) -> Array:
    """Where the address asked for is one that no route makes callable (see Evidence)."""
    first = addresses[:, :24]
    found: Array = (families == AF_INET) & (first[:, 4] >= MULTICAST4)
    six = families == AF_INET6
    if six.any():
        mapped = ~first[:, 8:18].any(axis=1) & (first[:, 18:20] == 0xFF).all(axis=1)
        link = (first[:, 8] == 0xFE) & (first[:, 9] & 0xC0 == 0x80) & ~addresses[:, 24:28].any(axis=1)
        found |= six & ((first[:, 8] == 0xFF) | mapped | link)
    return found


def final_verdict(e: Evidence, j: Judgement) -> str | None:
    """connect.verdict; none yet on a row of --phases."""
    return None if e.ret is None and e.state is None and not e.given_up and not e.sent else j.verdict


def event_type(e: Evidence, j: Judgement) -> list[str]:
    """ECS event.type."""
    return ["connection", "denied"] if j.verdict == "denied" else ["connection", "start"]


def outcome(e: Evidence, j: Judgement) -> str:
    """ECS event.outcome."""
    if e.sent or j.verdict == "pending":
        return "unknown"
    return "success" if j.verdict in verdict.SUCCESS else "failure"


def evidence(e: Evidence, j: Judgement) -> dict[str, Any] | None:
    """connect.evidence: only what was seen."""
    seen: dict[str, Any] = {}
    if e.rst:
        seen["rst"] = True
    if e.followed and (e.syns or j.verdict not in verdict.SUCCESS):
        seen["syns"] = e.syns + 1
    if e.icmp:
        seen["icmp"] = {"type": e.icmp[0], "code": e.icmp[1]}
    if e.soft:
        seen["soft_error"] = verdict.errno_name(e.soft)
    if e.drop:
        seen["drop_reason"] = e.drop
    if e.denier:
        seen["denied_by"] = e.denier
    return seen or None
