/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Tier "tracepoint": the system call's own tracepoints. They see the native ABI only, and while they are enabled
 * every system call of the host takes the slow exit path (65 to 115 ns).
 */

SEC("tp/syscalls/sys_enter_connect")
int tracepoint_connect_enter(struct trace_event_raw_sys_enter *ctx)
{
	attempt_enter(ctx->args[0], (void *)ctx->args[1], ctx->args[2], ENTRY_CONNECT);
	return 0;
}

SEC("tp/syscalls/sys_exit_connect")
int tracepoint_connect_exit(struct trace_event_raw_sys_exit *ctx)
{
	attempt_exit(ctx->ret);
	return 0;
}

/*
 * Only when asked for (--ia32): the calls of i386 and x32 processes, for which those tracepoints stay silent, by the
 * ones that every system call of the host passes. A native call leaves at the first test.
 */
enum { X32_BIT = 0x40000000 };

static __always_inline u8 foreign_connect(struct task_struct *task, long number)
{
#if defined(__TARGET_ARCH_x86)
	if (task->thread_info.status & TS_COMPAT) {
		if (number == NR32_CONNECT)
			return ENTRY_CONNECT_IA32;
		if (number == NR32_SOCKETCALL) {
			struct registers call;

			read_call(&call, task);
			return call.args[0] == SYS_CONNECT ? ENTRY_SOCKETCALL : 0;
		}
	} else if (number == (X32_BIT | NR_CONNECT)) {
		return ENTRY_CONNECT;
	}
#endif
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(every_call_enter, struct pt_regs *regs, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct registers call = {};
	u8 entry = foreign_connect(task, number);

	if (!entry)
		return 0;
	read_call(&call, task);
	if (entry == ENTRY_SOCKETCALL)
		read_socketcall(&call);
	attempt_enter(call.args[0], (void *)call.args[1], call.args[2], entry);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(every_call_exit, struct pt_regs *regs, long ret)
{
#if defined(__TARGET_ARCH_x86)
	if (foreign_connect(bpf_get_current_task_btf(), regs->orig_ax))
		attempt_exit(ret);
#endif
	return 0;
}
