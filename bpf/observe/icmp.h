/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * ICMP errors that come for a socket: type, code, and who sent them, of which the socket itself keeps only an errno.
 * IPv4 queues each one that comes in SYN_SENT for IP_RECVERR, whether or not that was asked for (Linux 5.8, 45af29ca761c),
 * and then reports an error, on every tier. IPv6, and UDP, do so only where it was asked for; but IPv6 has a function
 * that is called all the same, which trampolines and kprobes see.
 */

static __always_inline void icmp_of(struct attempt *r, u8 version, u8 type, u8 code, int error)
{
	r->icmp_type = type;
	r->icmp_code = code;
	r->icmp_err = error;
	unmark(r, FLAG_ICMP6 | FLAG_ICMP_HERE);
	mark(r, version == 6 ? FLAG_ICMP | FLAG_ICMP6 : FLAG_ICMP);
}

/* Who sent the ICMP packet; what this host sends itself comes in by the loopback device. */
static __always_inline void icmp_from(struct attempt *r, const void *skb)
{
	const void *header = PEEK(struct sk_buff, skb, head) + PEEK(struct sk_buff, skb, network_header);

	__builtin_memset(r->icmp_from, 0, sizeof(r->icmp_from));
	if (r->flags & FLAG_ICMP6)
		bpf_probe_read_kernel(r->icmp_from, 16, header + 8);
	else
		bpf_probe_read_kernel(r->icmp_from, 4, header + 12);
	if (PEEK(struct sk_buff, skb, skb_iif) == LOOPBACK_IFINDEX)
		mark(r, FLAG_ICMP_HERE);
}

/* The last packet of the socket's error queue, while its error is being reported. */
static __always_inline void read_icmp(struct attempt *r, const struct sock *sk)
{
	const void *last = sk->sk_error_queue.prev, *cb;
	u8 origin;

	if (!last || last == (void *)&sk->sk_error_queue)
		return;
	cb = last + bpf_core_field_offset(struct sk_buff, cb);
	origin = PEEK(struct sock_exterr_skb, cb, ee.ee_origin);
	if (origin != SO_EE_ORIGIN_ICMP && origin != SO_EE_ORIGIN_ICMP6)
		return;
	icmp_of(r, origin == SO_EE_ORIGIN_ICMP6 ? 6 : 4, PEEK(struct sock_exterr_skb, cb, ee.ee_type),
		PEEK(struct sock_exterr_skb, cb, ee.ee_code), PEEK(struct sock_exterr_skb, cb, ee.ee_errno));
	icmp_from(r, last);
	step(r, STEP_ICMP, 0);
}

/* Called for each error that tcp_v6_err is about to act on; the packet is the ICMPv6 message. */
static __always_inline void icmp6_arrived(const void *sk, const void *skb, int error)
{
	struct attempt *r = flight_of(sk);
	u8 icmp[2] = {};

	if (!r)
		return;
	bpf_probe_read_kernel(icmp, sizeof(icmp), PEEK(struct sk_buff, skb, head) + PEEK(struct sk_buff, skb, transport_header));
	icmp_of(r, 6, icmp[0], icmp[1], error);
	icmp_from(r, skb);
	step(r, STEP_ICMP, 0);
}

SEC("fentry/ipv6_icmp_error")
int BPF_PROG(trampoline_icmp6, struct sock *sk, struct sk_buff *skb, int error)
{
	icmp6_arrived(sk, skb, error);
	return 0;
}

SEC("kprobe/ipv6_icmp_error")
int BPF_KPROBE(kprobe_icmp6, void *sk, void *skb, int error)
{
	icmp6_arrived(sk, skb, error);
	return 0;
}
