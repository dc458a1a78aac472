"""From records to evidence, and from evidence to the columns that judge: once per distinct combination.

Rule of this file: it only gathers; the words come from ``verdict`` and ``cause``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from callout import verdict
from callout.batch import Array, Column, compact, distinct
from callout.cause import Judgement, judge
from callout.verdict import Evidence

AF_INET, AF_INET6 = 2, 10
IPPROTO_MPTCP = 262
SENDERS = 256  # of ICMP errors, in one batch
IO_URING = 4  # its refusals are seen where they are seen, but not for certain: it may retry elsewhere
LOOPBACK4 = 127  # first byte of 127.0.0.0/8, all of which is this host
MULTICAST4 = 224  # first byte of 224.0.0.0/4
SPECIAL = ("", "multicast", "mapped", "link_local")
REFUSERS = frozenset({"lsm", "cgroup", "unix_send"})

# What a judgement rests on, as one contiguous key per row.
COPIED = ("family", "type", "state", "protocol", "entry", "addrlen", "ret", "flags", "err", "soft", "drop", "syns",
          "phase", "icmp_type", "icmp_code", "icmp_err", "denier", "standing")  # fmt: skip
KEY = np.dtype(
    [
        ("family", "u2"), ("type", "u1"), ("state", "u1"), ("protocol", "u2"), ("asked", "u2"),
        ("addrlen", "i4"), ("ret", "i4"),
        ("flags", "u4"), ("err", "u2"), ("soft", "u2"),
        ("drop", "u2"), ("syns", "u1"), ("phase", "u1"), ("local", "u1"), ("bound", "u1"), ("entry", "u1"),
        ("denier", "u1"),
        ("icmp_type", "u1"), ("icmp_code", "u1"), ("special", "u1"), ("standing", "u1"), ("icmp_err", "u2"),
        ("sender", "u2"),
    ]
)  # fmt: skip


class Judging:
    """The judged columns of one array of records."""

    def __init__(self, records: Array, flags: dict[str, int], phases: dict[str, int],
                 deniers: dict[int, str], drop_reason: Callable[[int], str],
                 watched: frozenset[str] = frozenset()) -> None:  # fmt: skip
        self.r = records
        self._watched = watched
        self._senders: list[str] = []
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
            k["local"] = (r["daddr"] == r["saddr"]).all(axis=1) | (
                (r["peer_family"] == AF_INET) & (r["daddr"][:, 0] == LOOPBACK4)
            )
            k["bound"] = r["bound"] != 0
            k["special"] = special(r["sockaddr"], k["asked"])
            k["sender"] = self._number_senders()
            codes, first = distinct(k)
            found = [
                self._evidence(dict(zip(KEY.names or (), row, strict=True))) for row in k[first].tolist()
            ]
            self._judged = codes, [(e, judge(e)) for e in found]
        return self._judged

    def _number_senders(self) -> Array:
        """Number of each row's ICMP sender among ``_senders``: few rows have one."""
        numbers = np.zeros(len(self.r), np.uint16)
        rows = np.flatnonzero(self.r["flags"] & self._flags["FLAG_ICMP"])
        self._senders = [""]
        for row in rows.tolist():
            six = self.r["flags"][row] & self._flags["FLAG_ICMP6"]
            raw = self.r["icmp_from"][row].tobytes()
            sender = (
                socket.inet_ntop(socket.AF_INET6, raw) if six else socket.inet_ntop(socket.AF_INET, raw[:4])
            )
            if sender not in self._senders and len(self._senders) < SENDERS:
                self._senders.append(sender)
            numbers[row] = self._senders.index(sender) if sender in self._senders else 0
        return numbers

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
            icmp=(6 if has["icmp6"] else 4, v["icmp_type"], v["icmp_code"]) if has["icmp"] else None,
            icmp_err=v["icmp_err"], icmp_here=has["icmp_here"], icmp_from=self._senders[v["sender"]],
            denier=self._deniers.get(v["denier"], ""),
            followed=has["followed"] and (has["subflow"] or v["protocol"] != IPPROTO_MPTCP),
            rst=has["rst"], exiting=has["exiting"],
            local=bool(v["local"]) or has["rst_here"], bound=bool(v["bound"]), special=SPECIAL[v["special"]],
            no_file=has["no_file"], not_socket=has["not_socket"], unreadable=has["unreadable"],
            sent=has["sent"],
            given_up=v["phase"] == self._phases["PHASE_PENDING"],
            deferred=has["deferred"], fastopen=has["fastopen"], standing=v["standing"], listening=has["listening"],
            programs=has["programs"], broadcast=has["broadcast"], six_only=has["six_only"], undone=has["undone"],
            from_loopback=has["from_loopback"],
            watched=self._watched - REFUSERS if v["entry"] == IO_URING else self._watched,
        )  # fmt: skip


def special(addresses: Array, families: Array) -> Array:
    """Where the address asked for is one that not every socket can call, by number in SPECIAL (see Evidence)."""
    first = addresses[:, :24]
    multicast = (families == AF_INET) & (first[:, 4] & 0xF0 == MULTICAST4)
    found = multicast.astype(np.uint8)
    six = families == AF_INET6
    if six.any():
        mapped = ~first[:, 8:18].any(axis=1) & (first[:, 18:20] == 0xFF).all(axis=1)
        link = (first[:, 8] == 0xFE) & (first[:, 9] & 0xC0 == 0x80) & ~addresses[:, 24:28].any(axis=1)
        found[six & (first[:, 8] == 0xFF)] = SPECIAL.index("multicast")
        found[six & mapped] = SPECIAL.index("mapped")
        found[six & link] = SPECIAL.index("link_local")
    return np.asarray(found)


def final_verdict(e: Evidence, j: Judgement) -> str | None:
    """connect.verdict; none yet on a row of --phases."""
    return None if e.ret is None and e.state is None and not e.given_up and not e.sent else j.verdict


def event_type(e: Evidence, j: Judgement) -> list[str]:
    """ECS event.type."""
    return ["connection", "denied"] if j.verdict == "denied" else ["connection", "start"]


def outcome(e: Evidence, j: Judgement) -> str:
    """ECS event.outcome."""
    if j.verdict == "pending" or (e.sent and j.verdict in verdict.SUCCESS):
        return "unknown"  # what was sent may reach nobody
    return "success" if j.verdict in verdict.SUCCESS else "failure"


def evidence(e: Evidence, j: Judgement) -> dict[str, Any] | None:
    """connect.evidence: only what was seen."""
    seen: dict[str, Any] = {}
    if e.rst:
        seen["rst"] = True
    if e.followed and not e.deferred and (e.syns or j.verdict not in verdict.SUCCESS):
        seen["syns"] = e.syns + 1
    if e.icmp:
        seen["icmp"] = {"type": e.icmp[1], "code": e.icmp[2]} | ({"from": e.icmp_from} if e.icmp_from else {})
    if e.soft:
        seen["soft_error"] = verdict.errno_name(e.soft)
    if e.drop:
        seen["drop_reason"] = e.drop
    if e.denier:
        seen["denied_by"] = e.denier
    return seen or None
