/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The calls around an attempt (-e network), of the narrowed processes: one record each when they return. Loaded only
 * when asked for. Native system calls only: the tracepoints of a call do not fire for 32-bit processes.
 */

enum { SOL_SOCKET = 1, SO_ERROR = 4, MSG_PEEK = 2, MSG_ERRQUEUE = 0x2000, MMSGHDR = 64, MMSG_LEN = 56, MOST_MESSAGES = 64 };

static __always_inline bool is_send(u32 call)
{
	return call >= CALL_SENDTO && call <= CALL_WRITEV;
}

static __always_inline bool is_receive(u32 call)
{
	return call >= CALL_RECVFROM && call <= CALL_READV;
}

/* Calls that are as often about files. */
static __always_inline bool about_any_file(u32 call)
{
	return is_send(call) || is_receive(call) || call == CALL_CLOSE;
}

static __always_inline struct file *socket_file(struct task_struct *task, int fd)
{
	struct fdtable *table = WALK(WALK(task, files), fdt);
	struct file **slots, *file = NULL;

	if (fd < 0 || (u32)fd >= table->max_fds)
		return NULL;
	slots = table->fd;
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots[(u32)fd]) || !file)
		return NULL;
	return (PEEK(struct inode, PEEK(struct file, file, f_inode), i_mode) & S_IFMT) == S_IFSOCK ? file : NULL;
}

/* Whether nobody else holds this open file: no other descriptor, and no thread inside a call on it. */
static __always_inline bool last_reference(struct file *file)
{
	struct file___6_13 *counted = (void *)file;
	long n = 0;

	if (bpf_core_field_exists(counted->f_ref)) {
		bpf_core_read(&n, sizeof(n), &counted->f_ref.refcnt.counter);
		return n == 0;
	}
	bpf_core_read(&n, sizeof(n), &file->f_count.counter);
	return n == 1;
}

static __attribute__((noinline)) int enter_call(u32 call, int fd, u64 first, u64 second, u64 third)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = NULL;
	struct talking *p;
	struct talk *t = NULL;
	struct attempt *r;

	if (!caller_wanted(task))
		return 0;
	if (about_any_file(call)) {
		file = socket_file(task, fd);
		if (!file)
			return 0;
	}
	if ((is_receive(call) && third & (MSG_PEEK | MSG_ERRQUEUE)) ||
	    (call == CALL_GETSOCKOPT && (first != SOL_SOCKET || second != SO_ERROR)))
		return 0;
	p = bpf_task_storage_get(&talking, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!p)
		return 0;
	r = &p->record;
	__builtin_memset(r, 0, sizeof(*r));
	r->began = bpf_ktime_get_boot_ns();
	r->fd = fd;
	p->sk = 0;
	p->more = 0;
	p->value = 0;
	if (call == CALL_SOCKET) {
		r->family = first;
		r->type = second & 0xf;
		r->protocol = third;
		p->value = third;
	} else {
		p->sk = (u64)read_descriptor(r, task, fd);
		if (p->sk)
			t = talk_of(p->sk, r->cookie);
		if (t)
			r->id = t->id;
	}
	if (is_send(call) || is_receive(call)) {
		/* of a TCP socket only the first is of interest, of others the bytes of all */
		if (!t || (r->protocol == IPPROTO_TCP && t->marks & (is_send(call) ? TALK_SENT : TALK_RECEIVED)))
			return 0;
		p->more = first;
	}
	p->call = call;
	r->cgroup = cgroup_of(task);
	read_caller(r, task);
	if (call == CALL_BIND) {
		read_address(r, first, second);
	} else if (call == CALL_ACCEPT || call == CALL_ACCEPT4) {
		r->pointer = first;
		p->more = second;
	} else if (call == CALL_GETSOCKOPT) {
		p->more = third;
	} else if (call == CALL_LISTEN || call == CALL_SHUTDOWN) {
		p->value = first;
	}
	if (call == CALL_SHUTDOWN && t && first > 0) {
		void *sk = (void *)p->sk;

		if (r->family == AF_UNIX ? !(PEEK(struct sock, sk, sk_shutdown) & RCV_SHUTDOWN)
					 : PEEK(struct sock, sk, __sk_common.skc_state) == TCP_ESTABLISHED)
			t->marks |= TALK_SHUT;
	}
	if (call == CALL_CLOSE) {
		read_known_ends(r, (void *)p->sk); /* afterwards there is nothing to read */
		if (p->waits_for == p->sk)
			p->waits_for = 0;
		if (t && last_reference(file))
			talk_over(r, t, p->sk);
	}
	return 0;
}

