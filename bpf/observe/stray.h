/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * SYNs that this host dropped when they were no socket's any more: on the way in, on the way through (a container's SYN in
 * the host's forward chain), in another network namespace. The attempt finds its own by the sequence number and the port it
 * chose, which address translation leaves alone; it looks only where it failed, and only when there was such a drop at all.
 */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u32);
} strays SEC(".maps");
static bool strayed;

enum { TCP_FIN_SYN_RST_ACK = 0x17, TCP_SYN_ONLY = 0x02 };

static __always_inline u64 stray_key(u32 sequence, be_port source)
{
	return (u64)sequence << 16 | source;
}

/* Policies only: a firewall's and traffic control's. What TCP itself drops is no secret. */
static __always_inline bool by_policy(int reason)
{
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP))
		return true;
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_QDISC_DROP) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_QDISC_DROP))
		return true;
	return bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_TC_INGRESS) &&
	       reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_TC_INGRESS);
}

static __always_inline void note_stray(const struct sk_buff *skb, int reason)
{
	struct { be_port source, target; u32 sequence, acknowledged; u8 length, flags; } __attribute__((packed)) tcp;
	const u8 *at = skb->head + skb->network_header;
	u8 ip[10];
	u32 why = reason;
	u64 key;

	if (!by_policy(reason) || bpf_probe_read_kernel(ip, sizeof(ip), at))
		return;
	if (ip[0] >> 4 == 4 && ip[9] == IPPROTO_TCP)
		at += (ip[0] & 15) * 4;
	else if (ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP)
		at += 40;
	else
		return;
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), at) || (tcp.flags & TCP_FIN_SYN_RST_ACK) != TCP_SYN_ONLY)
		return;
	key = stray_key(__builtin_bswap32(tcp.sequence), tcp.source);
	if (!bpf_map_update_elem(&strays, &key, &why, BPF_ANY))
		strayed = true;
}

/* An attempt that failed: why its SYN was dropped, where nothing else told. */
static __always_inline void find_stray(struct attempt *r, const struct sock *sk)
{
	be_port source = 0;
	u32 *why;
	u64 key;

	if (!strayed || r->drop || r->protocol != IPPROTO_TCP || !r->err)
		return;
	bpf_core_read(&source, sizeof(source), &((struct inet_sock *)sk)->inet_sport);
	key = stray_key(PEEK(struct tcp_sock, sk, snd_una), source);
	why = bpf_map_lookup_elem(&strays, &key);
	if (!why)
		return;
	r->drop = *why;
	bpf_map_delete_elem(&strays, &key);
}
