"""Decisions in words: conditions on arguments, actions, and what stands behind numbers.

Rule of this file: text only. Names of arguments: the man pages of the calls.
"""

from __future__ import annotations

import socket

from callout.seccomp.decide import Decision
from callout.seccomp.profile import Action, Condition
from callout.verdict import errno_name

ARGUMENTS = {
    "socket": ("domain", "type", "protocol"),
    "connect": ("sockfd", "addr", "addrlen"),
    "sendto": ("sockfd", "buf", "len", "flags", "dest_addr", "addrlen"),
    "sendmsg": ("sockfd", "msg", "flags"),
    "sendmmsg": ("sockfd", "msgvec", "vlen", "flags"),
    "socketcall": ("call", "args"),
    "io_uring_setup": ("entries", "p"),
    "io_uring_enter": ("fd", "to_submit", "min_complete", "flags", "arg", "argsz"),
    "io_uring_register": ("fd", "opcode", "arg", "nr_args"),
}
FUNCTIONS = {1: "SYS_SOCKET", 2: "SYS_BIND", 3: "SYS_CONNECT", 4: "SYS_LISTEN", 5: "SYS_ACCEPT", 11: "SYS_SENDTO",
             16: "SYS_SENDMSG", 18: "SYS_ACCEPT4", 20: "SYS_SENDMMSG"}  # fmt: skip
SIGNS = {"SCMP_CMP_NE": "!=", "SCMP_CMP_LT": "<", "SCMP_CMP_LE": "<=", "SCMP_CMP_EQ": "==", "SCMP_CMP_GE": ">=",
         "SCMP_CMP_GT": ">"}  # fmt: skip
ACTIONS = {
    "SCMP_ACT_ALLOW": "allowed",
    "SCMP_ACT_LOG": "allowed, and logged",
    "SCMP_ACT_KILL": "the thread is killed (SIGSYS)",
    "SCMP_ACT_KILL_THREAD": "the thread is killed (SIGSYS)",
    "SCMP_ACT_KILL_PROCESS": "the process is killed (SIGSYS)",
    "SCMP_ACT_TRAP": "the process gets SIGSYS, which it may handle",
    "SCMP_ACT_NOTIFY": "a supervisor decides (user notification)",
}


def action(given: Action) -> str:
    """An action."""
    if given.name == "SCMP_ACT_ERRNO":
        return f"fails with {errno_name(given.number or 0)}" if given.number else "skipped, and returns 0"
    if given.name == "SCMP_ACT_TRACE":
        return "a tracer decides; without one it fails with ENOSYS"
    return ACTIONS[given.name]


def value(call: str, index: int, number: int) -> str:
    """A number compared with an argument, with its name where it has one."""
    name = ""
    if call == "socket" and index == 0:
        try:
            name = socket.AddressFamily(number).name
        except ValueError:
            name = {38: "AF_ALG", 40: "AF_VSOCK"}.get(number, "")
    if call == "socketcall" and index == 0:
        name = FUNCTIONS.get(number, "")
    return f"{number} ({name})" if name else str(number) if number < 4096 else hex(number)


def condition(call: str, given: Condition) -> str:
    """A comparison."""
    names = ARGUMENTS.get(call, ())
    name = names[given.index] if given.index < len(names) else f"argument {given.index}"
    if given.operator == "SCMP_CMP_MASKED_EQ":
        return f"{name} & {hex(given.value)} == {hex(given.other)}"
    return f"{name} {SIGNS[given.operator]} {value(call, given.index, given.value)}"


def decision(given: Decision) -> str:
    """What becomes of a call."""
    if given.refused:
        return "the profile cannot be loaded"
    if not given.cases:
        return action(given.otherwise)
    call = given.through or given.call
    by_action: dict[Action, list[str]] = {}
    for conditions, what in given.cases:
        text = " and ".join(condition(call, one) for one in conditions)
        by_action.setdefault(what, []).append(text)
    parts = [f"{action(what)} if {' or '.join(texts)}" for what, texts in by_action.items()]
    return "; ".join([*parts, f"else {action(given.otherwise)}"])
