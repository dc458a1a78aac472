/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The end of an attempt that no program of ours was run for, told by its socket. The kernel skips a program that runs on
 * this CPU already, and a kernel may keep programs from running at all above some tasks: then the soft interrupts that
 * come while such a task runs, and the state changes in them, pass unseen (seen with a Linux 6.18 that guards the agent of
 * its virtual machine). What became of the socket can still be read from it.
 */

static __always_inline void overlooked(void)
{
	struct cpu_counters *c = count();

	if (c)
		__sync_fetch_and_add(&c->overlooked, 1); /* may be preempted: see what_was_overlooked */
}

static __always_inline bool answers(u8 state)
{
	return state != TCP_CLOSE && state != TCP_LISTEN;
}

/*
 * Completes a record; false while there is nothing to tell. ``answered``: the call has said so. Afterwards it is SETTLED, or all that is known is that it is
 * over: a socket that is gone (its memory has another cookie), or closed with an error that has been fetched.
 */
static __always_inline bool tell_by_socket(struct attempt *r, const void *sk, bool answered)
{
	u8 state = PEEK(struct sock, sk, __sk_common.skc_state);
	bool gone = PEEK(struct sock, sk, __sk_common.skc_cookie.counter) != r->cookie;
	u16 error;

	if (!gone && (state == TCP_SYN_SENT || state == TCP_SYN_RECV))
		return false;
	r->ended = bpf_ktime_get_boot_ns();
	if (gone) {
		r->phase = PHASE_PENDING;
		return true;
	}
	/* the SYN itself counts as a byte that was acknowledged */
	answered |= answers(state) || (r->protocol == IPPROTO_TCP && PEEK(struct tcp_sock, sk, bytes_acked));
	error = PEEK(struct sock, sk, sk_err);
	if (!error)
		error = PEEK(struct sock, sk, sk_err_soft);
	if (!answered && !error) {
		r->phase = PHASE_PENDING;
		return true;
	}
	r->state = answered ? TCP_ESTABLISHED : TCP_CLOSE;
	if (!answered)
		r->err = error;
	if (!(r->flags & FLAG_LOCAL)) {
		read_ends(r, sk);
		if (!answers(state)) /* the port has been given back, but its copy stays */
			bpf_core_read(&r->sport, sizeof(r->sport), &((struct inet_sock *)sk)->inet_sport);
	}
	mark(r, FLAG_SETTLED);
	return true;
}

/*
 * Run now and then over all flights, by reading it: hands out the records of those whose call has returned, and whose
 * state change nobody saw. That comes before the change of the state itself, so what is SETTLED was seen, and what has
 * changed without was not, and nobody else will touch it. The record is not put into the ring: this program may be
 * preempted, and the counters of a CPU stand for programs that are not.
 */
SEC("iter/bpf_map_elem")
int what_was_overlooked(struct bpf_iter__bpf_map_elem *ctx)
{
	u64 *at = ctx->key, key;
	struct cpu_counters *c = count();
	struct flight *f;
	struct attempt *r;

	if (!at || !c)
		return 0;
	key = *at;
	f = bpf_map_lookup_elem(&flights, &key);
	if (!f || (f->parts & (FLAG_RETURNED | FLAG_SETTLED)) != FLAG_RETURNED)
		return 0;
	r = &f->record;
	if (!tell_by_socket(r, (void *)key, false))
		return 0;
	if (narrow.outcome && r->phase == PHASE_VERDICT && (narrow.outcome == 1) != succeeded(r)) {
		__sync_fetch_and_add(&c->withheld, 1);
	} else {
		r->cpu = bpf_get_smp_processor_id();
		r->lost = c->lost[RECORD_ATTEMPT];
		if (bpf_seq_write(ctx->meta->seq, r, sizeof(*r)))
			return 0; /* no room: comes again with the next read */
	}
	bpf_map_delete_elem(&flights, &key);
	overlooked();
	return 0;
}
