/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Who is calling, and by which system call: for hooks below it, which see neither its number nor its arguments. */

static __always_inline void read_caller(struct attempt *r, struct task_struct *task)
{
	const struct cred *real, *own;
	const u32 *caps; /* by halves: as words of 64 bits only from 6.3 on */

	r->pid = task->tgid;
	r->tid = task->pid;
	r->ppid = WALK(task, real_parent)->tgid;
	r->start = WALK(task, group_leader)->start_boottime;
	real = WALK(task, real_cred);
	r->uid = real->uid.val;
	r->gid = real->gid.val;
	own = WALK(task, cred);
	r->euid = own->euid.val;
	r->image = task->self_exec_id;
	r->directory = directory_of_current();
	caps = (const u32 *)&own->cap_effective;
	r->caps = (u64)caps[1] << 32 | caps[0];
	/* io_uring's own threads are named iou-wrk-PID and iou-sqp-PID: the process is what a user knows */
	if (task->flags & PF_IO_WORKER)
		bpf_probe_read_kernel(r->comm, sizeof(r->comm), WALK(task, group_leader)->comm);
	else
		bpf_probe_read_kernel(r->comm, sizeof(r->comm), task->comm);
}

static __always_inline void begin_record(struct attempt *r, struct task_struct *task, struct cpu_counters *c)
{
	r->kind = RECORD_ATTEMPT;
	r->id = narrow.id_base + (c->entered++ << 10 | bpf_get_smp_processor_id());
	r->began = bpf_ktime_get_boot_ns();
	r->cgroup = cgroup_of(task);
	read_caller(r, task);
}

/* The address as it stands in user memory now: exactly the bytes that the call may look at. */
static __always_inline void read_address(struct attempt *r, u64 address, int addrlen)
{
	u32 size = addrlen < 0 ? 0 : addrlen;

	r->pointer = address;
	r->addrlen = addrlen;
	/* The kernel takes 0 to 128 bytes and refuses other lengths before it looks; strace reads up to 128 then. */
	barrier_var(size); /* or the compiler bounds one copy and uses another, which the verifier refuses */
	if (size > sizeof(r->sockaddr))
		size = sizeof(r->sockaddr);
	if (bpf_probe_read_user(r->sockaddr, size, (void *)address))
		r->flags |= FLAG_UNREADABLE;
}

struct registers {
	u64 args[6];
	s32 number;
	u32 compat; /* i386 on x86-64 */
};

#if defined(__TARGET_ARCH_x86)
/* The registers that the system call saved; arguments stay in place until it returns (arch/x86/entry). */
static __always_inline void read_call(struct registers *call, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task); /* typed: its members are plain loads */

	call->number = regs->orig_ax & ~0x40000000; /* the bit that marks an x32 call */
	call->compat = task->thread_info.status & TS_COMPAT;
	if (call->compat) {
		call->args[0] = (u32)regs->bx;
		call->args[1] = (u32)regs->cx;
		call->args[2] = (u32)regs->dx;
		call->args[3] = (u32)regs->si;
		call->args[4] = (u32)regs->di;
		call->args[5] = (u32)regs->bp;
	} else {
		call->args[0] = regs->di;
		call->args[1] = regs->si;
		call->args[2] = regs->dx;
		call->args[3] = regs->r10;
		call->args[4] = regs->r8;
		call->args[5] = regs->r9;
	}
}

enum { NR_CONNECT = 42, NR_SENDTO = 44, NR_SENDMSG = 46, NR_SENDMMSG = 307, NR_IO_URING_ENTER = 426 };
enum { NR_SETSOCKOPT = 54, NR_GETSOCKOPT = 55, NR32_GETSOCKOPT = 365, NR32_SETSOCKOPT = 366 };
enum { NR32_SOCKETCALL = 102, NR32_SENDMMSG = 345, NR32_CONNECT = 362, NR32_SENDTO = 369, NR32_SENDMSG = 370 };
#elif defined(__TARGET_ARCH_arm64)
static __always_inline void read_call(struct registers *call, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task); /* typed: its members are plain loads */

	call->number = regs->syscallno;
	call->compat = 0; /* 32-bit processes use numbers of their own; they are not told apart here */
	call->args[0] = regs->orig_x0;
#pragma unroll
	for (int i = 1; i < 6; i++)
		call->args[i] = regs->user_regs.regs[i];
}

enum { NR_SETSOCKOPT = 208, NR_GETSOCKOPT = 209, NR32_GETSOCKOPT = -7, NR32_SETSOCKOPT = -8 };
enum { NR_CONNECT = 203, NR_SENDTO = 206, NR_SENDMSG = 211, NR_SENDMMSG = 269, NR_IO_URING_ENTER = 426 };
enum { NR32_SOCKETCALL = -2, NR32_SENDMMSG = -3, NR32_CONNECT = -4, NR32_SENDTO = -5, NR32_SENDMSG = -6 };
#endif

enum { SYS_CONNECT = 3, SYS_SENDTO = 11, SYS_SETSOCKOPT = 14, SYS_GETSOCKOPT = 15, SYS_SENDMSG = 16, SYS_SENDMMSG = 20 }; /* socketcall(2), linux/net.h */

