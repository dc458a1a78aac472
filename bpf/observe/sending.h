/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sends that are attempts: to an address without connect(2), and with MSG_FASTOPEN. Here is what they came to; what a
 * datagram of UDP goes to is seen in datagram.h, the SYN of Fast Open in socket.h. Two kinds of hooks bring us here:
 * the return of a protocol's own function, which sends on connected sockets of TCP never enter (trampolines), and the
 * tracepoint that every send on a socket passes (Linux 6.3 and later, for the tiers without trampolines).
 */

enum { RETURNS_DATAGRAM = 1, RETURNS_FASTOPEN = 2 }; /* bits of narrow.returns */

/* A send between the hook that saw its destination and its return. Records are put together here: nobody else has the key. */
struct send_key {
	u64 task;
	u64 sk;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct send_key);
	__type(value, struct attempt);
} sends SEC(".maps");

static struct attempt blank; /* never written */
/* As `opening`, of datagrams. */
static u64 sending;

/* What a socket sent to last: the address, or a digest of it with the error that came of it (in `port`). */
struct destination {
	ip_addr address;
	u32 port;
	u32 family;
};

/*
 * By the socket's cookie, not in its own storage: programs with socket storage on a function of a module crash the kernel
 * as they load (seen with 6.12: bpf_sk_storage_tracing_allowed looks for its name among vmlinux's types), and what is a
 * module differs by distribution.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct destination);
} sent_to_names SEC(".maps");

static __always_inline struct attempt *send_begin(const struct send_key *key, struct cpu_counters *c)
{
	struct attempt *r = bpf_map_lookup_elem(&sends, key);

	if (r) {
		submit(r); /* its return was missed */
		__sync_fetch_and_add(&sending, -1);
	}
	if (bpf_map_update_elem(&sends, key, &blank, BPF_ANY)) {
		c->entered++;
		c->lost[RECORD_ATTEMPT]++;
		return NULL;
	}
	__sync_fetch_and_add(&sending, 1);
	return bpf_map_lookup_elem(&sends, key);
}

static __always_inline void send_end(const struct send_key *key)
{
	__sync_fetch_and_add(&sending, -1);
	bpf_map_delete_elem(&sends, key);
}

/* With the result of the call, unless that will be entered again. */
static __always_inline void send_over(const struct send_key *key, struct attempt *r, s64 ret)
{
	if (may_restart(ret))
		r->ended = bpf_ktime_get_boot_ns();
	else
		end_record(r, ret < 0 ? ret : 0);
	submit(r);
	send_end(key);
}

/* A datagram whose destination was seen. */
static __always_inline void datagram_returned(const void *sk, s64 ret)
{
	struct send_key key = { .task = (u64)bpf_get_current_task_btf(), .sk = (u64)sk };
	struct attempt *r = bpf_map_lookup_elem(&sends, &key);

	if (r)
		send_over(&key, r, ret);
}

/* Of several requests of io_uring for a socket, the address of another one was found: what the kernel used stands instead. */
static __always_inline void forget_other_request(struct attempt *r)
{
	if (r->entry != ENTRY_IO_URING || !(r->flags & (FLAG_SWAPPED | FLAG_REWRITTEN)))
		return;
	r->flags &= ~(FLAG_SWAPPED | FLAG_REWRITTEN);
	r->flags |= FLAG_NO_ADDRESS;
}

/* ---- Fast Open ---- */

/* The kernel will enter the send again, or a handler makes it EINTR: as of connect(2), see attempt_signal. */
static __always_inline bool send_interrupted(const struct attempt *r, u64 sk)
{
	struct under_way *u =
		bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!u)
		return false;
	__builtin_memcpy(&u->record, r, sizeof(u->record));
	u->parts = 0;
	u->sk = sk;
	u->stage = STAGE_INTERRUPTED;
	return true;
}

static __always_inline void send_entered_again(struct attempt *r, u64 sk)
{
	struct under_way *u = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);

	if (!u || u->stage != STAGE_INTERRUPTED || u->sk != sk)
		return;
	u->stage = STAGE_NONE;
	mark(r, FLAG_RESTARTED);
}

