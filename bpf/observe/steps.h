/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What happens to an attempt between its SYN and its end, each with its time, for whoever asked for it (`callout why`).
 * The attempt's own record has only what it all came to. A step is in the ring before the record of its attempt; it
 * wakes nobody.
 */

/* Not inlined: so the struct is in the object's BTF, which user space reads. */
static __attribute__((noinline)) void fill_step(struct step *s, const struct attempt *r, u8 what, u16 reason)
{
	__builtin_memset(s, 0, sizeof(*s));
	s->kind = RECORD_STEP;
	s->what = what;
	s->reason = reason;
	s->id = r->id;
	s->when = bpf_ktime_get_boot_ns();
	if (what != STEP_ICMP)
		return;
	s->icmp_type = r->icmp_type;
	s->icmp_code = r->icmp_code;
	s->version = r->flags & FLAG_ICMP6 ? 6 : 4;
	__builtin_memcpy(s->from, r->icmp_from, sizeof(s->from));
}

static __always_inline void step(const struct attempt *r, u8 what, u16 reason)
{
	struct cpu_counters *c;
	struct step s;

	if (!narrow.steps || !r->id)
		return;
	fill_step(&s, r, what, reason);
	if (!bpf_ringbuf_output(&ring, &s, sizeof(s), BPF_RB_NO_WAKEUP))
		return;
	c = count();
	if (c)
		c->lost[RECORD_STEP]++;
}
