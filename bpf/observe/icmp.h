/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * ICMP errors that arrive for a TCP attempt: type and code, of which the socket keeps only an errno. The packet quotes
 * the SYN, so the attempt is found by its addresses and ports. Trampolines and kprobes only.
 */

struct quoted {
	ip_addr from, to;
	u16 sport, dport; /* network order */
	u32 family;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct quoted);
	__type(value, u64);
} syns SEC(".maps");

/* tcp_connect sends the SYN: both ends are final now. */
static __always_inline void syn_sent(const void *sk)
{
	struct attempt *r = flight_of(sk);
	struct quoted key = {};
	u64 value = (u64)sk;
	struct attempt ends;

	if (!r)
		return;
	ends.family = r->family;
	ends.flags = 0;
	__builtin_memset(ends.saddr, 0, sizeof(ends.saddr));
	__builtin_memset(ends.daddr, 0, sizeof(ends.daddr));
	read_ends(&ends, sk);
	__builtin_memcpy(key.from, ends.saddr, sizeof(key.from));
	__builtin_memcpy(key.to, ends.daddr, sizeof(key.to));
	key.sport = ends.sport;
	key.dport = ends.dport;
	key.family = ends.family;
	bpf_map_update_elem(&syns, &key, &value, BPF_ANY);
}

static __always_inline void icmp_arrived(struct quoted *key, u8 type, u8 code)
{
	u64 *sk = bpf_map_lookup_elem(&syns, key);
	struct attempt *r = sk ? flight_of((void *)*sk) : NULL;

	if (!r)
		return;
	r->icmp_type = type;
	r->icmp_code = code;
	r->flags |= FLAG_ICMP;
}

/* skb->data is the quoted IPv4 header; the ICMP header is the skb's transport header. */
static __always_inline void icmp4(const void *skb)
{
	void *head = PEEK(struct sk_buff, skb, head), *data = PEEK(struct sk_buff, skb, data);
	u16 at = PEEK(struct sk_buff, skb, transport_header);
	struct quoted key = { .family = AF_INET };
	u8 ihl = 0, icmp[2] = {};

	bpf_probe_read_kernel(icmp, sizeof(icmp), head + at);
	bpf_probe_read_kernel(&ihl, 1, data);
	bpf_probe_read_kernel(key.from, 4, data + 12);
	bpf_probe_read_kernel(key.to, 4, data + 16);
	bpf_probe_read_kernel(&key.sport, 4, data + (ihl & 15) * 4);
	icmp_arrived(&key, icmp[0], icmp[1]);
}

/* skb->data is the quoted IPv6 header, `offset` the place of the TCP header behind it. */
static __always_inline void icmp6(const void *skb, u8 type, u8 code, int offset)
{
	void *data = PEEK(struct sk_buff, skb, data);
	struct quoted key = { .family = AF_INET6 };

	bpf_probe_read_kernel(key.from, 16, data + 8);
	bpf_probe_read_kernel(key.to, 16, data + 24);
	bpf_probe_read_kernel(&key.sport, 4, data + offset);
	icmp_arrived(&key, type, code);
}

SEC("fentry/tcp_connect")
int BPF_PROG(trampoline_syn, struct sock *sk)
{
	syn_sent(sk);
	return 0;
}

SEC("fentry/tcp_v4_err")
int BPF_PROG(trampoline_icmp4, struct sk_buff *skb)
{
	icmp4(skb);
	return 0;
}

SEC("fentry/tcp_v6_err")
int BPF_PROG(trampoline_icmp6, struct sk_buff *skb, void *opt, u8 type, u8 code, int offset)
{
	icmp6(skb, type, code, offset);
	return 0;
}

SEC("kprobe/tcp_connect")
int BPF_KPROBE(kprobe_syn, void *sk)
{
	syn_sent(sk);
	return 0;
}

SEC("kprobe/tcp_v4_err")
int BPF_KPROBE(kprobe_icmp4, void *skb)
{
	icmp4(skb);
	return 0;
}

SEC("kprobe/tcp_v6_err")
int BPF_KPROBE(kprobe_icmp6, void *skb, void *opt, u8 type, u8 code, int offset)
{
	icmp6(skb, type, code, offset);
	return 0;
}
