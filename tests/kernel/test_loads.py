"""Nothing that has its hook in this kernel is refused by it, so that no row lacks what a program would have told."""

from __future__ import annotations

from callout.capture import channels
from callout.capture.kernel import KernelSource

from .watch import TIER

ABSENT = (
    "ESRCH",
    "ENOENT",
    "no such tracepoint",
    "EOPNOTSUPP",
)  # hooks that a kernel does not have, or has not here


def test_what_has_its_hook_is_loaded() -> None:
    kinds = {channel.kind for channel in channels.CHANNELS} - {channels.ATTEMPT, "RECORD_COPY", "RECORD_CALL"}
    with KernelSource(tier=TIER, listeners=dict.fromkeys(kinds, lambda records: None)) as source:
        assert {"process_exec", "names_sent", "cgroup_made"} <= {
            state.program.name for state in source.states
        }
        refused = {
            state.program.name: state.error
            for state in source.states
            if state.error and not any(word in state.error for word in ABSENT)
        }
    assert not refused
