"""Rules of nftables, from what `nft -j list ruleset` prints.

Rule of this file: an expression that is not known here may match (None). Source: libnftables-json(5), nft(8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from callout.ruleset.model import Chain, Packet, Rule, Test
from callout.ruleset.values import anyone, between, equal, negated

VERSIONS = {"ip": 4, "ip6": 6, "inet": 0}  # families whose hooks a locally made packet passes
QUIET = ("counter", "log", "mangle", "notrack", "quota", "synproxy", "flow", "ct helper", "meta", "comment")
NAT = ("dnat", "snat", "masquerade", "redirect", "tproxy")
FINAL = ("accept", "drop", "return", "continue", "queue")
LIMITS = ("limit", "ct count", "connlimit", "last", "fib", "socket", "osf")


class Sets:
    """Elements of the named sets and maps, by family, table and name."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[Any]] = {}

    def add(self, given: Mapping[str, Any]) -> None:
        """Takes one set or map."""
        key = (given["family"], given["table"], given["name"])
        self._found[key] = list(given.get("elem", ()))

    def get(self, family: str, table: str, name: str) -> list[Any] | None:
        """Elements of a set; None where there is no such set."""
        return self._found.get((family, table, name))


def parse(document: str, listing: str = "") -> list[Chain]:
    """Chains from the JSON of a ruleset. ``listing``: `nft -a list ruleset`, for the text of each rule.

    Raises ValueError where it is no such JSON.
    """
    objects = json.loads(document)["nftables"]
    texts = rule_texts(listing)
    sets = Sets()
    for item in objects:
        for kind in ("set", "map"):
            if kind in item:
                sets.add(item[kind])
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    for item in objects:
        if "rule" in item:
            given = item["rule"]
            where = (given["family"], given["table"], given["chain"])
            text = texts.get((*where, given["handle"]), json.dumps(given.get("expr", [])))
            rules.setdefault(where, []).extend(rules_of(given, text, sets))
    chains = []
    for item in objects:
        if "chain" in item and item["chain"]["family"] in VERSIONS:
            c = item["chain"]
            where = (c["family"], c["table"], c["name"])
            chains.append(
                Chain(
                    f"{c['family']} {c['table']}", c["name"], VERSIONS[c["family"]], c.get("hook", ""),
                    int(c.get("prio", 0)), c.get("policy", "accept"), tuple(rules.get(where, ())),
                )
            )  # fmt: skip
    return chains


def rule_texts(listing: str) -> dict[tuple[str, str, str, int], str]:
    """Text of each rule by family, table, chain and handle."""
    found = {}
    family = table = chain = ""
    for line in listing.splitlines():
        words = line.split()
        if line.startswith("table "):
            family, table = words[1], words[2]
        elif re.match(r"\tchain ", line):
            chain = words[1]
        elif match := re.fullmatch(r"\t\t(.*?) # handle (\d+)", line):
            found[family, table, chain, int(match[2])] = match[1]
    return found


def uses_xtables(document: str) -> set[tuple[str, str]]:
    """Family and name of the tables that iptables-nft made: `iptables-nft-save` tells more about them."""
    return {
        (item["rule"]["family"], item["rule"]["table"])
        for item in json.loads(document)["nftables"]
        if "rule" in item and any("xt" in expr for expr in item["rule"].get("expr", ()))
    }


def rules_of(given: Mapping[str, Any], text: str, sets: Sets) -> list[Rule]:
    """One rule, as several where a verdict map has several verdicts."""
    place = f"{given['family']} {given['table']} {given['chain']}"
    tests: list[Test] = []
    packets = None
    for expr in given.get("expr", ()):
        (kind, value), *_ = expr.items()
        if kind == "match":
            tests.append(match_test(value, given, sets))
        elif kind == "counter" and isinstance(value, Mapping):
            packets = value.get("packets")
        elif kind in ("jump", "goto"):
            return [Rule(tuple(tests), kind, text, place, value["target"], packets)]
        elif kind == "reject":
            return [Rule(tuple(tests), "reject", text, place, "", packets)]
        elif kind in NAT:
            return [Rule(tuple(tests), "nat", text, place, "", packets)]
        elif kind in FINAL:
            return [Rule(tuple(tests), kind, text, place, "", packets)]
        elif kind == "vmap":
            return verdict_map(value, tests, given, text, place, packets, sets)
        elif kind == "xt":
            known = xtables(value)
            if isinstance(known, str):
                return [Rule(tuple(tests), known, text, place, "", packets)]
            tests.append(known)
        elif kind not in QUIET:
            tests.append(unknown)
    return [Rule(tuple(tests), "continue", text, place, "", packets)]


def unknown(packet: Packet) -> bool | None:
    """What cannot be evaluated may match."""
    return None


def always(packet: Packet) -> bool | None:
    """What is no condition."""
    return True


def xtables(value: Mapping[str, Any] | None) -> str | Test:
    """A match or target of iptables-nft, of which nft prints only the name."""
    given = value or {}
    if given.get("type") == "target":
        return {"REJECT": "reject", "DNAT": "nat", "SNAT": "nat", "MASQUERADE": "nat", "REDIRECT": "nat"}.get(
            str(given.get("name")), "continue"
        )
    return always if given.get("name") == "comment" else unknown


