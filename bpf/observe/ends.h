/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Both ends of an attempt as its socket has them, against those that were asked for. */

static __always_inline void peek_ipv6(ip_addr address, struct in6_addr from)
{
	u32 *to = (u32 *)address;

	to[0] = from.words[0];
	to[1] = from.words[1];
	to[2] = from.words[2];
	to[3] = from.words[3];
}

/* Both ends as the socket has them now. */
static __always_inline void read_ends(struct attempt *r, const void *sk)
{
	u32 ports = PEEK(struct sock, sk, __sk_common.skc_portpair); /* peer's, network order; local, host order */

	r->dport = (u16)ports;
	r->sport = __builtin_bswap16((u16)(ports >> 16));
	if (r->family == AF_INET) {
		u64 pair = PEEK(struct sock, sk, __sk_common.skc_addrpair);

		*(u32 *)r->daddr = (u32)pair;
		*(u32 *)r->saddr = (u32)(pair >> 32);
	} else {
		peek_ipv6(r->daddr, PEEK(struct sock, sk, __sk_common.skc_v6_daddr));
		peek_ipv6(r->saddr, PEEK(struct sock, sk, __sk_common.skc_v6_rcv_saddr));
	}
	r->peer_family = r->family;
	mark(r, FLAG_LOCAL | FLAG_PEER);
}

/* Whether the address asked for is the one that the kernel used; also where that cannot be told. */
static __always_inline bool asked_is_used(const struct attempt *r)
{
	u16 family = *(u16 *)r->sockaddr;
	bool same;

	if (family == AF_INET) {
		u32 asked = *(u32 *)(r->sockaddr + 4), used = *(u32 *)(r->peer_family == AF_INET ? r->daddr : r->daddr + 12);

		same = !asked || asked == used; /* 0.0.0.0 means this host */
	} else if (family == AF_INET6 && r->peer_family == AF_INET) {
		u32 asked = *(u32 *)(r->sockaddr + 20); /* ::ffff:a.b.c.d, seen as IPv4 */

		same = !asked || asked == *(u32 *)r->daddr;
	} else if (family == AF_INET6) {
		u64 *asked = (u64 *)(r->sockaddr + 8), *used = (u64 *)r->daddr;

		same = (!asked[0] && !asked[1]) || (asked[0] == used[0] && asked[1] == used[1]);
		/* ::ffff:0.0.0.0 */
		same |= !asked[0] && *(u32 *)(r->sockaddr + 16) == 0xffff0000 && !*(u32 *)(r->sockaddr + 20);
	} else {
		return true;
	}
	return same && *(u16 *)(r->sockaddr + 2) == r->dport;
}

/*
 * The address that the kernel used (on the socket) against the one in user memory at entry. Where they differ, either
 * a cgroup program rewrote it, or another thread changed it between our look and the kernel's copy (TOCTOU): then
 * memory usually holds something else now, and without a program there is no other explanation.
 */
static __always_inline void compare_ends(struct attempt *r, struct task_struct *task, const void *sk)
{
	u16 family = *(u16 *)r->sockaddr;
	u64 now[4] = {}, *entry = (u64 *)r->sockaddr;
	bool same;

	if (r->flags & (FLAG_UNREADABLE | FLAG_NO_ADDRESS) || r->addrlen < 16)
		return;
	/* an MPTCP socket has its peer only once it is connected */
	if (r->protocol != IPPROTO_TCP && r->protocol != IPPROTO_UDP &&
	    (r->protocol != IPPROTO_MPTCP || !(r->flags & FLAG_SETTLED)))
		return;
	if (asked_is_used(r))
		return;
	bpf_probe_read_user(now, family == AF_INET ? 16 : 24, (void *)r->pointer);
	same = now[0] == entry[0] && now[1] == entry[1] && (family == AF_INET || now[2] == entry[2]);
	mark(r, same && rewriters(task, sk, family) ? FLAG_REWRITTEN : FLAG_SWAPPED);
}