/* Bytes that a sendmmsg(2) or recvmmsg(2) of `count` messages moved: each message has its own count. */
static __always_inline u64 bytes_of_messages(u64 vector, s64 count)
{
	u64 total = 0;

	for (int i = 0; i < MOST_MESSAGES && i < count; i++) {
		u32 length = 0;

		bpf_probe_read_user(&length, sizeof(length), (void *)(vector + i * MMSGHDR + MMSG_LEN));
		total += length;
	}
	return total;
}

/* Counts what was moved. Returns whether it is the first time that something is to be told. */
static __always_inline bool moved(struct talking *p, struct talk *t, u32 call, s64 ret)
{
	u32 mark = is_send(call) ? TALK_SENT : TALK_RECEIVED;

	if (!t || ret == -EAGAIN || ret == -EINTR)
		return false;
	if (ret > 0 && p->record.protocol != IPPROTO_TCP) {
		u64 bytes = ret;

		if (call == CALL_SENDMMSG || call == CALL_RECVMMSG)
			bytes = bytes_of_messages(p->more, ret);
		if (is_send(call))
			t->sent += bytes;
		else
			t->received += bytes;
	}
	if (!(t->marks & TALK_ATTEMPTED) || t->marks & mark)
		return false;
	t->marks |= mark;
	p->record.id = t->id;
	return true;
}

/* A new connection: from here on the record is about its socket. */
static __always_inline struct talk *accepted(struct talking *p, struct task_struct *task, s64 ret)
{
	struct attempt *r = &p->record;
	struct talk *t;
	int length = 0;

	r->flags &= ~FLAG_NONBLOCK;
	p->sk = (u64)read_descriptor(r, task, ret);
	if (r->pointer && !bpf_probe_read_user(&length, sizeof(length), (void *)p->more))
		read_address(r, r->pointer, length);
	else
		r->flags |= FLAG_NO_ADDRESS;
	t = p->sk ? talk_begin(p->sk, r->cookie) : NULL;
	if (t) {
		t->began = r->ended;
		t->fd = ret;
		t->marks = TALK_ATTEMPTED | TALK_CONNECTED;
	}
	return t;
}

static __attribute__((noinline)) int exit_call(u32 call, s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct talking *p = bpf_task_storage_get(&talking, task, NULL, 0);
	struct talk *t = NULL;
	struct attempt *r;

	if (!p || p->call != call)
		return 0;
	p->call = 0;
	if (may_restart(ret))
		return 0; /* the kernel enters it again, or a signal handler ends it: nothing happened */
	r = &p->record;
	r->ret = ret;
	r->flags |= FLAG_RETURNED;
	r->ended = bpf_ktime_get_boot_ns();
	if (call == CALL_SOCKET && ret >= 0) {
		r->fd = ret;
		p->sk = (u64)read_descriptor(r, task, ret);
		t = p->sk ? talk_begin(p->sk, r->cookie) : NULL;
	} else if (call == CALL_ACCEPT || call == CALL_ACCEPT4) {
		if (ret == -EAGAIN)
			return 0;
		if (ret >= 0)
			t = accepted(p, task, ret);
	} else if (p->sk && call != CALL_CLOSE) {
		t = talk_of(p->sk, r->cookie);
		if (!t && call == CALL_BIND)
			t = talk_begin(p->sk, r->cookie);
	}
	if ((is_send(call) || is_receive(call)) && !moved(p, t, call, ret))
		return 0;
	if (call == CALL_GETSOCKOPT && !ret)
		bpf_probe_read_user(&p->value, sizeof(p->value), (void *)p->more);
	if (t)
		r->id = t->id;
	if (call != CALL_CLOSE)
		read_known_ends(r, (void *)p->sk);
	report_call(p, t, call);
	return 0;
}

/* A thread comes back from waiting: told if it waited for its connect(2), and that is decided now. */
static __attribute__((noinline)) int exit_wait(u32 call, s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct talking *p = bpf_task_storage_get(&talking, task, NULL, 0);
	struct attempt *r;
	struct talk *t;
	u64 sk;

	if (!p || !p->waits_for || ret <= 0)
		return 0;
	sk = p->waits_for;
	r = &p->record;
	__builtin_memset(r, 0, sizeof(*r));
	p->value = 0;
	r->fd = p->waits_fd;
	if ((u64)read_descriptor(r, task, r->fd) != sk || !(t = talk_of(sk, r->cookie))) {
		p->waits_for = 0; /* closed meanwhile */
		return 0;
	}
	if (PEEK(struct sock, (void *)sk, __sk_common.skc_state) == TCP_SYN_SENT)
		return 0; /* something else was ready */
	p->waits_for = 0;
	r->id = t->id;
	r->began = r->ended = bpf_ktime_get_boot_ns();
	r->ret = ret;
	r->flags |= FLAG_RETURNED;
	r->cgroup = cgroup_of(task);
	read_caller(r, task);
	read_known_ends(r, (void *)sk);
	report_call(p, t, call);
	return 0;
}
