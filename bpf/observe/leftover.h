/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* At the end of a trace: the calls that are still blocked, which no socket's flight holds. Run once by reading it. */

SEC("iter/task")
int leftover_calls(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct under_way *u;

	if (!task)
		return 0;
	u = bpf_task_storage_get(&calls, task, NULL, 0);
	if (!u || (u->stage != STAGE_CALLED && u->stage != STAGE_INTERRUPTED) || u->record.flags & FLAG_FOLLOWED)
		return 0;
	u->record.phase = PHASE_PENDING;
	submit(&u->record);
	u->stage = STAGE_NONE;
	return 0;
}
