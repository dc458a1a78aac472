"""What rules make of a packet, by hand-written cases. tests/kernel/test_firewall.py compares with a real kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from callout.ruleset import Packet, decide, nft
from callout.ruleset import iptables as tables

SYN = Packet(4, "tcp", "192.0.2.1", "192.0.2.9", 40000, 443, oif="eth0", uid=0, gid=0)
SIX = replace(SYN, version=6, source="2001:db8::1", destination="2001:db8::9")


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


DADDR = {"payload": {"protocol": "ip", "field": "daddr"}}
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}


def ruleset(*rules: list[Any], policy: str = "accept", extra: list[Any] | None = None) -> str:
    chain = {"family": "inet", "table": "t", "name": "o", "handle": 1, "type": "filter", "hook": "output",
             "prio": 0, "policy": policy}  # fmt: skip
    made = [
        {"rule": {"family": "inet", "table": "t", "chain": "o", "handle": 10 + i, "expr": expr}}
        for i, expr in enumerate(rules)
    ]
    return json.dumps({"nftables": [{"chain": chain}, *(extra or []), *made]})


@pytest.mark.parametrize(
    ("expr", "packet", "action"),
    [
        ([match(DADDR, "192.0.2.9"), {"drop": None}], SYN, "drop"),
        ([match(DADDR, "192.0.2.8"), {"drop": None}], SYN, "accept"),
        ([match(DADDR, {"prefix": {"addr": "192.0.2.0", "len": 24}}), {"reject": None}], SYN, "reject"),
        ([match(DADDR, "192.0.2.9", "!="), {"drop": None}], SYN, "accept"),
        ([match(DADDR, "192.0.2.8", "!="), {"drop": None}], SIX, "accept"),  # no such header: no match at all
        ([match(DPORT, {"set": [80, 443]}), {"drop": None}], SYN, "drop"),
        ([match(DPORT, {"set": [80, {"range": [400, 500]}]}), {"drop": None}], SYN, "drop"),
        ([match(DPORT, {"range": [1, 100]}), {"drop": None}], SYN, "accept"),
        ([match(DPORT, 1024, "<"), {"drop": None}], SYN, "drop"),
        ([match({"meta": {"key": "oifname"}}, "eth*"), {"drop": None}], SYN, "drop"),
        ([match({"meta": {"key": "skuid"}}, 0), {"drop": None}], SYN, "drop"),
        ([match({"meta": {"key": "l4proto"}}, "udp"), {"drop": None}], SYN, "accept"),
        ([match({"ct": {"key": "state"}}, ["established", "related"], "in"), {"drop": None}], SYN, "accept"),
        ([match({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "ack"]]}, "syn"),
          {"drop": None}], SYN, "drop"),
        ([match({"concat": [DADDR, DPORT]}, {"set": [{"concat": ["192.0.2.9", 443]}]}), {"drop": None}],
         SYN, "drop"),
        ([{"vmap": {"key": DPORT, "data": {"set": [[22, {"drop": None}], [443, {"drop": None}]]}}}], SYN, "drop"),
        ([match(DADDR, "@bad"), {"drop": None}], SYN, "drop"),
        ([{"counter": {"packets": 1, "bytes": 2}}, {"log": {}}], SYN, "accept"),
    ],
    ids=range(18),
)  # fmt: skip
def test_nft(expr: list[dict[str, Any]], packet: Packet, action: str) -> None:
    named = {"set": {"family": "inet", "table": "t", "name": "bad", "elem": [{"prefix": {"addr": "192.0.2.8",
             "len": 29}}, "10.0.0.1"]}}  # fmt: skip
    decision = decide(nft.parse(ruleset(expr, extra=[named])), "output", packet)
    assert (decision.action, decision.certain) == (action, True)


def test_jumps_return_and_accept_ends_only_its_chain() -> None:
    inner = {"chain": {"family": "inet", "table": "t", "name": "x", "handle": 2}}
    inside = {"rule": {"family": "inet", "table": "t", "chain": "x", "handle": 3,
                       "expr": [match(DPORT, 22), {"drop": None}]}}  # fmt: skip
    second = {"chain": {"family": "ip", "table": "late", "name": "o", "handle": 9, "hook": "output", "prio": 10,
                        "policy": "drop"}}  # fmt: skip
    chains = nft.parse(ruleset([{"jump": {"target": "x"}}], [{"accept": None}], extra=[inner, inside]))
    assert decide(chains, "output", SYN).action == "accept"
    assert decide(chains, "output", replace(SYN, dport=22)).action == "drop"
    chains = nft.parse(ruleset([{"accept": None}], extra=[second]))
    assert decide(chains, "output", SYN).policy == "ip late o"
    assert decide(chains, "output", SIX).action == "accept"
    assert decide(chains, "input", SYN).action == "accept"


def test_what_is_not_understood_leaves_it_open() -> None:
    strange = [{"socket": {"key": "mark"}}, {"drop": None}]
    decision = decide(nft.parse(ruleset(strange)), "output", SYN)
    assert (decision.action, decision.certain, len(decision.doubtful)) == ("accept", False, 1)
    saving = [{"limit": {"rate": 1, "per": "second"}}, {"accept": None}]
    decision = decide(nft.parse(ruleset(saving, [{"drop": None}])), "output", SYN)
    assert (decision.action, decision.certain) == ("drop", False)
    decision = decide(nft.parse(ruleset(strange, [{"drop": None}])), "output", SYN)
    assert (decision.action, decision.certain) == ("drop", True)
    decision = decide(nft.parse(ruleset(saving, policy="drop")), "output", SYN)
    assert (decision.action, decision.certain) == ("drop", False)


def test_texts_of_rules() -> None:
    listing = (
        "table inet t { # handle 1\n\tchain o { # handle 1\n\t\ttcp dport 443 drop # handle 10\n\t}\n}\n"
    )
    (chain,) = nft.parse(ruleset([match(DPORT, 443), {"counter": {"packets": 7}}, {"drop": None}]), listing)
    decision = decide([chain], "output", SYN)
    assert decision.rule is not None
    assert (decision.rule.text, decision.rule.place, decision.rule.packets) == (
        "tcp dport 443 drop",
        "inet t o",
        7,
    )


SAVED = """\
# Generated
*filter
:INPUT ACCEPT [0:0]
:OUTPUT {policy} [0:0]
:mine - [0:0]
{rules}
COMMIT
"""


@pytest.mark.parametrize(
    ("rules", "action", "certain"),
    [
        ("[3:180] -A OUTPUT -d 192.0.2.0/24 -p tcp -m tcp --dport 443 -j DROP", "drop", True),
        ("-A OUTPUT ! -d 192.0.2.0/24 -j DROP", "accept", True),
        ("-A OUTPUT -p tcp -m multiport --dports 80,440:450 -j REJECT --reject-with tcp-reset", "reject", True),
        ("-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A OUTPUT -j mine\n-A mine -o eth+ -j DROP",
         "drop", True),
        ("-A OUTPUT -m owner --uid-owner 0 -j DROP", "drop", True),
        ("-A OUTPUT -m owner --uid-owner 1000 -j DROP", "accept", True),
        ('-A OUTPUT -m comment --comment "no -j DROP here" -j ACCEPT', "accept", True),
        ("-A OUTPUT -m geoip --dst-cc XX -j DROP", "accept", False),
        ("-A OUTPUT -p udp -j DROP", "accept", True),
        ("-A OUTPUT -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", "drop", True),
        ("-A OUTPUT -j LOG --log-prefix x\n-A OUTPUT -m iprange --dst-range 192.0.2.1-192.0.2.9 -j DROP", "drop", True),
    ],
    ids=range(11),
)  # fmt: skip
def test_iptables(rules: str, action: str, certain: bool) -> None:
    decision = decide(tables.parse(SAVED.format(rules=rules, policy="ACCEPT"), 4), "output", SYN)
    assert (decision.action, decision.certain) == (action, certain)


def test_a_policy_of_iptables() -> None:
    chains = tables.parse(SAVED.format(rules="-A OUTPUT -p udp -j ACCEPT", policy="DROP"), 4)
    decision = decide(chains, "output", SYN)
    assert (decision.action, decision.policy) == ("drop", "iptables filter OUTPUT")


def test_answers_come_back() -> None:
    answer = SYN.answer()
    assert (answer.source, answer.dport, answer.iif, answer.state) == (
        "192.0.2.9",
        40000,
        "eth0",
        "established",
    )
