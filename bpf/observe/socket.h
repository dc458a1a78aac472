/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What becomes of the socket after its attempt: state changes, and the evidence for why. */

static __always_inline void unfollowed(void)
{
	struct cpu_counters *c = count();

	if (c)
		c->unfollowed++; /* 32,768 attempts are under way already */
}

/* The longest that soft interrupts may hold up a change of state between two programs that look at it. */
enum { SAME_CHANGE = 10 * 1000 * 1000 };

/*
 * An attempt by its socket. Where there is one already, it is this one, seen twice (see socket_state_missed), or one
 * whose end was overlooked, and of which nothing more can be known. ``window``: nanoseconds in which another id of the
 * same thread means the same change. Returns 0, -EEXIST where it was seen before, or what the map says.
 * (Before Linux 6.4, d7ba4cc900bf, only 32 bits of what a map says are to be relied on: so int, not long.)
 */
static __always_inline int take_off(u64 key, const struct attempt *r, const void *flight, u64 window)
{
	int error = bpf_map_update_elem(&flights, &key, flight, BPF_NOEXIST);
	struct cpu_counters *c = count();
	struct flight *old;

	if (error != -EEXIST)
		return error;
	old = bpf_map_lookup_elem(&flights, &key);
	if (old) {
		if (old->record.id == r->id || (old->record.tid == r->tid && r->began - old->record.began < window))
			return -EEXIST;
		old->record.phase = PHASE_PENDING;
		submit(&old->record);
		if (c)
			c->submitted++; /* its only record */
		overlooked();
	}
	return bpf_map_update_elem(&flights, &key, flight, BPF_ANY);
}

/* The attempt of a call that is under way goes over to its socket. */
static __always_inline void flight_of_call(struct under_way *u, struct task_struct *task, struct sock *sk)
{
	u64 key = (u64)sk;
	int error;

	u->record.flags |= FLAG_FOLLOWED;
	u->record.cookie = bpf_get_socket_cookie(sk);
	read_ends(&u->record, sk);
	u->record.flags &= ~FLAG_LOCAL; /* the local end is chosen after this */
	compare_ends(&u->record, task, sk);
	error = take_off(key, &u->record, u, 0); /* an under_way begins with a flight */
	if (error && error != -EEXIST) {
		u->record.flags &= ~FLAG_FOLLOWED;
		unfollowed();
	}
}

/*
 * A socket that goes to SYN_SENT without a call that we saw: io_uring, Fast Open from sendto(2), 32-bit processes
 * where a tier does not see their calls, and the kernel itself.
 */
static __always_inline void flight_of_socket(struct task_struct *task, struct sock *sk)
{
	struct cpu_counters *c = count();
	u64 key = (u64)sk;
	struct flight *f;
	struct attempt *r;
	int error;

	if (of_mptcp(sk) && !(task->flags & PF_KTHREAD)) {
		subflow_began(sk); /* the first one of an MPTCP socket, which is followed itself */
		return;
	}
	if (!c || !caller_wanted(task))
		return;
	f = cleared_scratch(SCRATCH_TASK);
	if (!f)
		return;
	r = &f->record;
	read_kind(r, sk);
	r->bound = 0; /* Fast Open and io_uring bind before this */
	r->type = SOCK_STREAM;
	read_ends(r, sk);
	r->flags &= ~FLAG_LOCAL;
	if (!peer_wanted(r->family, r->dport))
		return;
	begin_record(r, task, c);
	read_way(r, task, key, true);
	compare_ends(r, task, sk);
	forget_other_request(r);
	r->cookie = bpf_get_socket_cookie(sk);
	r->flags |= FLAG_FOLLOWED;
	if (r->protocol == IPPROTO_TCP && PEEK(struct tcp_sock, sk, fastopen_req))
		r->flags |= FLAG_FASTOPEN;
	if (by_fastopen(r))
		f->parts = narrow.returns & RETURNS_FASTOPEN ? 0 : FLAG_RETURNED;
	else if (!(r->entry == ENTRY_IO_URING && narrow.uring))
		f->parts = FLAG_RETURNED; /* nothing will return; io_uring's completion does */
	if (narrow.conversation && f->parts)
		talk_joined(r, key, true);
	error = take_off(key, r, f, SAME_CHANGE);
	if (error == -EEXIST) {
		c->joined++; /* its beginning was counted twice */
	} else if (error) {
		unfollowed();
		r->phase = PHASE_PENDING; /* all that will ever be known */
		submit(r);
	} else if (!f->parts && by_fastopen(r)) {
		__sync_fetch_and_add(&opening, 1);
	}
}

