/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Datagrams sent to an address without connect(2). The kernel runs these hooks only for such sends, so nothing else
 * pays. They observe: they return 1 always, which lets the datagram pass. One record for each change of a socket's
 * destination, not for each datagram.
 */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct destination);
} sent_to SEC(".maps");

/*
 * Which message of a sendmmsg(2) goes to r's peer: registers tell where the vector is, not how far the kernel has come.
 * The first was looked at already. Beyond MOST_HEADS, and where memory has changed, it is not known.
 */
enum { MOST_HEADS = 8 }; /* the verifier goes through each: more would take longer to load */
static __attribute__((noinline)) int find_message(struct attempt *r, u64 vector, u32 count, bool compat)
{
	if (!r)
		return 0;
	for (u32 i = 1; i < MOST_HEADS && i < count; i++) {
		r->flags &= ~FLAG_UNREADABLE;
		read_msghdr(r, vector + i * (compat ? 32 : 64), compat);
		if (!(r->flags & FLAG_UNREADABLE) && *(u16 *)r->sockaddr && asked_is_used(r))
			return 0;
	}
	r->flags |= FLAG_NO_ADDRESS;
	return 0;
}

static __always_inline void read_message(struct attempt *r, struct task_struct *task)
{
	struct registers call = {};

	if (r->entry != ENTRY_SENDMMSG || (!(r->flags & FLAG_UNREADABLE) && asked_is_used(r)))
		return;
	read_call(&call, task);
	if (call.compat && call.number == NR32_SOCKETCALL)
		read_socketcall(&call);
	if ((u32)call.args[2] > 1)
		find_message(r, call.args[1], call.args[2], call.compat);
}

static __always_inline void datagram_sent(struct bpf_sock_addr *ctx, const struct destination *to)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct send_key key = { .task = (u64)task };
	struct cpu_counters *c = count();
	struct destination *last;
	struct attempt *r;

	if (!ctx->sk || !c)
		return;
	last = bpf_sk_storage_get(&sent_to, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (last) {
		u64 *a = (u64 *)last->address, *b = (u64 *)to->address;

		if (last->family == to->family && last->port == to->port && a[0] == b[0] && a[1] == b[1])
			return;
		*last = *to;
	}
	if (!caller_wanted(task) || !peer_wanted(ctx->family, to->port))
		return;
	key.sk = (u64)ctx->sk;
	r = send_begin(&key, c);
	if (!r)
		return;
	r->family = ctx->family;
	r->type = ctx->type;
	r->protocol = ctx->protocol;
	r->dport = to->port;
	r->peer_family = to->family;
	__builtin_memcpy(r->daddr, to->address, sizeof(r->daddr));
	begin_record(r, task, c);
	read_way(r, task, key.sk, false);
	read_message(r, task);
	r->flags |= FLAG_PEER | FLAG_SENT;
	r->cookie = bpf_get_socket_cookie(ctx);
	if (narrow.conversation)
		talk_joined(r, key.sk, false); /* kernels before 6.2 let nothing else read a socket here */
	r->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	if (ctx->sk->src_port) {
		r->bound = ctx->sk->src_port;
		r->sport = __builtin_bswap16(ctx->sk->src_port);
		if (ctx->family == AF_INET) {
			*(u32 *)r->saddr = ctx->sk->src_ip4;
		} else {
			u32 *to6 = (u32 *)r->saddr;

			to6[0] = ctx->sk->src_ip6[0];
			to6[1] = ctx->sk->src_ip6[1];
			to6[2] = ctx->sk->src_ip6[2];
			to6[3] = ctx->sk->src_ip6[3];
		}
		r->flags |= FLAG_LOCAL;
	}
	compare_ends(r, task, NULL);
	forget_other_request(r);
	if (narrow.returns & RETURNS_DATAGRAM)
		return; /* the return of the send submits it */
	r->ended = r->began;
	submit(r);
	send_end(&key);
}

SEC("cgroup/sendmsg4")
int datagram_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct destination to = { .family = AF_INET };

	*(u32 *)to.address = ctx->user_ip4;
	to.port = (u16)ctx->user_port;
	datagram_sent(ctx, &to);
	return 1;
}

SEC("cgroup/sendmsg6")
int datagram_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct destination to = { .family = AF_INET6 };
	u32 *address = (u32 *)to.address;

	address[0] = ctx->user_ip6[0];
	address[1] = ctx->user_ip6[1];
	address[2] = ctx->user_ip6[2];
	address[3] = ctx->user_ip6[3];
	to.port = (u16)ctx->user_port;
	datagram_sent(ctx, &to);
	return 1;
}
