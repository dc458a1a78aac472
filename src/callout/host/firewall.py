"""The rules of this network namespace, as their own tools print them.

Rule of this file: runs nft(8) and iptables-save(8) in the network namespace of this thread, reads, changes nothing.
``missing`` says what could not be read: then nothing is concluded from what was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from callout.ruleset import Chain, iptables, nft

PATIENCE = 10  # seconds for a tool
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
LEGACY = (
    (4, "/proc/thread-self/net/ip_tables_names", "iptables-legacy-save"),
    (6, "/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy-save"),
)
NFT_SAVE = {"ip": (4, "iptables-nft-save"), "ip6": (6, "ip6tables-nft-save")}


@dataclass
class Firewall:
    """All chains, and what could not be read."""

    chains: list[Chain] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)


def read_firewall() -> Firewall:
    """The rules where this thread is."""
    found = Firewall()
    read_nft(found)
    for version, names, tool in LEGACY:
        read_legacy(found, version, names, tool)
    return found


def read_nft(found: Firewall) -> None:
    """Rules of nftables; tables that iptables-nft made are read by its own tool, which tells more."""
    document = output(found, "nft", "-j", "list", "ruleset")
    if document is None:
        return
    found.tools.append("nft")
    chains = nft.parse(document, output(found, "nft", "-a", "list", "ruleset") or "")
    for family, table in sorted(nft.uses_xtables(document)):
        version, tool = NFT_SAVE.get(family, (0, ""))
        saved = output(found, tool, "-c", "-t", table) if tool else None
        if saved is not None:
            chains = [chain for chain in chains if chain.table != f"{family} {table}"]
            chains += iptables.parse(saved, version, "iptables-nft" if version == 4 else "ip6tables-nft")
    found.chains += chains


def read_legacy(found: Firewall, version: int, names: str, tool: str) -> None:
    """Rules of the old iptables, where its kernel modules have tables."""
    try:
        tables = Path(names).read_text().split()
    except OSError:
        return  # no such modules, or not ours to look at: then nft could not be read, either
    if not tables:
        return
    saved = output(found, tool, "-c")
    if saved is not None:
        found.tools.append(tool.removesuffix("-save"))
        found.chains += iptables.parse(saved, version, tool.removesuffix("-save"))


def output(found: Firewall, *command: str) -> str | None:
    """What a tool prints; None with a line in ``missing``."""
    tool = shutil.which(command[0], path=SEARCHED)
    if tool is None:
        found.missing.append(f"{command[0]} is not installed")
        return None
    try:
        done = subprocess.run(
            [tool, *command[1:]],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        found.missing.append(f"{command[0]}: {error}")
        return None
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["it failed"]
        found.missing.append(f"{command[0]}: {reason[0]}")
        return None
    return done.stdout
