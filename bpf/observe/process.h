/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Processes, each from its fork to its exit, with what it runs.
 */
/* Where records are put together. Tracepoints and iterators run on their CPU to the end. */
struct processes {
	struct exec exec;
	struct life life;
	struct walk walk;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct processes);
} process_scratch SEC(".maps");

enum { ARGS_ROOM = 4096 };

static __always_inline void read_spaces(struct task_struct *task, u32 *net, u32 *pid, u32 *mnt, u32 *user)
{
	struct nsproxy *spaces = WALK(task, nsproxy); /* none any more in a process that is going away */
	struct pid *own = WALK(task, thread_pid);
	u32 level;

	if (spaces) {
		*net = PEEK(struct net, PEEK(struct nsproxy, spaces, net_ns), ns.inum);
		*mnt = PEEK(struct mnt_namespace, PEEK(struct nsproxy, spaces, mnt_ns), ns.inum);
	}
	*user = PEEK(struct user_namespace, PEEK(struct cred, WALK(task, cred), user_ns), ns.inum);
	if (own) {
		void *space = NULL;

		level = PEEK(struct pid, own, level);
		if (level <= 32) /* MAX_PID_NS_LEVEL of linux/pid_namespace.h */
			bpf_core_read(&space, sizeof(space), &own->numbers[level].ns);
		*pid = PEEK(struct pid_namespace, space, ns.inum);
	}
}

static __always_inline void submit_life(struct task_struct *task, u8 kind)
{
	struct cpu_counters *c = count();
	struct task_struct *parent = WALK(task, real_parent);
	struct processes *place;
	struct life *r;
	u32 zero = 0;

	place = bpf_map_lookup_elem(&process_scratch, &zero);
	if (!place || !c)
		return;
	r = &place->life;
	__builtin_memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->cpu = bpf_get_smp_processor_id();
	r->lost = c->lost[kind];
	r->start = WALK(task, group_leader)->start_boottime;
	r->pid = task->tgid;
	r->image = task->self_exec_id;
	if (kind == RECORD_FORK) {
		r->ppid = parent->tgid;
		r->parent_start = WALK(parent, group_leader)->start_boottime;
		read_spaces(task, &r->net, &r->pidns, &r->mnt, &r->user);
	}
	bpf_probe_read_kernel(r->comm, sizeof(r->comm), task->comm);
	if (bpf_ringbuf_output(&process_ring, r, sizeof(*r), processes_wake()))
		c->lost[kind]++;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->pid == child->tgid && !(child->flags & PF_KTHREAD))
		submit_life(child, RECORD_FORK);
	return 0;
}

/* Runs in each thread; the count of those alive has gone down before (kernel/exit.c, do_exit). */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	if (!WALK(task, signal)->live.counter && !(task->flags & PF_KTHREAD))
		submit_life(task, RECORD_EXIT);
	return 0;
}

/* ctime: it changes with the content, and nobody can set it back. */
static __always_inline u64 changed(void *inode)
{
	struct inode___6_6 *newer = inode;
	struct inode___old *older = inode;
	struct inode *newest = inode;

	if (bpf_core_field_exists(newest->i_ctime_sec))
		return BPF_CORE_READ(newest, i_ctime_sec) * 1000000000ULL +
		       (BPF_CORE_READ(newest, i_ctime_nsec) & ~I_CTIME_QUERIED);
	if (bpf_core_field_exists(newer->__i_ctime))
		return BPF_CORE_READ(newer, __i_ctime.tv_sec) * 1000000000ULL + BPF_CORE_READ(newer, __i_ctime.tv_nsec);
	return BPF_CORE_READ(older, i_ctime.tv_sec) * 1000000000ULL + BPF_CORE_READ(older, i_ctime.tv_nsec);
}

static __always_inline bool deleted(void *dentry)
{
	return !PEEK(struct dentry, dentry, d_hash.pprev) && PEEK(struct dentry, dentry, d_parent) != dentry;
}

static __always_inline u32 terminal_of(struct signal_struct *signal)
{
	void *tty = PEEK(struct signal_struct, signal, tty), *driver;

	if (!tty)
		return 0;
	driver = PEEK(struct tty_struct, tty, driver);
	return (PEEK(struct tty_driver, driver, major) << 20) +
	       PEEK(struct tty_driver, driver, minor_start) + PEEK(struct tty_struct, tty, index); /* tty_devnum() */
}

