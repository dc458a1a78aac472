/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * MPTCP: the application has one socket, and below it are subflows, which are TCP sockets of the kernel's. The attempt
 * is the application's; SYNs, RSTs, ICMP errors and the first error come to the subflow, and are told of the attempt.
 */

static __always_inline bool of_mptcp(const void *sk)
{
	if (PEEK(struct sock, sk, sk_protocol) != IPPROTO_TCP)
		return false;
	return bpf_core_field_exists(struct tcp_sock, is_mptcp) && PEEK(struct tcp_sock, sk, is_mptcp);
}

/* The attempt on a socket, or on the one that a subflow belongs to; NULL if none is under way. */
static __always_inline struct flight *flight_at(const void *sk)
{
	u64 key = (u64)sk;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	const void *context;

	if (f || !bpf_core_type_exists(struct mptcp_subflow_context) || !of_mptcp(sk))
		return f;
	context = PEEK(struct inet_connection_sock, sk, icsk_ulp_data);
	key = (u64)PEEK(struct mptcp_subflow_context, context, conn);
	return bpf_map_lookup_elem(&flights, &key);
}

static __always_inline struct attempt *flight_of(const void *sk)
{
	struct flight *f = flight_at(sk);

	return f ? &f->record : NULL;
}

/* The first subflow goes to SYN_SENT: there is a route, and from now on a peer. */
static __always_inline void subflow_began(const void *sk)
{
	struct attempt *r = flight_of(sk);

	if (!r)
		return;
	read_ends(r, sk);
	unmark(r, FLAG_LOCAL); /* the port is chosen after this */
	mark(r, FLAG_SUBFLOW);
}

/* It leaves SYN_SENT. The socket above follows, with the same error, but later than its state (net/mptcp/protocol.c). */
static __always_inline void subflow_settled(const struct sock *sk, int state)
{
	struct attempt *r = flight_of(sk);

	if (!r)
		return;
	read_ends(r, sk);
	if (state != TCP_CLOSE)
		return;
	bpf_core_read(&r->sport, sizeof(r->sport), &((struct inet_sock *)sk)->inet_sport);
	r->err = sk->sk_err;
}
