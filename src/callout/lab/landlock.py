"""Landlock, by its three system calls: a process forbids itself network ports or foreign Unix sockets.

Rule of this file: one-way for the calling thread, so call ``restrict`` in a process of its own. Sources:
landlock(7), include/uapi/linux/landlock.h; the numbers are the same on every machine.
"""

from __future__ import annotations

import ctypes
import struct

from callout.lab import libc

CREATE_RULESET, RESTRICT_SELF = 444, 446
CREATE_RULESET_VERSION = 1
ACCESS_NET_CONNECT_TCP = 2
SCOPE_ABSTRACT_UNIX_SOCKET = 1
WITH_NETWORK, WITH_SCOPE = 4, 6  # versions of its interface
PR_SET_NO_NEW_PRIVS = 38


def version() -> int:
    """The interface's version. Raises OSError where Landlock is not built in or not active."""
    return libc.syscall("landlock_create_ruleset", CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)


def restrict(network: int = 0, scope: int = 0) -> None:
    """Forbids this thread all of the given accesses, with no exception. Raises OSError."""
    words = (0, network, scope) if scope else (0, network)  # handled_access_fs, handled_access_net, scoped
    rules = ctypes.create_string_buffer(struct.pack(f"={len(words)}Q", *words), 8 * len(words))
    ruleset = libc.syscall("landlock_create_ruleset", CREATE_RULESET, rules, len(rules), 0)
    libc.prctl("prctl(PR_SET_NO_NEW_PRIVS)", PR_SET_NO_NEW_PRIVS, 1)
    libc.syscall("landlock_restrict_self", RESTRICT_SELF, ruleset, 0)
