"""The programs that set up a network: ip(8), tc(8) and nft(8).

Rule of this file: a tool is fed on its standard input, and what goes wrong is told in a few words.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

PACKAGES = {"ip": "iproute2", "nft": "nftables", "ss": "iproute2", "tc": "iproute2"}


@cache
def located(tool: str) -> str | None:
    """The path of a network tool, or None. It avoids /run, below which NixOS has its tools."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # not in the PATH of ordinary users
    found = shutil.which(tool, path=path)
    return found and os.path.join(os.path.realpath(os.path.dirname(found)), os.path.basename(found))


def feed(tool: str, *arguments: str, text: str) -> str | None:
    """Runs a network tool on ``text``. Returns None, or why that did not work, in a few words."""
    found = located(tool)
    if found is None:
        return f"{tool} is not installed (apt install {PACKAGES[tool]})"
    done = subprocess.run([found, *arguments], input=text, text=True, capture_output=True, check=False)
    if done.returncode == 0:
        return None
    told = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
    return f"{tool} failed: {told}"
