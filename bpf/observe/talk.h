/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sockets whose conversation is followed (-e network): which they are, and what ties their calls to their attempt.
 * Whatever else calls in here does so only where narrow.conversation is set, so that the verifier removes it elsewhere.
 */

/*
 * A followed socket, by its address in the kernel; the cookie tells it from a later one at the same place. Inserted by
 * socket(2), bind(2), accept(2) or the attempt, removed when the socket goes away; the least recently used give way.
 */
struct talk {
	u64 id;
	u64 cookie; /* 0 if it has none yet */
	u64 began;  /* of the attempt; of an accepted socket, the return of accept(2) */
	u64 sent, received; /* as the calls returned it; TCP counts by itself */
	s32 fd;
	u32 marks; /* talk_mark */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct talk);
} talks SEC(".maps");

/* What a thread is doing: the call that it is in, and the non-blocking connect(2) whose end it waits for. */
struct talking {
	struct attempt record; /* as much of it as a call has */
	u64 sk;
	u64 more; /* address of what the call gives back */
	s32 value;
	u32 call; /* call_kind, 0 outside */
	u64 waits_for; /* socket */
	s32 waits_fd;
	u32 spare;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct talking);
} talking SEC(".maps");

/* A new entry; its id is of another range than those that attempts take by themselves. */
static __always_inline struct talk *talk_begin(u64 sk, u64 cookie)
{
	struct cpu_counters *c = count();
	struct talk t = { .cookie = cookie, .fd = -1 };

	if (!c)
		return NULL;
	t.id = narrow.id_base + (1ULL << 40) + (c->talks++ << 10 | bpf_get_smp_processor_id());
	if (bpf_map_update_elem(&talks, &sk, &t, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&talks, &sk);
}

static __always_inline struct talk *talk_of(u64 sk, u64 cookie)
{
	struct talk *t = bpf_map_lookup_elem(&talks, &sk);

	if (!t || !cookie)
		return t;
	if (!t->cookie)
		t->cookie = cookie;
	return t->cookie == cookie ? t : NULL; /* else a later socket at the same address */
}

/*
 * An attempt takes the id that its socket was given. A further one on the same socket has its own, and takes over;
 * `asks`: it may only ask how far the one before is.
 */
static __always_inline void talk_joined(struct attempt *r, u64 sk, bool asks)
{
	struct talk *t;

	if (!sk)
		return;
	t = talk_of(sk, r->cookie);
	if (!t)
		t = talk_begin(sk, r->cookie);
	if (!t)
		return;
	if (t->marks & TALK_ATTEMPTED) {
		if (t->marks & TALK_CONNECTED)
			return;
		if (asks && PEEK(struct sock, (void *)sk, __sk_common.skc_state) == TCP_SYN_SENT)
			return;
		t->id = r->id;
		t->marks = 0;
	}
	r->id = t->id;
	t->began = r->began;
	t->fd = r->fd;
	t->marks |= TALK_ATTEMPTED;
}

static __always_inline void talk_marked(u64 sk, u32 mark)
{
	struct talk *t = bpf_map_lookup_elem(&talks, &sk);

	if (t)
		t->marks |= mark;
}

/* The attempt's call is over: connected, dissolved, or to be waited for. */
static __always_inline void talk_returned(struct task_struct *task, u64 sk, struct attempt *r, s64 ret)
{
	struct talk *t = bpf_map_lookup_elem(&talks, &sk);
	struct talking *p;

	if (!t || t->id != r->id)
		return;
	if (ret == 0) {
		if (*(u16 *)r->sockaddr == AF_UNSPEC)
			t->marks &= ~TALK_CONNECTED;
		else
			t->marks |= TALK_CONNECTED;
	} else if (ret == -EINPROGRESS) {
		p = bpf_task_storage_get(&talking, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (p) {
			p->waits_for = sk;
			p->waits_fd = r->fd;
		}
	}
}
