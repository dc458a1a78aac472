/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets that tell names: DNS queries and answers (port 53, UDP and TCP), and the first bytes of TLS clients.
 *
 * The hooks run for each packet that a socket of the cgroup sends or is given, so what is not asked for is let go after
 * a few loads. They observe: they return 1 always, which lets the packet pass. Packets go to a ring of their own, so
 * that a flood of them never costs an attempt; what does not fit is counted.
 *
 * A query is sent in the context of the process that asks, and so tells who asked; an answer arrives in that of nobody,
 * but on the socket that asked: what is sent from port 53 to a socket that asked nothing is left alone. Where addresses
 * are translated (Docker's resolver, kube-proxy) a query has another port by now; the socket knows the one that it wants.
 */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} packets SEC(".maps");

/* TLS records with a client hello of which more is to come, by cookie. The least recently used give way. */
struct unfinished {
	u32 sequence; /* of the next piece */
	u32 left;     /* bytes of the record that are still to come */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct unfinished);
} hellos SEC(".maps");

enum {
	DNS = 0x3500,	      /* port 53 in network order */
	PIECES = 4,	      /* records for one packet of TCP */
	HELLO_BYTES = 16384,  /* a client hello is over before so much was acknowledged */
	STREAM_BYTES = 65536, /* of a TCP connection to port 53; a zone transfer has more and tells nothing */
};

struct payload {
	u32 at;	    /* offset of the transport header, then of the payload */
	u32 length; /* bytes of it */
	u32 sequence;
	u16 from, to; /* ports, network order */
	u8 protocol;
};

static __always_inline bool find_ports(struct __sk_buff *ctx, struct payload *p)
{
	u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end, *ports;

	if (data + 28 > end) /* IPv4 and UDP */
		return false;
	if (data[0] >> 4 == 4) {
		p->at = (data[0] & 15) * 4;
		p->protocol = data[9];
	} else {
		p->at = 40;
		p->protocol = data[6]; /* extension headers: not followed */
	}
	ports = data + p->at;
	if (ports + 4 > end)
		return false;
	p->from = *(u16 *)ports;
	p->to = *(u16 *)(ports + 2);
	return true;
}

/* From the transport header to the payload; false where there is none. */
static __always_inline bool find_payload(struct __sk_buff *ctx, struct payload *p)
{
	u8 head[16];

	if (p->protocol == IPPROTO_UDP) {
		p->at += 8;
		p->sequence = 0;
	} else {
		if (bpf_skb_load_bytes(ctx, p->at, head, sizeof(head)))
			return false;
		p->sequence = __builtin_bswap32(*(u32 *)(head + 4)) + (head[13] >> 1 & 1); /* a SYN takes a number */
		p->at += (head[12] >> 4) * 4;
	}
	if (ctx->len <= p->at)
		return false;
	p->length = ctx->len - p->at;
	return true;
}

static __always_inline u64 packets_wake(void)
{
	return bpf_ringbuf_query(&packets, BPF_RB_AVAIL_DATA) > (1 << 20) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

enum { HEAD = __builtin_offsetof(struct packet, data), SHORT = 576 - HEAD };

/* Not inlined: as the type of a parameter the struct gets into the object's BTF, where user space reads its layout. */
static __attribute__((noinline)) void fill_packet(struct packet *r, struct __sk_buff *ctx, const struct payload *p, u8 is)
{
	struct bpf_sock *pointer = ctx->sk;
	u64 sk = 0;

	__builtin_memset(r, 0, HEAD);
	r->kind = RECORD_PACKET;
	r->is = is;
	r->length = p->length;
	r->when = bpf_ktime_get_boot_ns();
	r->cookie = bpf_get_socket_cookie(ctx);
	r->sequence = p->sequence;
	r->protocol = p->protocol;
	/* the address as a number: kernels before 6.2 let nothing read a socket through this pointer */
	bpf_probe_read_kernel(&sk, sizeof(sk), &pointer);
	r->netns = BPF_CORE_READ((struct sock *)sk, __sk_common.skc_net.net, ns.inum);
	if (is == PACKET_ANSWER) {
		r->cgroup = bpf_skb_cgroup_id(ctx);
	} else {
		struct task_struct *task = bpf_get_current_task_btf();

		r->pid = task->tgid;
		r->start = WALK(task, group_leader)->start_boottime;
		r->cgroup = WALK(WALK(WALK(task, cgroups), dfl_cgrp), kn)->id;
	}
}

static __always_inline void count_packet(void)
{
	struct cpu_counters *c = count();

	if (c)
		c->lost[RECORD_PACKET]++;
}

/* The payload into a record, `room` bytes at most. The size less one: so the verifier of 6.1 knows that it is not 0. */
#define COPY_PAYLOAD(r, ctx, from, size, room) ({                                                        \
	u32 last_ = (size) - 1;                                                                          \
	barrier_var(last_);                                                                              \
	if (last_ < (room) && !bpf_skb_load_bytes(ctx, from, (r)->data, last_ + 1))                      \
		(r)->kept = last_ + 1; })

