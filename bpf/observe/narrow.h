/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Whom and what to report at all. `narrow` is constant before load: the verifier removes every test that is not asked for. */

#define ONE_OF(list, n, max, value) ({                       \
	bool hit = false;                                    \
	_Pragma("unroll")                                    \
	for (int i = 0; i < (max); i++)                      \
		if (i < (n) && (list)[i] == (value))         \
			hit = true;                          \
	hit; })

static __always_inline bool comm_wanted(void)
{
	u64 comm[2] = {}; /* whole words compare, and older kernels (seen with 6.1) do not pad with NUL */
	bool hit = false;

	bpf_get_current_comm(comm, sizeof(comm));
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < narrow.ncomms && comm[0] == narrow.comms[i][0] && comm[1] == narrow.comms[i][1])
			hit = true;
	return hit;
}

/* At any level: in a cgroup namespace a path does not tell how deep the cgroup really is. */
static __always_inline bool below_cgroup(struct task_struct *task)
{
	/* user space decides about these: it knows names, and what is above a cgroup v1 */
	if (narrow.newer && cgroup_of(task) > narrow.newer)
		return true;
#pragma clang loop unroll(disable)
	for (int level = 0; level < 16; level++) {
		u64 id = bpf_get_current_ancestor_cgroup_id(level);

		if (!id)
			return false;
#pragma clang loop unroll(disable)
		for (int i = 0; i < 16; i++)
			if (i < narrow.ncgroups && narrow.cgroups[i] == id)
				return true;
	}
	return false;
}

static __always_inline bool caller_wanted(struct task_struct *task)
{
	if (narrow.nothing)
		return false;
	if (narrow.npids && !ONE_OF(narrow.pids, narrow.npids, 16, (u32)task->tgid))
		return false;
	if (narrow.nuids && !ONE_OF(narrow.uids, narrow.nuids, 16, WALK(task, real_cred)->uid.val))
		return false;
	if (narrow.nhidden && ONE_OF(narrow.hidden, narrow.nhidden, 16, (u32)task->pid))
		return false;
	if ((narrow.ncgroups || narrow.newer) && !below_cgroup(task))
		return false;
	if (narrow.ncomms && !comm_wanted())
		return false;
	return true;
}

/* By the address that was asked for; its family and port stand at the same place for IPv4 and IPv6. */
static __always_inline bool address_wanted(const u8 *sockaddr)
{
	u16 family = *(u16 *)sockaddr;

	if (narrow.families) {
		u32 bit = family == AF_INET ? 1 : family == AF_INET6 ? 2 : family == AF_UNSPEC ? 4 : 0;
		if (!(narrow.families & bit))
			return false;
	}
	if (narrow.nports) {
		u32 port = *(u16 *)(sockaddr + 2);
		if (family != AF_INET && family != AF_INET6)
			return false;
		if (!ONE_OF(narrow.ports, narrow.nports, 32, port))
			return false;
	}
	return true;
}

/* By the peer of an internet socket, for attempts that are first seen there. */
static __always_inline bool peer_wanted(u16 family, u16 port)
{
	if (narrow.families && !(narrow.families & (family == AF_INET ? 1 : 2)))
		return false;
	return !narrow.nports || ONE_OF(narrow.ports, narrow.nports, 32, (u32)port);
}