/* Which of the calls that end in __sys_connect this is. */
static __always_inline u8 entry_of_connect(void)
{
#if defined(__TARGET_ARCH_x86)
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->thread_info.status & TS_COMPAT) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

		return regs->orig_ax == NR32_SOCKETCALL ? ENTRY_SOCKETCALL : ENTRY_CONNECT_IA32;
	}
#endif
	return ENTRY_CONNECT;
}

/* socketcall(2) has its arguments in memory: up to six 32-bit words, of which connect(2) has three; no more need be there. */
static __always_inline void read_socketcall(struct registers *call)
{
	u32 words[6] = {};

	if (!bpf_probe_read_user(words, 3 * sizeof(u32), (void *)call->args[1]))
		bpf_probe_read_user(words + 3, 3 * sizeof(u32), (void *)(call->args[1] + 3 * sizeof(u32)));
#pragma unroll
	for (int i = 0; i < 6; i++)
		call->args[i] = words[i];
}

static __always_inline void read_msghdr(struct attempt *r, u64 message, bool compat)
{
	if (compat) {
		struct { u32 name; s32 namelen; } head = {};

		bpf_probe_read_user(&head, sizeof(head), (void *)message);
		read_address(r, head.name, head.namelen);
	} else {
		struct { u64 name; s32 namelen; s32 pad; } head = {};

		bpf_probe_read_user(&head, sizeof(head), (void *)message);
		read_address(r, head.name, head.namelen);
	}
}

/*
 * What an io_uring request that sends to an address was asked for, by its socket: registers do not tell. Of several
 * requests under way for one socket it is the last submitted one, so the address holds only if it is the one in use.
 */
struct uring_send {
	u64 pointer;
	s32 fd;
	s32 addrlen; /* 0: not known */
	u8 sockaddr[128];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct uring_send);
} uring_sends SEC(".maps");

static __always_inline void read_uring_send(struct attempt *r, u64 sk)
{
	struct uring_send *asked = bpf_map_lookup_elem(&uring_sends, &sk);

	if (!asked)
		return;
	r->fd = asked->fd;
	r->flags &= ~FLAG_NO_FD;
	if (!asked->addrlen)
		return;
	r->flags &= ~FLAG_NO_ADDRESS;
	r->pointer = asked->pointer;
	r->addrlen = asked->addrlen;
	__builtin_memcpy(r->sockaddr, asked->sockaddr, sizeof(r->sockaddr));
}

/* How an attempt that was first seen at its socket came in, with the arguments that its call had. */
static __always_inline void read_way(struct attempt *r, struct task_struct *task, u64 sk, bool stream)
{
	struct registers call = {};
	bool compat;
	u32 sub;

	r->fd = -1;
	r->flags |= FLAG_NO_ADDRESS | FLAG_NO_FD;
	if (task->flags & PF_IO_WORKER) {
		r->entry = ENTRY_IO_URING;
		read_uring_send(r, sk);
		return;
	}
	if (task->flags & PF_KTHREAD) {
		r->entry = ENTRY_KERNEL;
		return;
	}
	read_call(&call, task);
	compat = call.compat;
	if (call.number == NR_IO_URING_ENTER) { /* the same number in both tables */
		r->entry = ENTRY_IO_URING;
		read_uring_send(r, sk);
		return;
	}
	sub = 0;
	if (compat && call.number == NR32_SOCKETCALL) {
		sub = call.args[0];
		read_socketcall(&call);
	}
	if (sub == SYS_CONNECT)
		r->entry = ENTRY_SOCKETCALL;
	else if (compat && call.number == NR32_CONNECT)
		r->entry = ENTRY_CONNECT_IA32;
	else if (!compat && call.number == NR_CONNECT)
		r->entry = ENTRY_CONNECT;
	else if (sub == SYS_SENDTO || call.number == (compat ? NR32_SENDTO : NR_SENDTO))
		r->entry = stream ? ENTRY_SENDTO_FASTOPEN : ENTRY_SENDTO;
	else if (sub == SYS_SENDMSG || call.number == (compat ? NR32_SENDMSG : NR_SENDMSG))
		r->entry = stream ? ENTRY_SENDMSG_FASTOPEN : ENTRY_SENDMSG;
	else if (sub == SYS_SENDMMSG || call.number == (compat ? NR32_SENDMMSG : NR_SENDMMSG))
		r->entry = stream ? ENTRY_SENDMSG_FASTOPEN : ENTRY_SENDMMSG;
	else {
		r->entry = ENTRY_KERNEL; /* a call that is not about this socket: NFS on open(2), and the like */
		return;
	}
	r->fd = call.args[0];
	r->flags &= ~(FLAG_NO_ADDRESS | FLAG_NO_FD);
	switch (r->entry) {
	case ENTRY_CONNECT:
	case ENTRY_CONNECT_IA32:
	case ENTRY_SOCKETCALL:
		read_address(r, call.args[1], call.args[2]);
		break;
	case ENTRY_SENDTO:
	case ENTRY_SENDTO_FASTOPEN:
		r->flags |= stream ? FLAG_FASTOPEN : 0;
		read_address(r, call.args[4], call.args[5]);
		break;
	default:
		r->flags |= stream ? FLAG_FASTOPEN : 0;
		read_msghdr(r, call.args[1], compat);
	}
}
