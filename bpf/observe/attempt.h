/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* One attempt from entry to exit of its system call, whatever hook brought us here. */

static __always_inline void read_kind(struct attempt *r, const void *sk)
{
	r->family = PEEK(struct sock, sk, __sk_common.skc_family);
	r->protocol = PEEK(struct sock, sk, sk_protocol);
	r->cookie = PEEK(struct sock, sk, __sk_common.skc_cookie.counter);
	r->bound = PEEK(struct sock, sk, __sk_common.skc_portpair) >> 16;
	r->netns = PEEK(struct net, PEEK(struct sock, sk, __sk_common.skc_net.net), ns.inum);
}

/*
 * The descriptor as the kernel will look it up: task->files->fdt->fd[fd]. Another thread may change the table
 * between this look and the kernel's; the hooks below the system call, where a tier has them, see the file itself.
 */
static __always_inline void *read_descriptor(struct attempt *r, struct task_struct *task, int fd)
{
	struct fdtable *table = WALK(WALK(task, files), fdt);
	struct file **slots;
	void *file = NULL, *socket, *sk;

	if (fd < 0 || (u32)fd >= table->max_fds)
		goto no_file;
	slots = table->fd;
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots[(u32)fd]) || !file)
		goto no_file;
	if (PEEK(struct file, file, f_mode) & FMODE_PATH) {
		r->flags |= FLAG_PATH_FD;
		goto no_file;
	}
	if ((PEEK(struct inode, PEEK(struct file, file, f_inode), i_mode) & S_IFMT) != S_IFSOCK) {
		r->flags |= FLAG_NOT_SOCKET;
		return NULL;
	}
	if (PEEK(struct file, file, f_flags) & O_NONBLOCK)
		r->flags |= FLAG_NONBLOCK;
	socket = PEEK(struct file, file, private_data);
	r->standing = PEEK(struct socket, socket, state);
	r->type = PEEK(struct socket, socket, type);
	sk = PEEK(struct socket, socket, sk);
	read_kind(r, sk);
	return sk;
no_file:
	r->flags |= FLAG_NO_FILE;
	return NULL;
}

static __always_inline void end_record(struct attempt *r, s64 ret)
{
	r->ret = ret;
	r->flags |= FLAG_RETURNED;
	if (!r->ended)
		r->ended = bpf_ktime_get_boot_ns();
}

/* Restarts are decided after the exit of the call, when a signal is delivered (kernel/signal.c, get_signal). */
static __always_inline bool may_restart(s64 ret)
{
	return ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK;
}

static __always_inline bool still_under_way(s64 ret)
{
	return ret == -EINPROGRESS || ret == -EINTR || ret == -ERESTARTSYS || ret == 0;
}

/* The call is over for the application, with this result. */
static __always_inline void attempt_returned(struct under_way *u, struct task_struct *task, s64 ret)
{
	struct attempt *r = &u->record;
	struct flight *f = NULL;

	if (narrow.conversation)
		talk_returned(task, u->sk, r, ret);
	if (r->flags & FLAG_FOLLOWED)
		f = bpf_map_lookup_elem(&flights, &u->sk);
	if (f && f->record.id == r->id) {
		u64 parts = 0;

		if (by_fastopen(&f->record) && !(f->record.flags & FLAG_RETURNED))
			__sync_fetch_and_add(&opening, -1); /* a send that a signal ended */
		f->record.ret = ret;
		mark(&f->record, FLAG_RETURNED | (r->flags & FLAG_RESTARTED));
		if (r->protocol == IPPROTO_MPTCP)
			compare_ends(&f->record, task, (void *)u->sk);
		if (ret == 0 && !(f->record.flags & FLAG_SETTLED)) {
			if (tell_by_socket(&f->record, (void *)u->sk, true)) {
				parts = FLAG_SETTLED;
				overlooked();
			} else if (r->protocol != IPPROTO_MPTCP) {
				/* deferred until data is sent: nothing else returns 0 in SYN_SENT */
				mark(&f->record, FLAG_FASTOPEN | FLAG_DEFERRED);
			}
		}
		if (!still_under_way(ret) && !(f->record.flags & FLAG_SETTLED)) {
			f->record.ended = bpf_ktime_get_boot_ns();
		} else {
			/* ICMP errors that came while the call held the socket are on it now: see soft_error */
			if (!(f->record.flags & FLAG_SETTLED))
				f->record.soft = PEEK(struct sock, (void *)u->sk, sk_err_soft);
			/* from here on the record is the other half's, unless that was quicker */
			parts |= __sync_fetch_and_or(&f->parts, FLAG_RETURNED);
		}
		if (still_under_way(ret) && !(parts & FLAG_SETTLED))
			return; /* the state change will submit it */
		submit(&f->record);
		bpf_map_delete_elem(&flights, &u->sk);
		return;
	}
	end_record(r, ret);
	if (ret == 0 && (r->family == AF_INET || r->family == AF_INET6) && *(u16 *)r->sockaddr != AF_UNSPEC) {
		read_ends(r, (void *)u->sk);
		compare_ends(r, task, (void *)u->sk);
	} else if (ret < 0) {
		look_around(r, task, (void *)u->sk);
	}
	submit(r);
}

