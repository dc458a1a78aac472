/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Who on this host refused a call: the hooks that can, seen as they return. Trampolines and kprobes only. */

/* Refusals of sockets that no call of ours is about, until io_uring completes the request: who refused, by socket. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} refusals SEC(".maps");

/* `sk`: the socket that was refused, 0 where the hook does not know. */
static __always_inline void denied_by(s64 ret, u8 denier, u64 sk)
{
	struct under_way *u;
	u64 value = denier;

	if (ret >= 0)
		return;
	u = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);
	if (u && u->stage == STAGE_CALLED)
		u->record.denier = denier;
	else if (sk && narrow.uring)
		bpf_map_update_elem(&refusals, &sk, &value, BPF_ANY);
}

/* Not inlined: as the type of a parameter the struct gets into the object's BTF, where user space reads its layout. */
static __attribute__((noinline)) void submit_copy(struct copy *copy)
{
	struct cpu_counters *c = count();

	if (bpf_ringbuf_output(&ring, copy, sizeof(*copy), wake_flag()) && c)
		c->lost[RECORD_COPY]++;
}

/*
 * The address as the kernel copied it, before any cgroup program sees it: what differs from the one at entry was
 * changed by another thread in between (TOCTOU). It goes out beside the attempt, with the same id.
 */
static __always_inline void check_copy(const void *address, int addrlen)
{
	struct under_way *u = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);
	u64 *entry, *used;
	struct copy copy = {};
	u32 size = addrlen;
	bool same = true;

	if (!u || u->stage != STAGE_CALLED || u->record.flags & FLAG_UNREADABLE || addrlen < 0)
		return;
	barrier_var(size);
	if (size > sizeof(copy.sockaddr))
		size = sizeof(copy.sockaddr);
	if (bpf_probe_read_kernel(copy.sockaddr, size, address))
		return;
	entry = (u64 *)u->record.sockaddr;
	used = (u64 *)copy.sockaddr;
#pragma unroll
	for (int i = 0; i < 16; i++)
		same &= entry[i] == used[i];
	if (same)
		return;
	u->record.flags |= FLAG_SWAPPED;
	copy.kind = RECORD_COPY;
	copy.id = u->record.id;
	submit_copy(&copy);
}

/* No module may change the address, so that it is looked at as the hook returns. */
SEC("fexit/security_socket_connect")
int BPF_PROG(trampoline_lsm, struct socket *sock, void *address, int addrlen, int ret)
{
	check_copy(address, addrlen);
	denied_by(ret, DENIER_LSM, (u64)sock->sk);
	return 0;
}

/* Unix sockets are asked about once more, when the other one is known: Landlock's scopes, SELinux, AppArmor. */
SEC("fexit/security_unix_stream_connect")
int BPF_PROG(trampoline_unix, struct sock *sock, struct sock *other, struct sock *new, int ret)
{
	denied_by(ret, DENIER_LSM, (u64)sock);
	return 0;
}

SEC("fexit/security_unix_may_send")
int BPF_PROG(trampoline_unix_send, struct socket *sock, struct socket *other, int ret)
{
	denied_by(ret, DENIER_LSM, (u64)sock->sk);
	return 0;
}

/* Its arguments changed with 6.7 (fefba7d1ae19), but not the first; the result is asked for by a helper (5.17). */
SEC("fexit/__cgroup_bpf_run_filter_sock_addr")
int trampoline_cgroup(u64 *ctx)
{
	u64 ret = 0;

	if (!bpf_get_func_ret(ctx, &ret))
		denied_by((int)ret, DENIER_CGROUP, ctx[0]);
	return 0;
}

SEC("kprobe/security_socket_connect")
int BPF_KPROBE(kprobe_copy, struct socket *sock, void *address, int addrlen)
{
	check_copy(address, addrlen);
	return 0;
}

SEC("kretprobe/security_socket_connect")
int BPF_KRETPROBE(kprobe_lsm, int ret)
{
	denied_by(ret, DENIER_LSM, 0);
	return 0;
}

SEC("kretprobe/security_unix_stream_connect")
int BPF_KRETPROBE(kprobe_unix, int ret)
{
	denied_by(ret, DENIER_LSM, 0);
	return 0;
}

SEC("kretprobe/security_unix_may_send")
int BPF_KRETPROBE(kprobe_unix_send, int ret)
{
	denied_by(ret, DENIER_LSM, 0);
	return 0;
}

SEC("kretprobe/__cgroup_bpf_run_filter_sock_addr")
int BPF_KRETPROBE(kprobe_cgroup, int ret)
{
	denied_by(ret, DENIER_CGROUP, 0);
	return 0;
}
