"""Claims that the tracer does not fulfil yet: by scenario, the tiers of programs that tell otherwise, and why.

Rule of this file: a line stands here only as long as it is true. `callout lab check` says so when one is not any
more, and the test of all scenarios fails then: who mends it, takes its line away.
"""

from __future__ import annotations

ALL = ("tracepoint", "trampoline", "kprobe")
SEEING = ("trampoline", "kprobe")
BLIND = ("tracepoint",)
NOT_ROUTING = "the error is that of a missing route, but the address is one that such a socket cannot call"
SOFT = "the ICMP error stays soft, is read by SO_ERROR and forgotten: the close looks like giving up"
PROGRAM = "on this tier a program's errno looks like the kernel's own"
KNOWN: dict[str, tuple[tuple[str, ...], str]] = {
    "tcp_broadcast": (ALL, NOT_ROUTING),
    "fork_keeps": (ALL, "the exit of a fork that held the socket is taken for a close"),
    "mptcp_refused": (ALL, "the RST comes to the subflow's socket, which is not followed"),
    "mptcp_nb_refused": (ALL, "MPTCP sets the state before the error (__mptcp_subflow_error_report)"),
    "landlock_scope": (SEEING, "scopes are refused by security_unix_stream_connect, which is not observed"),
    "no_neighbour6": (SEEING, "this host's own ICMPv6 error is taken for a router's"),
    "nf_soft": (ALL, SOFT),
    "far_soft": (ALL, SOFT),
    "cgroup_errno_unreach": (BLIND, PROGRAM),
}


def reason(scenario: str, tier: str) -> str:
    """Why a tier is known not to tell what a scenario claims; empty where it is not."""
    tiers, why = KNOWN.get(scenario, ((), ""))
    return why if tier in tiers else ""
