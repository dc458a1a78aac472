"""Rules of iptables, from what `iptables-save -c` (legacy or nft) prints.

Rule of this file: an option that is not known here may match (None). Source: iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from callout.ruleset.model import Chain, Packet, Rule, Test
from callout.ruleset.values import anyone, between, equal, negated

HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
# priorities of the tables at a hook: enum nf_ip_hook_priorities, linux/netfilter_ipv4.h
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
ACTIONS = {
    "ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return", "QUEUE": "queue",
    "NFQUEUE": "queue", "DNAT": "nat", "SNAT": "nat", "MASQUERADE": "nat", "REDIRECT": "nat", "TPROXY": "nat",
}  # fmt: skip
QUIET = {
    "LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CT", "NOTRACK", "TOS", "DSCP", "TRACE", "CHECKSUM", "AUDIT",
    "SET", "CLASSIFY", "TEE", "RATEEST", "SECMARK", "CONNSECMARK", "IDLETIMER", "HL", "TTL", "ULOG",
}  # fmt: skip
SILENT = {
    "--comment",
    "--reject-with",
    "--log-prefix",
    "--log-level",
    "--to-destination",
    "--to-ports",
    "--to-source",
}


def parse(text: str, version: int, tool: str = "iptables") -> list[Chain]:
    """Chains from a listing for IPv4 (4) or IPv6 (6)."""
    table = ""
    order: list[tuple[str, str, str]] = []
    rules: dict[tuple[str, str], list[Rule]] = {}
    names: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            order.append((table, name, policy))
            names.setdefault(table, set()).add(name)
        elif match := re.match(r"(?:\[(\d+):\d+\] )?-A (\S+)(?: (.*))?$", line):
            rule = rule_of(
                match[3] or "", f"{tool} {table} {match[2]}", match[1], names.get(table, set()), line
            )
            rules.setdefault((table, match[2]), []).append(rule)
    return [
        Chain(
            f"{tool} {table}", name, version, HOOKS.get(name, ""), PRIORITIES.get(table, 0),
            {"DROP": "drop"}.get(policy, "accept"), tuple(rules.get((table, name), ())),
        )
        for table, name, policy in order
    ]  # fmt: skip


def rule_of(options: str, place: str, packets: str | None, chains: set[str], line: str) -> Rule:
    """One rule."""
    tests: list[Test] = []
    action, target = "continue", ""
    try:
        words = shlex.split(options)
    except ValueError:
        words, tests = [], [lambda packet: None]
    for name, values, inverted in parts(words):
        if name in ("-j", "-g"):
            where = values[0] if values else ""
            if where in chains:
                action, target = ("jump" if name == "-j" else "goto"), where
            else:
                action = ACTIONS.get(where, "continue")
                if action == "continue" and where not in QUIET:
                    tests.append(lambda packet: None)
        elif name not in ("-m", "--match") and name not in SILENT:
            tests.append(test_of(name, values, inverted))
    text = re.sub(r"^\[\d+:\d+\] ", "", line)
    return Rule(tuple(tests), action, text, place, target, None if packets is None else int(packets))


def parts(words: list[str]) -> Iterator[tuple[str, list[str], bool]]:
    """Options with their values; True where a `!` stands before one."""
    name, inverted, following = "", False, False
    values: list[str] = []
    for word in words:
        if word == "!":
            if name:
                yield name, values, inverted
            name, values, following = "", [], True
        elif re.match(r"--?[a-z]", word):
            if name:
                yield name, values, inverted
            name, values, inverted, following = word, [], following, False
        else:
            values.append(word)
    if name:
        yield name, values, inverted


def test_of(name: str, values: list[str], inverted: bool) -> Test:
    """A test from one option."""

    def test(packet: Packet) -> bool | None:
        result = check(name, values, packet)
        return negated(result) if inverted else result

    return test


def check(name: str, values: list[str], packet: Packet) -> bool | None:
    """Whether a packet fits one option."""
    value = values[0] if values else ""
    if name in ("-s", "--source", "-d", "--destination"):
        return equal(packet.source if name in ("-s", "--source") else packet.destination, value)
    if name in ("-p", "--protocol"):
        return value in (packet.protocol, "all", {"tcp": "6", "udp": "17"}.get(packet.protocol))
    if name in ("-o", "--out-interface"):
        return equal(packet.oif, value)
    if name in ("-i", "--in-interface"):
        return equal(packet.iif, value)
    if name in ("--dport", "--dports", "--destination-port"):
        return among(packet.dport, value)
    if name in ("--sport", "--sports", "--source-port"):
        return among(packet.sport, value)
    if name in ("--ctstate", "--state"):
        return packet.state.upper() in value.split(",")
    if name == "--syn":
        return packet.flags == {"syn"}
    if name == "--tcp-flags" and len(values) == 2:
        mask, want = ({flag.lower() for flag in part.split(",")} for part in values)
        return packet.flags & mask == want - {"none"}
    if name == "--uid-owner" and packet.uid is not None and value.isdigit():
        return packet.uid == int(value)
    if name == "--gid-owner" and packet.gid is not None and value.isdigit():
        return packet.gid == int(value)
    if name in ("--src-range", "--dst-range"):
        return between(packet.source if name == "--src-range" else packet.destination, *value.split("-", 1))
    return None


def among(port: int | None, text: str) -> bool | None:
    """Whether a port is among ``80,443,1000:2000``."""
    results = []
    for part in text.split(","):
        low, colon, high = part.partition(":")
        results.append(between(port, low or "0", high or "65535") if colon else equal(port, part))
    return anyone(results)
