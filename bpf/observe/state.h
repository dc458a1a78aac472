/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The maps, who fills and who empties each, and how a record reaches the ring. */

const volatile struct narrowing narrow;

enum stage {
	STAGE_NONE = 0,
	STAGE_CALLED,		/* inside the call */
	STAGE_INTERRUPTED,	/* left it because of a signal; the kernel may enter it again */
	STAGE_UNWANTED,		/* inside a call that the narrowing leaves out */
};

/*
 * An attempt between entry and exit of its system call. Filled at entry, ended at exit; freed with the task.
 * Its first members are those of a flight, so that it can become one as it stands.
 */
struct under_way {
	struct attempt record;
	u64 parts;
	u64 sk;
	u64 stage;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct under_way);
} calls SEC(".maps");

/*
 * An attempt whose socket is in SYN_SENT, by address of the socket. Inserted when the socket enters SYN_SENT,
 * removed by whoever comes second: the exit of the call, or the state change that settles the socket.
 */
struct flight {
	struct attempt record;
	u64 parts; /* FLAG_RETURNED | FLAG_SETTLED: which halves have been written */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, u64);
	__type(value, struct flight);
} flights SEC(".maps");

/* How many attempts wait for the return of their send: while there are none, a send that returns is looked at no further. */
static u64 opening;

/* Not where connect(2) asked for it and the first data takes the SYN along. */
static __always_inline bool by_fastopen(const struct attempt *r)
{
	return r->flags & FLAG_FASTOPEN &&
	       (r->entry == ENTRY_SENDTO_FASTOPEN || r->entry == ENTRY_SENDMSG_FASTOPEN || r->entry == ENTRY_IO_URING);
}

/* Flags of a flight: its call and its socket may write them at once, on two CPUs. */
static __always_inline void mark(struct attempt *r, u32 flags)
{
	__sync_fetch_and_or((u32 *)&r->flags, flags);
}

static __always_inline void unmark(struct attempt *r, u32 flags)
{
	__sync_fetch_and_and((u32 *)&r->flags, ~flags);
}

/* An IORING_OP_CONNECT between submission and completion, by address of the request. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct flight);
} requests SEC(".maps");

/*
 * Where a record is put together that no task's storage holds, one place per CPU: 0 for programs in a task's own
 * context, 1 for those in soft interrupts. Tracepoints run with preemption off, so nothing else comes between.
 */
enum { SCRATCH_TASK = 0, SCRATCH_SOFTIRQ = 1 };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct flight);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct doorbell);
} bell SEC(".maps");

static __always_inline struct flight *cleared_scratch(u32 place)
{
	struct flight *f = bpf_map_lookup_elem(&scratch, &place);

	if (f)
		__builtin_memset(f, 0, sizeof(*f));
	return f;
}

static __always_inline struct cpu_counters *count(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&counters, &zero);
}

/*
 * Wake-ups dominate the cost of a ring buffer (1.5 microseconds each), so the reader says when it wants one:
 * at the first record when it sleeps, at a fill level while it lets records gather, never while it is reading.
 * A wake-up missed in the gap between its look at the ring and its sleep is made good by its time-out.
 */
static __always_inline u64 wake_flag(void)
{
	u32 zero = 0;
	struct doorbell *d = bpf_map_lookup_elem(&bell, &zero);

	if (!d || !d->wake_at)
		return BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) + 1 < d->wake_at)
		return BPF_RB_NO_WAKEUP;
	d->wake_at = 0;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline bool succeeded(const struct attempt *r)
{
	if (r->flags & FLAG_SETTLED)
		return r->state == TCP_ESTABLISHED && (!(r->flags & FLAG_RETURNED) || r->ret >= -EINPROGRESS);
	return (r->flags & FLAG_RETURNED) && r->ret == 0;
}

static __always_inline void submit(struct attempt *r)
{
	struct cpu_counters *c = count();

	if (!c)
		return;
	if (narrow.outcome && r->phase == PHASE_VERDICT && (narrow.outcome == 1) != succeeded(r)) {
		c->withheld++;
		return;
	}
	r->cpu = bpf_get_smp_processor_id();
	r->lost = c->lost[RECORD_ATTEMPT];
	if (!bpf_ringbuf_output(&ring, r, sizeof(*r), wake_flag()))
		c->submitted += r->phase == PHASE_VERDICT;
	else if (r->phase == PHASE_ATTEMPT)
		c->lost[0]++; /* the extra row only: its attempt has a row of its own */
	else
		c->lost[RECORD_ATTEMPT]++;
}

/*
 * What tells who: processes, and where they are. It has a ring of its own: a storm of forks loses no attempt, and what is
 * lost is counted by kind. The reader looks whenever it wakes, so no record wakes it, but a storm with no attempt among it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} process_ring SEC(".maps");

static __always_inline u64 processes_wake(void)
{
	return bpf_ringbuf_query(&process_ring, BPF_RB_AVAIL_DATA) > (1 << 20) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}