def match_test(match: Mapping[str, Any], rule: Mapping[str, Any], sets: Sets) -> Test:
    """A test from one match."""
    left, right, op = match["left"], match["right"], match["op"]

    def test(packet: Packet) -> bool | None:
        if guard(left, packet) is False:
            return False
        have = value_of(left, packet)
        if op in ("==", "in"):
            return fits(have, right, rule, sets)
        if op == "!=":
            return negated(fits(have, right, rule, sets))
        if isinstance(have, int) and isinstance(right, int):
            return {"<": have < right, ">": have > right, "<=": have <= right, ">=": have >= right}.get(op)
        return None

    return test


def guard(left: Any, packet: Packet) -> bool | None:
    """False where a rule looks at a header that the packet does not have: it then never matches, not even with !=."""
    if isinstance(left, Mapping):
        if "concat" in left:
            return not any(guard(part, packet) is False for part in left["concat"])
        if "&" in left:
            return guard(left["&"][0], packet)
        protocol = left.get("payload", {}).get("protocol")
        if protocol in ("ip", "ip6"):
            return {"ip": 4, "ip6": 6}[protocol] == packet.version
        if protocol in ("tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmpv6"):
            return bool(protocol == packet.protocol)
    return True


def value_of(left: Any, packet: Packet) -> Any:
    """The value of a packet that an expression reads; None where it is not known."""
    if not isinstance(left, Mapping) or not left:
        return None
    (kind, given), *_ = left.items()
    if kind == "payload":
        field = given.get("field")
        return {
            "saddr": packet.source, "daddr": packet.destination, "sport": packet.sport, "dport": packet.dport,
            "protocol": packet.protocol, "nexthdr": packet.protocol,
            "flags": packet.flags if given.get("protocol") == "tcp" else None,
        }.get(field)  # fmt: skip
    if kind == "meta":
        return {
            "l4proto": packet.protocol, "oifname": packet.oif, "iifname": packet.iif, "oif": packet.oif,
            "iif": packet.iif, "skuid": packet.uid, "skgid": packet.gid, "mark": packet.mark,
            "nfproto": f"ipv{packet.version}", "protocol": {4: "ip", 6: "ip6"}[packet.version],
        }.get(given.get("key"))  # fmt: skip
    if kind == "ct":
        key = given.get("key")
        return {
            "state": packet.state,
            "direction": "original" if packet.state == "new" else "reply",
        }.get(key)
    if kind == "concat":
        return [value_of(part, packet) for part in given]
    if kind == "&" and isinstance(given, list) and isinstance(have := value_of(given[0], packet), frozenset):
        mask = given[1] if isinstance(given[1], list) else [given[1]]
        return have & set(mask)
    return None


def fits(have: Any, want: Any, rule: Mapping[str, Any], sets: Sets) -> bool | None:
    """Whether a value is, or is among, what a rule asks for."""
    if have is None:
        return None
    if isinstance(want, str) and want.startswith("@"):
        elements = sets.get(rule["family"], rule["table"], want[1:])
        return None if elements is None else anyone([fits(have, one, rule, sets) for one in elements])
    if isinstance(have, frozenset):  # TCP flags
        wanted = {want} if isinstance(want, str) else set(want) if isinstance(want, list) else None
        return None if wanted is None else have == wanted
    if isinstance(want, list):
        return anyone([fits(have, one, rule, sets) for one in want])
    if isinstance(want, Mapping):
        if "set" in want:
            return anyone([fits(have, one, rule, sets) for one in want["set"]])
        if "prefix" in want:
            return equal(have, f"{want['prefix']['addr']}/{want['prefix']['len']}")
        if "range" in want:
            return between(have, *want["range"])
        if "elem" in want:
            return fits(have, want["elem"]["val"], rule, sets)
        if "concat" in want and isinstance(have, list) and len(have) == len(want["concat"]):
            results = [
                fits(mine, theirs, rule, sets) for mine, theirs in zip(have, want["concat"], strict=True)
            ]
            return False if False in results else None if None in results else True
        return None
    return equal(have, want)


def verdict_map(
    value: Mapping[str, Any], before: list[Test], rule: Mapping[str, Any], text: str, place: str,
    packets: int | None, sets: Sets,
) -> list[Rule]:  # fmt: skip
    """A rule for each verdict of a map."""
    data = value["data"]
    elements: list[Any] | None
    if isinstance(data, str):
        elements = sets.get(rule["family"], rule["table"], data.lstrip("@"))
    else:
        elements = data.get("set")
    if elements is None:
        return [Rule((*before, unknown), "drop", text, place, "", packets)]
    found = []
    for key, verdict in elements:
        (action, target), *_ = verdict.items()
        test = match_test({"left": value["key"], "right": key, "op": "=="}, rule, sets)
        name = target["target"] if isinstance(target, Mapping) else ""
        found.append(Rule((*before, test), action, text, place, name, packets))
    return found