static __always_inline void flight_begin(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct under_way *u = bpf_task_storage_get(&calls, task, NULL, 0);

	if (u && u->stage == STAGE_UNWANTED)
		return;
	if (u && u->stage == STAGE_CALLED) {
		if (u->sk == (u64)sk)
			flight_of_call(u, task, sk);
		else if (u->record.family != AF_INET && u->record.family != AF_INET6)
			return; /* a TCP socket inside another one (SMC): the call is the attempt */
		else
			flight_of_socket(task, sk);
		return;
	}
	flight_of_socket(task, sk);
}

/* Closed without an error: by a call, or because whoever held it last has died, which need not be who made the attempt. */
static __always_inline void closed_here(struct attempt *r, struct task_struct *task, const struct sock *sk)
{
	if (task->flags & PF_EXITING)
		mark(r, FLAG_EXITING);
	/* tcp_disconnect sets the error after the state; close(2) has shut both sides down before it gets here */
	if (r->protocol == IPPROTO_TCP && sk->__sk_common.skc_state == TCP_SYN_SENT && !sk->sk_shutdown) {
		r->err = ECONNRESET;
		mark(r, FLAG_UNDONE);
	}
}

/*
 * An ICMP error that was not acted on at once stays on the socket until SO_ERROR gives it to the application. What was
 * there and is gone when the socket is closed, the application has got.
 */
static __always_inline void soft_error(struct attempt *r, u16 now)
{
	u16 was = r->soft ?: r->icmp_err;

	if (!now && was && !r->err && r->state == TCP_CLOSE && r->protocol == IPPROTO_TCP)
		r->err = r->soft = was;
	else if (now)
		r->soft = now;
}

static __always_inline void flight_settle(struct sock *sk, int state)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 key = (u64)sk, parts;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	struct under_way *u;
	struct attempt *r;

	if (!f) {
		if (of_mptcp(sk))
			subflow_settled(sk, state);
		return;
	}
	r = &f->record;
	if (narrow.conversation && state == TCP_ESTABLISHED)
		talk_marked(key, TALK_CONNECTED);
	r->ended = bpf_ktime_get_boot_ns();
	r->state = state;
	if (sk->sk_err) /* an MPTCP socket gets its own later than its state, and has that of its subflow until then */
		r->err = sk->sk_err;
	if (!(r->flags & FLAG_LOCAL)) { /* MPTCP: they are those of its subflow */
		read_ends(r, sk);
		if (state == TCP_CLOSE) /* the port is given back before the state changes, but its copy stays */
			bpf_core_read(&r->sport, sizeof(r->sport), &((struct inet_sock *)sk)->inet_sport);
	}
	if (r->flags & FLAG_DEFERRED && PEEK(struct tcp_sock, sk, segs_out))
		unmark(r, FLAG_DEFERRED); /* the data were sent, and the SYN with them */
	if (state == TCP_CLOSE && !r->err)
		closed_here(r, task, sk);
	if (state == TCP_CLOSE)
		find_stray(r, sk);
	soft_error(r, sk->sk_err_soft);
	if (task->tgid == r->pid)
		mark(r, FLAG_BY_CALL);
	mark(r, FLAG_SETTLED);
	parts = __sync_fetch_and_or(&f->parts, FLAG_SETTLED);
	if (!(parts & FLAG_RETURNED)) {
		/* The exit of the call will submit it, unless that was left by a jump out of a signal handler, and closed. */
		if (task->pid != r->tid || state != TCP_CLOSE || sk->sk_err)
			return;
		u = bpf_task_storage_get(&calls, task, NULL, 0);
		if (!u || u->stage != STAGE_INTERRUPTED)
			return;
		u->stage = STAGE_NONE;
	}
	submit(r);
	bpf_map_delete_elem(&flights, &key);
}

/*
 * Most changes are of no attempt: these go to SYN_SENT, leave it, or end a simultaneous open. A socket that goes from
 * SYN_RECV to ESTABLISHED before any process has it is the peer's of an attempt, and was never one itself.
 */
