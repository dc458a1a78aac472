// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * What callout loads to observe. One concern per file below; user space decides which programs are loaded:
 * those of one tier (see src/callout/capture/tiers.py), and the socket hooks that every tier shares.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "observe/core.h"
#include "observe/peek.h"
#include "observe/state.h"
#include "observe/cgroup.h"
#include "observe/narrow.h"
#include "observe/path.h"
#include "observe/directory.h"
#include "observe/caller.h"
#include "observe/talk.h"
#include "observe/around.h"
#include "observe/ends.h"
#include "observe/overlooked.h"
#include "observe/attempt.h"
#include "observe/mptcp.h"
#include "observe/steps.h"
#include "observe/icmp.h"
#include "observe/sending.h"
#include "observe/entry_tracepoint.h"
#include "observe/entry_trampoline.h"
#include "observe/entry_kprobe.h"
#include "observe/denied.h"
#include "observe/stray.h"
#include "observe/socket.h"
#include "observe/uring.h"
#include "observe/datagram.h"
#include "observe/sent.h"
#include "observe/leftover.h"
#include "observe/names.h"
#include "observe/process.h"
#include "observe/conversation_record.h"
#include "observe/conversation.h"
#include "observe/conversation_calls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
