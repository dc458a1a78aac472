/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What stands around a call that failed before anything was sent, of which the errno tells only a part. Looked at only
 * when a call has failed so: nothing else pays.
 */

/* Devices and addresses of a network namespace, together, that are looked through for a broadcast address. */
enum { MOST_STEPS = 1 << 16 };

/* Since Linux 5.17; a loop of so many steps that the verifier itself went through would take it minutes. */
static long (*const repeat)(u32 times, void *step, void *context, u64 flags) = (void *)181; /* BPF_FUNC_loop */

/* The cgroup whose programs are asked: that of the socket, not of whoever calls. */
static __always_inline struct cgroup *asked_cgroup(struct task_struct *task, const void *sk)
{
	struct cgroup *cgroup = NULL;

	if (sk && bpf_core_field_exists(struct sock_cgroup_data, cgroup))
		cgroup = PEEK(struct sock, sk, sk_cgrp_data.cgroup);
	return cgroup ? cgroup : WALK(WALK(task, cgroups), dfl_cgrp);
}

/* Whether any program is asked about the call, which may refuse it or replace the address: its cgroup's list is not empty. */
static __always_inline bool rewriters(struct task_struct *task, const void *sk, u16 family)
{
	struct cgroup *cgroup = asked_cgroup(task, sk);
	struct bpf_prog_array *programs;
	int slot;

	if (family == AF_INET)
		slot = bpf_core_enum_value(enum cgroup_bpf_attach_type, CGROUP_INET4_CONNECT);
	else if (family == AF_INET6)
		slot = bpf_core_enum_value(enum cgroup_bpf_attach_type, CGROUP_INET6_CONNECT);
	else if (family == AF_UNIX && bpf_core_enum_value_exists(enum cgroup_bpf_attach_type, CGROUP_UNIX_CONNECT))
		slot = bpf_core_enum_value(enum cgroup_bpf_attach_type, CGROUP_UNIX_CONNECT); /* since 6.7 */
	else
		return false;
	if (bpf_probe_read_kernel(&programs, sizeof(programs), (void *)&cgroup->bpf.effective + slot * sizeof(void *)))
		return false;
	return BPF_CORE_READ(programs, items[0].prog) != NULL;
}

/* The IPv4 address that was asked for, also as a mapped one; 0 if there is none. */
static __always_inline u32 asked_ipv4(const struct attempt *r)
{
	const u32 *words = (const u32 *)r->sockaddr;

	if (*(u16 *)r->sockaddr == AF_INET)
		return words[1];
	if (*(u16 *)r->sockaddr == AF_INET6 && !words[2] && !words[3] && words[4] == 0xffff0000)
		return words[5];
	return 0;
}

/* As the kernel makes routes of them: net/ipv4/fib_frontend.c, fib_add_ifaddr. */
static __always_inline bool broadcast_of(const struct in_ifaddr *ifa, u32 address)
{
	u32 mask = PEEK(struct in_ifaddr, ifa, ifa_mask);

	if (PEEK(struct in_ifaddr, ifa, ifa_broadcast) == address)
		return true;
	return PEEK(struct in_ifaddr, ifa, ifa_prefixlen) < 31 &&
	       (PEEK(struct in_ifaddr, ifa, ifa_address) | ~mask) == address;
}

struct search {
	u32 address, found;
	u64 head, device, ifa;
};

/* One address, or if there is none left of a device, the next device. Returns 1 when there is nothing more to do. */
static long search_on(u32 step, struct search *s)
{
	const void *in;

	if (s->ifa) {
		s->found = broadcast_of((void *)s->ifa, s->address);
		s->ifa = (u64)PEEK(struct in_ifaddr, (void *)s->ifa, ifa_next);
		return s->found ? 1 : 0;
	}
	s->device = (u64)PEEK(struct list_head, (void *)s->device, next);
	if (!s->device || s->device == s->head)
		return 1;
	in = (void *)s->device - bpf_core_field_offset(struct net_device, dev_list);
	if (!(PEEK(struct net_device, in, flags) & IFF_UP))
		return 0;
	in = PEEK(struct net_device, in, ip_ptr);
	if (in)
		s->ifa = (u64)PEEK(struct in_device, in, ifa_list);
	return 0;
}

/* Neither static nor inlined: the verifier looks at it once, not at each place that calls it. */
__attribute__((noinline)) int is_broadcast(u64 socket, u32 address)
{
	const void *net = PEEK(struct sock, (void *)socket, __sk_common.skc_net.net);
	struct search s;

	if (address == 0xffffffff)
		return 1;
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop))
		return 0;
	/*
	 * Cleared, but so that the verifier does not know it: before Linux 6.7 (ab5cfac139ab) it takes what holds for the
	 * first step for what holds for all, and removes the rest of the code.
	 */
	bpf_probe_read_kernel(&s, sizeof(s), NULL);
	s.address = address;
	s.device = s.head = (u64)net + bpf_core_field_offset(struct net, dev_base_head);
	repeat(MOST_STEPS, search_on, &s, 0);
	return s.found;
}

/* IPV6_V6ONLY, or an IPv6 address of its own. */
static __always_inline bool six_only(const void *sk)
{
	struct in6_addr own = PEEK(struct sock, sk, __sk_common.skc_v6_rcv_saddr);

	if (BPF_CORE_READ_BITFIELD_PROBED((struct sock_common *)sk, skc_ipv6only))
		return true;
	return (own.words[0] | own.words[1] | own.words[2] | own.words[3]) &&
	       (own.words[0] | own.words[1] || own.words[2] != 0xffff0000);
}

/* Bound to an address of 127.0.0.0/8, or to ::1: from there one gets to this host only. */
static __always_inline bool from_loopback(const struct attempt *r, const void *sk)
{
	struct in6_addr own;

	if (r->family == AF_INET)
		return (u8)(PEEK(struct sock, sk, __sk_common.skc_addrpair) >> 32) == 127;
	own = PEEK(struct sock, sk, __sk_common.skc_v6_rcv_saddr);
	if (own.words[0] | own.words[1])
		return false;
	return (!own.words[2] && own.words[3] == __builtin_bswap32(1)) || (own.words[2] == 0xffff0000 && (u8)own.words[3] == 127);
}

static __always_inline void look_around(struct attempt *r, struct task_struct *task, const void *sk)
{
	u16 asked = *(u16 *)r->sockaddr;
	u32 ipv4 = asked_ipv4(r);

	if (!sk || r->flags & (FLAG_UNREADABLE | FLAG_NO_ADDRESS))
		return;
	if (r->family != AF_UNIX && r->family != AF_INET && r->family != AF_INET6)
		return;
	if (PEEK(struct sock, sk, __sk_common.skc_state) == TCP_LISTEN)
		r->flags |= FLAG_LISTENING;
	if (rewriters(task, sk, asked))
		r->flags |= FLAG_PROGRAMS;
	if (r->family == AF_UNIX)
		return;
	if (from_loopback(r, sk))
		r->flags |= FLAG_FROM_LOOPBACK;
	if (!ipv4)
		return;
	if (r->family == AF_INET6 && six_only(sk))
		r->flags |= FLAG_SIX_ONLY;
	if (r->type != SOCK_STREAM && PEEK(struct sock, sk, __sk_common.skc_flags) >> SOCK_BROADCAST & 1)
		return;
	if (is_broadcast((u64)sk, ipv4))
		r->flags |= FLAG_BROADCAST;
}