/* One record of the payload, of the smaller size that holds it. Returns how many bytes it took. */
static __always_inline u32 put_piece(struct __sk_buff *ctx, const struct payload *p, u8 is)
{
	u32 kept = p->length;
	struct packet *r;

	/* reserved, not put together elsewhere and copied: on some kernels another packet may come in between */
	if (kept <= SHORT) {
		r = bpf_ringbuf_reserve(&packets, HEAD + SHORT, 0);
		if (!r)
			goto lost;
		fill_packet(r, ctx, p, is);
		COPY_PAYLOAD(r, ctx, p->at, kept, SHORT);
	} else {
		if (kept > sizeof(r->data))
			kept = sizeof(r->data);
		r = bpf_ringbuf_reserve(&packets, sizeof(*r), 0);
		if (!r)
			goto lost;
		fill_packet(r, ctx, p, is);
		COPY_PAYLOAD(r, ctx, p->at, kept, sizeof(r->data));
	}
	bpf_ringbuf_submit(r, packets_wake());
	return kept;
lost:
	count_packet();
	return kept;
}

/* A datagram as far as one record holds it; a part of a stream in several. */
static __always_inline void put_packet(struct __sk_buff *ctx, struct payload *p, u8 is)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < PIECES; i++) {
		u32 taken = put_piece(ctx, p, is);

		if (p->protocol == IPPROTO_UDP || p->length <= taken)
			return;
		p->at += taken;
		p->sequence += taken;
		p->length -= taken;
	}
}

static __always_inline struct bpf_sock *socket_of(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_fullsock(sk) : NULL;
}

static __always_inline struct bpf_tcp_sock *stream_of(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = socket_of(ctx);

	return sk ? bpf_tcp_sock(sk) : NULL;
}

/* Whether the socket is one that asks: connected to port 53, or the last address that it sent to has that port. */
static __always_inline bool asks(struct __sk_buff *ctx)
{
	u16 peer = ctx->remote_port >> 16; /* so the kernel gives it (net/core/filter.c, bpf_convert_ctx_access) */
	struct destination *last;
	struct bpf_sock *sk;

	if (peer)
		return peer == DNS;
	sk = socket_of(ctx);
	last = sk ? bpf_sk_storage_get(&sent_to, sk, 0, 0) : NULL;
	return last && last->port == DNS;
}

static __always_inline void put_dns(struct __sk_buff *ctx, struct payload *p, u8 is)
{
	if (p->protocol == IPPROTO_TCP) {
		struct bpf_tcp_sock *tcp = stream_of(ctx);

		if (!tcp || tcp->bytes_received > STREAM_BYTES || tcp->bytes_acked > STREAM_BYTES)
			return;
	} else if (p->protocol != IPPROTO_UDP) {
		return;
	}
	if (find_payload(ctx, p))
		put_packet(ctx, p, is);
}

/* The rest of a client hello of which a part was seen. */
static __always_inline void hello_goes_on(struct __sk_buff *ctx, struct payload *p)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct unfinished *u = bpf_map_lookup_elem(&hellos, &cookie);

	if (!u || u->sequence != p->sequence)
		return;
	if (p->length >= u->left) {
		bpf_map_delete_elem(&hellos, &cookie);
	} else {
		u->sequence += p->length;
		u->left -= p->length;
	}
	put_packet(ctx, p, PACKET_HELLO);
}

/* As caller_wanted, as far as programs on packets can tell; user space drops what belongs to no attempt. */
static __always_inline bool sender_wanted(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (narrow.npids && !ONE_OF(narrow.pids, narrow.npids, 16, (u32)task->tgid))
		return false;
	return !narrow.nuids || ONE_OF(narrow.uids, narrow.nuids, 16, WALK(task, real_cred)->uid.val);
}

/* What a TCP client sends first: a TLS record of the handshake, in it a client hello (RFC 8446, 4 and 5.1)? */
static __always_inline void put_hello(struct __sk_buff *ctx, struct payload *p)
{
	struct bpf_tcp_sock *tcp = stream_of(ctx);
	u32 segments, size;
	u8 head[6];

	if (!tcp || tcp->bytes_acked > HELLO_BYTES || !find_payload(ctx, p))
		return;
	segments = ctx->gso_segs;
	if (tcp->data_segs_out > (segments ? segments : 1)) /* counts this packet already (tcp_output.c) */
		return hello_goes_on(ctx, p);
	if (p->length < sizeof(head) || bpf_skb_load_bytes(ctx, p->at, head, sizeof(head)))
		return;
	if (head[0] != 0x16 || head[1] != 3 || head[5] != 1 || !sender_wanted())
		return;
	size = 5 + (head[3] << 8 | head[4]);
	if (size > p->length) {
		struct unfinished u = { p->sequence + p->length, size - p->length };
		u64 cookie = bpf_get_socket_cookie(ctx);

		bpf_map_update_elem(&hellos, &cookie, &u, BPF_ANY);
	}
	put_packet(ctx, p, PACKET_HELLO);
}

/* Whether a TCP packet has anything in it: most that a short connection consists of have not. */
static __always_inline bool has_data(struct __sk_buff *ctx, const struct payload *p)
{
	u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end, *head = data + p->at;

	if (head + 13 > end)
		return true; /* not here; it is looked for */
	return ctx->len > p->at + (head[12] >> 4) * 4;
}

SEC("cgroup_skb/ingress")
int names_received(struct __sk_buff *ctx)
{
	struct payload p;

	if (find_ports(ctx, &p) && p.from == DNS && asks(ctx))
		put_dns(ctx, &p, PACKET_ANSWER);
	return 1;
}

SEC("cgroup_skb/egress")
int names_sent(struct __sk_buff *ctx)
{
	struct payload p;

	if (!find_ports(ctx, &p) || (p.protocol == IPPROTO_TCP && !has_data(ctx, &p)))
		return 1;
	if (p.to == DNS || asks(ctx))
		put_dns(ctx, &p, PACKET_QUERY);
	else if (p.protocol == IPPROTO_TCP)
		put_hello(ctx, &p);
	return 1;
}
