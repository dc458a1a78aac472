"""What has no scenario, and why: errors, causes and verdicts.

Rule of this file: a reason for each; tests compare with all that the reference knows, so nothing is left out silently.
Families stand in ``families.WITHOUT``, clients in ``clients.CLIENTS``, shapes of reverse shells in ``attacks.SHAPES``.
"""

from __future__ import annotations

ERRORS = {
    "EADDRINUSE": "connect(2) says EADDRNOTAVAIL for it (tuple_in_use); bind(2) says EADDRINUSE",
    "EINPROGRESS": "it is what the call returns, not what becomes of it: tcp_nb_ok and many others return it",
    "ENFILE": "fs.file-max is the whole host's",
    "ERESTARTSYS": "no program sees it: the call of tcp_restart returns it inside the kernel",
}
CAUSES = {
    "callout_policy": "no verb of this version denies",
    "unknown": "it is the absence of a cause; a tier that lacks evidence says it",
}
VERDICTS: dict[str, str] = {}