static __always_inline bool of_attempt(const struct sock *sk, int old, int new)
{
	if (old == TCP_SYN_RECV)
		return new != TCP_ESTABLISHED || sk->sk_socket;
	return new == TCP_SYN_SENT || (old == TCP_SYN_SENT && new != TCP_SYN_RECV);
}

static __always_inline void state_changed(struct sock *sk, int old, int new)
{
	if (new == TCP_SYN_SENT)
		flight_begin(sk);
	else
		flight_settle(sk, new);
}

/*
 * The kernel skips a program that is already running on this CPU, and a soft interrupt may change the state of one
 * socket while the program runs for another: a verdict would be lost. So there are two; the second does the work only
 * where the first has not noted that it did. (One pair of nested events is all there can be: soft interrupts do not
 * interrupt each other.) Few hosts need the second, so it is attached once the first has been skipped; what was missed by
 * then is found by what_was_overlooked.
 */
struct state_noted {
	u64 sk;
	u64 change;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct state_noted);
} noted SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, struct sock *sk, int old, int new)
{
	u32 zero = 0;
	struct state_noted *n;

	if (!of_attempt(sk, old, new))
		return 0;
	n = bpf_map_lookup_elem(&noted, &zero);
	if (n) {
		n->sk = (u64)sk;
		n->change = (u64)old << 32 | (u32)new;
	}
	state_changed(sk, old, new);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state_missed, struct sock *sk, int old, int new)
{
	u32 zero = 0;
	struct state_noted *n;

	if (!of_attempt(sk, old, new))
		return 0;
	n = bpf_map_lookup_elem(&noted, &zero);
	if (n && n->sk == (u64)sk && n->change == ((u64)old << 32 | (u32)new)) {
		n->sk = 0;
		return 0;
	}
	state_changed(sk, old, new);
	return 0;
}

/* Whether the peer is this very host, whatever its address: then the route is by the loopback device. */
static __always_inline bool answered_here(const void *sk)
{
	void *route = PEEK(struct sock, sk, sk_dst_cache), *device;

	device = route ? PEEK(struct dst_entry, route, dev) : NULL;
	return device && PEEK(struct net_device, device, flags) & IFF_LOOPBACK;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(socket_reset, struct sock *sk)
{
	struct attempt *r = flight_of(sk);

	if (r) {
		mark(r, answered_here(sk) ? FLAG_RST | FLAG_RST_HERE : FLAG_RST);
		step(r, STEP_RST, 0);
	}
	if (narrow.conversation)
		talk_marked((u64)sk, TALK_RESET);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(socket_retransmit, struct sock *sk)
{
	struct attempt *r = flight_of(sk);

	if (r && r->syns < 255) {
		r->syns++;
		step(r, STEP_SYN, 0);
	}
	return 0;
}

/* Only where the kernel says why it dropped a packet (the reason argument came with 5.17, c504e5c2f964). */
SEC("tp_btf/kfree_skb")
int BPF_PROG(socket_drop, struct sk_buff *skb, void *location, int reason)
{
	struct sock *sk = skb->sk;
	struct attempt *r = sk ? flight_of(sk) : NULL;

	if (!r) {
		note_stray(skb, reason);
		return 0;
	}
	if (!r->drop)
		r->drop = reason;
	step(r, STEP_DROP, reason);
	return 0;
}

/* An error for a connected UDP socket, long after its attempt was reported. */
static __always_inline void late_error(struct sock *sk)
{
	struct flight *f = cleared_scratch(SCRATCH_SOFTIRQ);
	struct attempt *r;

	if (!f)
		return;
	r = &f->record;
	r->kind = RECORD_ATTEMPT;
	r->phase = PHASE_LATE;
	read_kind(r, sk);
	read_ends(r, sk);
	read_icmp(r, sk);
	r->err = sk->sk_err;
	r->ended = bpf_ktime_get_boot_ns();
	submit(r);
}

SEC("tp_btf/inet_sk_error_report")
int BPF_PROG(socket_error, struct sock *sk)
{
	u8 state = sk->__sk_common.skc_state;
	struct attempt *r;

	if (sk->sk_protocol == IPPROTO_UDP && state == TCP_ESTABLISHED) {
		late_error(sk);
	} else if (state == TCP_SYN_SENT && !sk->sk_err) { /* queued, and nothing decided yet */
		r = flight_of(sk);
		if (r)
			read_icmp(r, sk);
	}
	return 0;
}