static __always_inline void attempt_enter(int fd, const void *address, int addrlen, u8 entry)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cpu_counters *c;
	struct under_way *u;
	struct attempt *r;

	if (!caller_wanted(task))
		return;
	u = bpf_task_storage_get(&calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	c = count();
	if (!c)
		return;
	if (!u) { /* no memory: an attempt that we cannot report */
		c->entered++;
		c->lost[RECORD_ATTEMPT]++;
		return;
	}
	r = &u->record;
	if (u->stage == STAGE_INTERRUPTED) {
		if (r->fd == fd && r->pointer == (u64)address && r->addrlen == addrlen) {
			u->stage = STAGE_CALLED; /* the same call again, after a signal */
			r->flags |= FLAG_RESTARTED;
			return;
		}
		attempt_returned(u, task, -ERESTARTSYS); /* it never came back: the handler jumped away */
	} else if (u->stage == STAGE_CALLED) {
		c->orphaned++;
	}
	__builtin_memset(u, 0, sizeof(*u));
	read_address(r, (u64)address, addrlen);
	if ((narrow.families || narrow.nports) && !address_wanted(r->sockaddr)) {
		u->stage = STAGE_UNWANTED;
		return;
	}
	begin_record(r, task, c);
	r->fd = fd;
	r->entry = entry;
	u->sk = (u64)read_descriptor(r, task, fd);
	u->stage = STAGE_CALLED;
	if (narrow.conversation)
		talk_joined(r, u->sk, true);
	if (narrow.phases) {
		r->phase = PHASE_ATTEMPT;
		submit(r);
		r->phase = PHASE_VERDICT;
	}
}

/*
 * An exit without an entry: seccomp refused the call, which then never reaches the tracepoint of its entry. A call that
 * began before we did looks alike, so only the errors that filters give are believed, and only from filtered tasks.
 */
static __always_inline void attempt_refused(struct task_struct *task, s64 ret)
{
	struct cpu_counters *c = count();
	struct registers call = {};
	struct flight *f;
	struct attempt *r;

	if (task->seccomp.mode != SECCOMP_MODE_FILTER || (ret != -EPERM && ret != -EACCES && ret != -ENOSYS))
		return;
	if (!c || !caller_wanted(task))
		return;
	f = cleared_scratch(SCRATCH_TASK);
	if (!f)
		return;
	r = &f->record;
	read_call(&call, task);
	read_address(r, call.args[1], call.args[2]);
	if ((narrow.families || narrow.nports) && !address_wanted(r->sockaddr))
		return;
	begin_record(r, task, c);
	r->entry = ENTRY_CONNECT;
	r->fd = call.args[0];
	r->denier = DENIER_SECCOMP;
	read_descriptor(r, task, r->fd);
	end_record(r, ret);
	submit(r);
}

static __always_inline void attempt_exit(s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct under_way *u = bpf_task_storage_get(&calls, task, NULL, 0);

	if (!u || u->stage != STAGE_CALLED) {
		if (u && u->stage == STAGE_UNWANTED)
			u->stage = STAGE_NONE;
		else if (ret < 0)
			attempt_refused(task, ret);
		return;
	}
	if (may_restart(ret)) {
		u->stage = STAGE_INTERRUPTED;
		return;
	}
	u->stage = STAGE_NONE;
	attempt_returned(u, task, ret);
}

/* A handler without SA_RESTART makes it EINTR; with it, or without a handler, the call is entered again. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(attempt_signal, int number, struct kernel_siginfo *info, struct k_sigaction *action)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct under_way *u = bpf_task_storage_get(&calls, task, NULL, 0);

	if (!u || u->stage != STAGE_INTERRUPTED)
		return 0;
	if ((u64)action->sa.sa_handler <= SIG_IGN || action->sa.sa_flags & SA_RESTART)
		return 0;
	u->stage = STAGE_NONE;
	attempt_returned(u, task, -EINTR);
	return 0;
}

/* A thread that dies inside its call: the result is never delivered. Runs before its files are closed. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(attempt_died, struct task_struct *dying)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct under_way *u = bpf_task_storage_get(&calls, task, NULL, 0);

	if (!u || (u->stage != STAGE_INTERRUPTED && u->stage != STAGE_CALLED))
		return 0;
	u->stage = STAGE_NONE;
	if (!(u->record.flags & FLAG_FOLLOWED))
		u->record.flags |= FLAG_EXITING;
	attempt_returned(u, task, -ERESTARTSYS);
	return 0;
}
