"""What has no scenario, and why: errors, and attacks that no single run can show.

Rule of this file: a reason for each; tests compare with all that the reference knows, so nothing is left out silently.
Families stand in ``families.WITHOUT``, clients in ``clients.CLIENTS``, shapes of reverse shells in ``attacks.SHAPES``.
"""

from __future__ import annotations

ERRORS = {
    "EADDRINUSE": "connect(2) says EADDRNOTAVAIL for it (tuple_in_use); bind(2) says EADDRINUSE",
    "ECANCELED": "only `callout doctor --selftest` takes this way (uring_cancelled)",
    "EINPROGRESS": "it is what the call returns, not what becomes of it: tcp_nb_ok and many others return it",
    "ENETDOWN": "bind(2) and sends on packet sockets say it, which have no connect",
    "ENOBUFS": "a host that is out of memory cannot be made without harm",
    "ENOMEM": "a host that is out of memory cannot be made without harm",
    "ERESTARTSYS": "no program sees it: the call of tcp_restart returns it inside the kernel",
}
CAUSES = {
    "callout_policy": "no verb of this version denies",
    "unknown": "it is the absence of a cause; a tier that lacks evidence says it",
}
VERDICTS: dict[str, str] = {}
ATTACKS = {
    "sockaddr swap": "which address a racing thread gets into the call differs from run to run: no row can be claimed;"
    " `callout explain swap-attack` tells, and the rows of swaps are tested as a race",
}
