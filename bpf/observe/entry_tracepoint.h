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
