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

static __always_inline void peek_ipv6(ip_addr address, struct in6_addr from)
{
	u32 *to = (u32 *)address;

	to[0] = from.words[0];
	to[1] = from.words[1];
	to[2] = from.words[2];
	to[3] = from.words[3];
}

/* Both ends as the socket has them now. */
static __always_inline void read_ends(struct attempt *r, const void *sk)
{
	u32 ports = PEEK(struct sock, sk, __sk_common.skc_portpair); /* peer's, network order; local, host order */

	r->dport = (u16)ports;
	r->sport = __builtin_bswap16((u16)(ports >> 16));
	if (r->family == AF_INET) {
		u64 pair = PEEK(struct sock, sk, __sk_common.skc_addrpair);

		*(u32 *)r->daddr = (u32)pair;
		*(u32 *)r->saddr = (u32)(pair >> 32);
	} else {
		peek_ipv6(r->daddr, PEEK(struct sock, sk, __sk_common.skc_v6_daddr));
		peek_ipv6(r->saddr, PEEK(struct sock, sk, __sk_common.skc_v6_rcv_saddr));
	}
	r->peer_family = r->family;
	mark(r, FLAG_LOCAL | FLAG_PEER);
}

/* Whether the address asked for is the one that the kernel used; also where that cannot be told. */
static __always_inline bool asked_is_used(const struct attempt *r)
{
	u16 family = *(u16 *)r->sockaddr;
	bool same;

	if (family == AF_INET) {
		u32 asked = *(u32 *)(r->sockaddr + 4), used = *(u32 *)(r->peer_family == AF_INET ? r->daddr : r->daddr + 12);

		same = !asked || asked == used; /* 0.0.0.0 means this host */
	} else if (family == AF_INET6 && r->peer_family == AF_INET) {
		u32 asked = *(u32 *)(r->sockaddr + 20); /* ::ffff:a.b.c.d, seen as IPv4 */

		same = !asked || asked == *(u32 *)r->daddr;
	} else if (family == AF_INET6) {
		u64 *asked = (u64 *)(r->sockaddr + 8), *used = (u64 *)r->daddr;

		same = (!asked[0] && !asked[1]) || (asked[0] == used[0] && asked[1] == used[1]);
		/* ::ffff:0.0.0.0 */
		same |= !asked[0] && *(u32 *)(r->sockaddr + 16) == 0xffff0000 && !*(u32 *)(r->sockaddr + 20);
	} else {
		return true;
	}
	return same && *(u16 *)(r->sockaddr + 2) == r->dport;
}

/*
 * The address that the kernel used (on the socket) against the one in user memory at entry. Where they differ, either
 * a cgroup program rewrote it, or another thread changed it between our look and the kernel's copy (TOCTOU): then
 * memory usually holds something else now, and without a program there is no other explanation.
 */
static __always_inline void compare_ends(struct attempt *r, struct task_struct *task, const void *sk)
{
	u16 family = *(u16 *)r->sockaddr;
	u64 now[4] = {}, *entry = (u64 *)r->sockaddr;
	bool same;

	if (r->flags & (FLAG_UNREADABLE | FLAG_NO_ADDRESS) || r->addrlen < 16)
		return;
	/* an MPTCP socket has its peer only once it is connected */
	if (r->protocol != IPPROTO_TCP && r->protocol != IPPROTO_UDP &&
	    (r->protocol != IPPROTO_MPTCP || !(r->flags & FLAG_SETTLED)))
		return;
	if (asked_is_used(r))
		return;
	bpf_probe_read_user(now, family == AF_INET ? 16 : 24, (void *)r->pointer);
	same = now[0] == entry[0] && now[1] == entry[1] && (family == AF_INET || now[2] == entry[2]);
	mark(r, same && rewriters(task, sk, family) ? FLAG_REWRITTEN : FLAG_SWAPPED);
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
		else if (ret == 0 && !(f->record.flags & FLAG_SETTLED))
			mark(&f->record, FLAG_FASTOPEN | FLAG_DEFERRED); /* deferred until data is sent: nothing else returns 0 in SYN_SENT */
		if (!still_under_way(ret) && !(f->record.flags & FLAG_SETTLED)) {
			f->record.ended = bpf_ktime_get_boot_ns();
		} else {
			/* ICMP errors that came while the call held the socket are on it now: see soft_error */
			if (!(f->record.flags & FLAG_SETTLED))
				f->record.soft = PEEK(struct sock, (void *)u->sk, sk_err_soft);
			/* from here on the record is the other half's, unless that was quicker */
			parts = __sync_fetch_and_or(&f->parts, FLAG_RETURNED);
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
