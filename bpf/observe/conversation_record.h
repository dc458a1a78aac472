/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What is told of a call around an attempt (-e network), and of a connection when its socket goes away. */

/* Both ends, as far as there are any. */
static __always_inline void read_known_ends(struct attempt *r, void *sk)
{
	if (!sk || (r->family != AF_INET && r->family != AF_INET6))
		return;
	read_ends(r, sk);
	if (!r->sport) /* given back when the connection broke; its copy stays */
		bpf_core_read(&r->sport, sizeof(r->sport), &((struct inet_sock *)sk)->inet_sport);
	if (!r->sport)
		r->flags &= ~FLAG_LOCAL;
	if (!r->dport)
		r->flags &= ~FLAG_PEER;
}

/* Not inlined: as the type of a parameter the struct gets into the object's BTF, where user space reads its layout. */
static __attribute__((noinline)) void fill_call(struct call *out, const struct attempt *r)
{
	__builtin_memset(out, 0, sizeof(*out));
	out->kind = RECORD_CALL;
	out->cpu = bpf_get_smp_processor_id();
	out->id = r->id;
	out->began = r->began;
	out->ended = r->ended;
	out->start = r->start;
	out->cgroup = r->cgroup;
	out->cookie = r->cookie;
	out->pointer = r->pointer;
	out->pid = r->pid;
	out->tid = r->tid;
	out->ppid = r->ppid;
	out->uid = r->uid;
	out->gid = r->gid;
	out->euid = r->euid;
	out->netns = r->netns;
	out->image = r->image;
	out->directory = r->directory;
	out->caps = r->caps;
	out->fd = r->fd;
	out->addrlen = r->addrlen;
	out->ret = r->ret;
	out->flags = r->flags;
	out->family = r->family;
	out->protocol = r->protocol;
	out->type = r->type;
	out->sport = r->sport;
	out->dport = r->dport;
	out->peer_family = r->peer_family;
	__builtin_memcpy(out->saddr, r->saddr, sizeof(out->saddr));
	__builtin_memcpy(out->daddr, r->daddr, sizeof(out->daddr));
	__builtin_memcpy(out->comm, r->comm, sizeof(out->comm));
	__builtin_memcpy(out->sockaddr, r->sockaddr, sizeof(out->sockaddr));
}

static __always_inline struct call *new_call(const struct attempt *r)
{
	struct cpu_counters *c = count();
	struct call *out;

	if (!c)
		return NULL;
	out = bpf_ringbuf_reserve(&ring, sizeof(*out), 0);
	if (!out) {
		c->lost[RECORD_CALL]++;
		return NULL;
	}
	fill_call(out, r);
	out->lost = c->lost[RECORD_CALL];
	return out;
}

static __always_inline void report_call(struct talking *p, struct talk *t, u32 call)
{
	struct call *out;

	/* ports and families are known of attempts only */
	if ((narrow.families || narrow.nports) && !(t && t->marks & TALK_ATTEMPTED))
		return;
	out = new_call(&p->record);
	if (!out)
		return;
	out->call = call;
	out->value = p->value;
	bpf_ringbuf_submit(out, wake_flag());
}

/*
 * TCP's own counts, as far as they are payload: what was handed over but not yet sent is in them, the FIN of either side
 * is not (it has a number in the sequence, and rcv_nxt's growth counts it).
 */
static __always_inline void read_tcp(struct call *out, void *sk)
{
	u32 unsent = PEEK(struct tcp_sock, sk, write_seq) - PEEK(struct tcp_sock, sk, snd_nxt);
	u32 unread = PEEK(struct tcp_sock, sk, rcv_nxt) - PEEK(struct tcp_sock, sk, copied_seq);
	bool fin = PEEK(struct sock, sk, __sk_common.skc_flags) >> SOCK_DONE & 1;

	if (unsent && (out->state == TCP_FIN_WAIT1 || out->state == TCP_LAST_ACK || out->state == TCP_CLOSING))
		unsent--;
	out->sent = PEEK(struct tcp_sock, sk, bytes_sent) - PEEK(struct tcp_sock, sk, bytes_retrans) + unsent;
	out->received = PEEK(struct tcp_sock, sk, bytes_received) - fin;
	if (fin)
		out->marks |= TALK_FIN;
	/* reading the end of the stream moves copied_seq over the FIN only sometimes */
	if ((s32)(unread - fin) > 0)
		out->marks |= TALK_UNREAD;
}

/* The socket goes away: one record if it was connected. */
static __always_inline void talk_over(const struct attempt *r, struct talk *t, u64 sk)
{
	struct call *out;
	void *at = (void *)sk;

	if (t->marks & TALK_CONNECTED && (out = new_call(r))) {
		out->call = CALL_END;
		out->id = t->id;
		out->fd = t->fd;
		out->began = t->began;
		out->ended = bpf_ktime_get_boot_ns();
		out->marks = t->marks;
		out->state = PEEK(struct sock, at, __sk_common.skc_state);
		out->err = PEEK(struct sock, at, sk_err);
		out->sent = t->sent;
		out->received = t->received;
		if (r->protocol == IPPROTO_TCP && r->family != AF_UNIX)
			read_tcp(out, at);
		else if (PEEK(struct sock, at, sk_shutdown) & RCV_SHUTDOWN && !(out->marks & TALK_SHUT))
			out->marks |= TALK_FIN;
		bpf_ringbuf_submit(out, wake_flag());
	}
	bpf_map_delete_elem(&talks, &sk);
}