/* Returns whether the socket is in an attempt. */
static __always_inline bool fastopen_returned(const void *sk, s64 ret)
{
	u64 key = (u64)sk, parts;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	struct attempt *r;

	if (!f)
		return false;
	r = &f->record;
	if (!by_fastopen(r) || r->flags & FLAG_RETURNED)
		return true;
	if (may_restart(ret)) {
		if (r->entry != ENTRY_IO_URING && send_interrupted(r, key))
			return true;
		ret = -EINTR;
	} else {
		send_entered_again(r, key);
	}
	__sync_fetch_and_add(&opening, -1);
	r->ret = ret < 0 ? ret : 0;
	mark(r, FLAG_RETURNED);
	if (still_under_way(r->ret) || r->flags & FLAG_SETTLED) {
		parts = __sync_fetch_and_or(&f->parts, FLAG_RETURNED);
		if (!(parts & FLAG_SETTLED)) {
			r->soft = PEEK(struct sock, sk, sk_err_soft); /* see soft_error */
			return true; /* the state change will submit it */
		}
	} else {
		r->ended = bpf_ktime_get_boot_ns();
	}
	submit(r);
	bpf_map_delete_elem(&flights, &key);
	return true;
}

/* ---- to an address, on sockets for which there is no other hook ---- */

struct aim {
	u8 sockaddr[128];
	s32 length;
};

/* The kernel's copy. */
static __always_inline bool read_name(struct aim *aim, const struct msghdr *msg)
{
	void *name = msg->msg_name;
	u32 size = msg->msg_namelen;

	aim->length = size;
	if (!name || aim->length <= 0)
		return false;
	barrier_var(size);
	if (size > sizeof(aim->sockaddr))
		size = sizeof(aim->sockaddr);
	return !bpf_probe_read_kernel(aim->sockaddr, size, name);
}

static __always_inline void digest(struct destination *to, const struct aim *aim)
{
	u64 *words = (u64 *)aim->sockaddr, *sums = (u64 *)to->address;

	sums[0] = sums[1] = (u64)aim->length;
#pragma unroll
	for (int i = 0; i < 16; i++) {
		sums[0] = (sums[0] ^ words[i]) * 0x100000001b3ULL;
		sums[1] = (sums[1] + words[i]) * 0x9e3779b97f4a7c15ULL;
		sums[1] ^= sums[1] >> 29;
	}
}

/* Whether this is other than what the socket's last send came to. That there was no room for it right now is no change. */
static __always_inline bool another_aim(u64 cookie, const struct aim *aim, s64 ret)
{
	struct destination *last = bpf_map_lookup_elem(&sent_to_names, &cookie);
	struct destination to = { .family = *(u16 *)aim->sockaddr, .port = ret < 0 ? -ret : 0 };
	u64 *a, *b = (u64 *)to.address;

	digest(&to, aim);
	if (last) {
		a = (u64 *)last->address;
		if (a[0] == b[0] && a[1] == b[1] && last->family == to.family &&
		    (last->port == to.port || to.port == EAGAIN))
			return false;
	}
	bpf_map_update_elem(&sent_to_names, &cookie, &to, BPF_ANY);
	return true;
}

static __always_inline void name_sent(struct sock *sk, const struct aim *aim, s64 ret, bool opening_only)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct send_key key = { .task = (u64)task, .sk = (u64)sk };
	struct cpu_counters *c = count();
	struct attempt *r;
	u64 cookie;

	if (!c || !caller_wanted(task) || may_restart(ret))
		return;
	if ((narrow.families || narrow.nports) && !address_wanted(aim->sockaddr))
		return;
	cookie = bpf_get_socket_cookie(sk);
	if (!opening_only && !another_aim(cookie, aim, ret))
		return;
	r = send_begin(&key, c);
	if (!r)
		return;
	begin_record(r, task, c);
	read_way(r, task, (u64)sk, opening_only);
	read_kind(r, sk);
	r->type = sk->sk_type;
	r->cookie = cookie;
	__builtin_memcpy(r->sockaddr, aim->sockaddr, sizeof(r->sockaddr));
	r->addrlen = aim->length;
	r->flags &= ~(FLAG_NO_ADDRESS | FLAG_UNREADABLE);
	r->flags |= opening_only ? FLAG_FASTOPEN : FLAG_SENT;
	if (narrow.conversation)
		talk_joined(r, (u64)sk, false);
	send_over(&key, r, ret);
}

/*
 * A send of Fast Open that failed before there could be a SYN, also because it is switched off, or asked for to dissolve
 * (AF_UNSPEC): nothing else sees it.
 */
static __always_inline bool opened_nothing(const struct sock *sk, s64 ret)
{
	return ret < 0 && sk->__sk_common.skc_state == TCP_CLOSE;
}