static __always_inline u32 session_of(struct signal_struct *signal)
{
	void *leader = NULL;

	bpf_core_read(&leader, sizeof(leader), &signal->pids[PIDTYPE_SID]);
	return leader ? PEEK(struct pid, leader, numbers[0].nr) : 0;
}

static __always_inline void submit_exec(struct task_struct *task, u8 kind)
{
	struct task_struct *parent = WALK(task, real_parent);
	void *mm = WALK(task, mm), *fs = WALK(task, fs), *exe, *inode;
	struct cpu_counters *c = count();
	u64 begin, size = 0;
	struct processes *room;
	struct exec *e;
	u32 end, zero = 0;
	struct walk *w;

	room = bpf_map_lookup_elem(&process_scratch, &zero);
	if (!room || !c || !mm || !fs)
		return;
	e = &room->exec;
	w = &room->walk;
	w->at = 0;
	e->kind = kind;
	e->flags = 0;
	e->cpu = bpf_get_smp_processor_id();
	e->lost = c->lost[kind];
	e->start = WALK(task, group_leader)->start_boottime;
	e->parent_start = WALK(parent, group_leader)->start_boottime;
	e->pid = task->tgid;
	e->ppid = parent->tgid;
	e->image = task->self_exec_id;
	e->auid = bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1;
	e->session = session_of(WALK(task, signal));
	e->tty = terminal_of(WALK(task, signal));
	e->net = e->pidns = e->mnt = e->user = e->spare = 0;
	read_spaces(task, &e->net, &e->pidns, &e->mnt, &e->user);
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), task->comm);

	w->top_mnt = (u64)PEEK(struct fs_struct, fs, root.mnt);
	w->top_dentry = (u64)PEEK(struct fs_struct, fs, root.dentry);
	inode = PEEK(struct dentry, (void *)w->top_dentry, d_inode);
	e->root_inode = PEEK(struct inode, inode, i_ino);
	e->root_device = PEEK(struct super_block, PEEK(struct inode, inode, i_sb), s_dev);

	exe = PEEK(struct mm_struct, mm, exe_file);
	e->inode = e->device = e->changed = 0;
	if (exe) {
		inode = PEEK(struct file, exe, f_inode);
		e->inode = PEEK(struct inode, inode, i_ino);
		e->changed = changed(inode);
		e->device = PEEK(struct super_block, PEEK(struct inode, inode, i_sb), s_dev);
		w->mnt = (u64)PEEK(struct file, exe, f_path.mnt);
		w->dentry = (u64)PEEK(struct file, exe, f_path.dentry);
		if (deleted((void *)w->dentry))
			e->flags |= IMAGE_EXE_DELETED;
		if ((u64)PEEK(struct dentry, (void *)w->dentry, d_parent) == w->dentry)
			e->flags |= IMAGE_EXE_NAMELESS;
		if (write_path(w, (struct names *)e->text) != WALK_DONE)
			e->flags |= IMAGE_EXE_CUT;
	}
	end = w->at;
	e->exe_size = end;
	if (end > PATH_ROOM)
		return;
	if (kind == RECORD_EXEC) { /* in its own context: the memory is its own */
		begin = PEEK(struct mm_struct, mm, arg_start);
		size = PEEK(struct mm_struct, mm, arg_end) - begin;
		if (size > ARGS_ROOM) {
			size = ARGS_ROOM;
			e->flags |= IMAGE_ARGS_CUT;
		}
		barrier_var(size);
		if (size > ARGS_ROOM)
			return;
		if (bpf_probe_read_user(e->text + end, size, (void *)begin)) {
			e->flags |= IMAGE_ARGS_UNREADABLE;
			size = 0;
		}
	}
	e->args_size = size;
	size += end + __builtin_offsetof(struct exec, text);
	barrier_var(size);
	if (size > sizeof(*e))
		return;
	if (bpf_ringbuf_output(&process_ring, e, size, processes_wake()))
		c->lost[kind]++;
}

/* Comes once the new program is certain to run (fs/exec.c): the task is its group's leader, and its only thread. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	submit_exec(task, RECORD_EXEC);
	return 0;
}

/* Processes that there are already: at the start, and where a record was lost. Run by reading it. */
SEC("iter/task")
int process_look(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && task->pid == task->tgid && !(task->flags & PF_KTHREAD))
		submit_exec(task, RECORD_TASK);
	return 0;
}
