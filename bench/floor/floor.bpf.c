/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The least that a tracer of connect(2) on the system call tracepoints can do in the kernel.
 *
 * Rule: the cheapest known way for each step and nothing that a user would miss from a comparison: enter and exit
 * joined in task storage, one reserved 256-byte record, no wake-up, a per-CPU counter for what did not fit.
 * With enter_only the record leaves at sys_enter and sys_exit is not attached.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "record.h"

/* What the tracepoints hand over: events/syscalls/sys_enter_connect/format and sys_exit_connect/format. */
struct enter_arguments {
	__u64 common;
	__s64 number;
	__u64 fd, address, address_length;
};

struct exit_arguments {
	__u64 common;
	__s64 number;
	__s64 result;
};

struct pending {
	__u64 entered_ns; /* 0: this task is in no connect(2) that we saw begin */
	__s32 fd;
	__u32 address_length;
	__u8 address[ADDRESS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* the reader may choose another size before loading */
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

const volatile __u32 only_pid;  /* 0: every process */
const volatile _Bool enter_only;

static void count_loss(void)
{
	const __u32 key = 0;
	__u64 *counter = bpf_map_lookup_elem(&lost, &key);
	if (counter)
		++*counter;
}

/* A bad pointer leaves the address zeroed, bpf-helpers(7); the attempt is still reported. */
static void read_address(__u8 *to, const struct enter_arguments *from)
{
	__u64 length = (__u32)from->address_length; /* connect(2) takes an int: the upper half is nobody's */
	asm volatile("" : "+r"(length));            /* or clang bounds a copy that the verifier does not follow */
	if (length > ADDRESS_MAX)
		length = ADDRESS_MAX;
	bpf_probe_read_user(to, length, (const void *)from->address);
}

static void identify(struct record *record)
{
	const __u64 pid_tid = bpf_get_current_pid_tgid(), uid_gid = bpf_get_current_uid_gid();
	record->pid = pid_tid >> 32;
	record->tid = pid_tid;
	record->uid = uid_gid;
	record->gid = uid_gid >> 32;
	bpf_get_current_comm(record->comm, sizeof record->comm);
}

static struct record *reserve(void)
{
	struct record *record = bpf_ringbuf_reserve(&records, sizeof *record, 0);
	if (!record)
		count_loss();
	return record;
}

static void emit_at_enter(const struct enter_arguments *arguments)
{
	struct record *record = reserve();
	if (!record)
		return;
	record->entered_ns = bpf_ktime_get_ns();
	record->left_ns = 0;
	record->result = 0;
	record->fd = arguments->fd;
	record->address_length = arguments->address_length;
	identify(record);
	read_address(record->address, arguments);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

SEC("tp/syscalls/sys_enter_connect")
int on_enter(const struct enter_arguments *arguments)
{
	if (only_pid && bpf_get_current_pid_tgid() >> 32 != only_pid)
		return 0;
	if (enter_only) {
		emit_at_enter(arguments);
		return 0;
	}
	struct pending *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), 0,
						    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call) {
		count_loss();
		return 0;
	}
	call->entered_ns = bpf_ktime_get_ns();
	call->fd = arguments->fd;
	call->address_length = arguments->address_length;
	read_address(call->address, arguments);
	return 0;
}

SEC("tp/syscalls/sys_exit_connect")
int on_exit(const struct exit_arguments *arguments)
{
	struct pending *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), 0, 0);
	if (!call || !call->entered_ns)
		return 0;
	struct record *record = reserve();
	if (record) {
		record->entered_ns = call->entered_ns;
		record->left_ns = bpf_ktime_get_ns();
		record->result = arguments->result;
		record->fd = call->fd;
		record->address_length = call->address_length;
		identify(record);
		__builtin_memcpy(record->address, call->address, ADDRESS_MAX);
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	call->entered_ns = 0;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
