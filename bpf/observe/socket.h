/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What becomes of the socket after its attempt: state changes, and the evidence for why. */

static __always_inline void flight_begin(struct sock *sk)
{
	struct under_way *u = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);
	u64 key = (u64)sk;
	struct flight f;

	if (!u || !u->active || u->sk != key)
		return;
	u->record.flags |= FLAG_FOLLOWED | FLAG_PEER;
	u->record.cookie = bpf_get_socket_cookie(sk);
	read_ends(&u->record, sk);
	u->record.flags &= ~FLAG_LOCAL; /* the local end is chosen after this */
	__builtin_memcpy(&f.record, &u->record, sizeof(f.record));
	f.parts = 0;
	if (bpf_map_update_elem(&flights, &key, &f, BPF_ANY)) {
		struct cpu_counters *c = count();

		u->record.flags &= ~FLAG_FOLLOWED;
		if (c)
			c->unfollowed++;
	}
}

static __always_inline void flight_settle(struct sock *sk, int state)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 key = (u64)sk, parts;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	struct attempt *r;

	if (!f)
		return;
	r = &f->record;
	r->ended = bpf_ktime_get_boot_ns();
	r->state = state;
	r->err = sk->sk_err;
	r->soft = sk->sk_err_soft;
	read_ends(r, sk);
	if (state == TCP_CLOSE) /* the port is given back before the state changes, but its copy stays */
		bpf_core_read(&r->sport, sizeof(r->sport), &((struct inet_sock *)sk)->inet_sport);
	if (task->tgid == r->pid) {
		r->flags |= FLAG_BY_CALL;
		if (task->flags & PF_EXITING)
			r->flags |= FLAG_EXITING;
	}
	r->flags |= FLAG_SETTLED;
	parts = __sync_fetch_and_or(&f->parts, FLAG_SETTLED);
	if (!(parts & FLAG_RETURNED))
		return; /* the exit of the call will submit it */
	submit(r);
	bpf_map_delete_elem(&flights, &key);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, struct sock *sk, int old, int new)
{
	if (new == TCP_SYN_SENT)
		flight_begin(sk);
	else if ((old == TCP_SYN_SENT && new != TCP_SYN_RECV) || (old == TCP_SYN_RECV))
		flight_settle(sk, new);
	return 0;
}

static __always_inline struct attempt *flight_of(const struct sock *sk)
{
	u64 key = (u64)sk;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);

	return f ? &f->record : NULL;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(socket_reset, struct sock *sk)
{
	struct attempt *r = flight_of(sk);

	if (r)
		r->flags |= FLAG_RST;
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(socket_retransmit, struct sock *sk)
{
	struct attempt *r = flight_of(sk);

	if (r && r->syns < 255)
		r->syns++;
	return 0;
}

/* Only where the kernel says why it dropped a packet (the reason argument came with 5.17, 85125597419a). */
SEC("tp_btf/kfree_skb")
int BPF_PROG(socket_drop, struct sk_buff *skb, void *location, int reason)
{
	struct sock *sk = skb->sk;
	struct attempt *r;

	if (!sk)
		return 0;
	r = flight_of(sk);
	if (r && !r->drop)
		r->drop = reason;
	return 0;
}
