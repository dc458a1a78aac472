/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* One attempt from entry to exit of its system call, whatever hook brought us here. */

/*
 * The descriptor as the kernel will look it up: task->files->fdt->fd[fd]. Another thread may change the table
 * between this look and the kernel's; the hooks below the system call, where a tier has them, see the file itself.
 */
static __always_inline void read_socket(struct under_way *u, struct task_struct *task, int fd)
{
	struct attempt *r = &u->record;
	struct file **slots, *file = NULL;
	struct socket *socket;
	struct fdtable *table = task->files->fdt;
	struct inode *inode;
	struct sock *sk;
	struct net *net;
	u32 f_flags, ports = 0;

	if (fd < 0 || (u32)fd >= table->max_fds)
		goto no_file;
	slots = table->fd;
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots[(u32)fd]) || !file)
		goto no_file;
	if (BPF_CORE_READ(file, f_mode) & FMODE_PATH) {
		r->flags |= FLAG_PATH_FD;
		goto no_file;
	}
	bpf_core_read(&inode, sizeof(inode), &file->f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK) {
		r->flags |= FLAG_NOT_SOCKET;
		return;
	}
	bpf_core_read(&f_flags, sizeof(f_flags), &file->f_flags);
	if (f_flags & O_NONBLOCK)
		r->flags |= FLAG_NONBLOCK;
	bpf_core_read(&socket, sizeof(socket), &file->private_data);
	r->type = BPF_CORE_READ(socket, type);
	bpf_core_read(&sk, sizeof(sk), &socket->sk);
	u->sk = (u64)sk;
	bpf_core_read(&r->family, sizeof(r->family), &sk->__sk_common.skc_family);
	bpf_core_read(&r->protocol, sizeof(r->protocol), &sk->sk_protocol);
	bpf_core_read(&r->cookie, sizeof(r->cookie), &sk->__sk_common.skc_cookie);
	bpf_core_read(&ports, sizeof(ports), &sk->__sk_common.skc_portpair);
	r->bound = ports >> 16;
	bpf_core_read(&net, sizeof(net), &sk->__sk_common.skc_net.net);
	r->netns = BPF_CORE_READ(net, ns.inum);
	return;
no_file:
	r->flags |= FLAG_NO_FILE;
}

/* Both ends as the socket has them now. */
static __always_inline void read_ends(struct attempt *r, const struct sock *sk)
{
	u32 ports = 0; /* low half: peer's port in network order; high half: local port in host order */

	bpf_core_read(&ports, sizeof(ports), &sk->__sk_common.skc_portpair);
	r->dport = (u16)ports;
	r->sport = __builtin_bswap16((u16)(ports >> 16));
	if (r->family == AF_INET) {
		u32 pair[2] = {};
		bpf_core_read(pair, sizeof(pair), &sk->__sk_common.skc_addrpair);
		*(u32 *)r->daddr = pair[0];
		*(u32 *)r->saddr = pair[1];
	} else {
		bpf_core_read(r->daddr, 16, &sk->__sk_common.skc_v6_daddr);
		bpf_core_read(r->saddr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	}
	r->peer_family = r->family;
	r->flags |= FLAG_LOCAL | FLAG_PEER;
}

static __always_inline void attempt_enter(int fd, const void *address, int addrlen, u8 entry)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cpu_counters *c;
	struct under_way *u;
	struct attempt *r;
	u32 size;

	if (!caller_wanted(task))
		return;
	u = bpf_task_storage_get(&calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	c = count();
	if (!c)
		return;
	if (!u) { /* no memory: an attempt that we cannot report */
		c->entered++;
		c->lost[RECORD_ATTEMPT]++;
		return;
	}
	if (u->active)
		c->orphaned++;
	__builtin_memset(u, 0, sizeof(*u));
	r = &u->record;

	/* The kernel takes 0 to 128 bytes and refuses other lengths before it looks; strace reads up to 128 then. */
	size = addrlen < 0 ? 0 : addrlen;
	barrier_var(size); /* or the compiler bounds one copy and uses another, which the verifier refuses */
	if (size > sizeof(r->sockaddr))
		size = sizeof(r->sockaddr);
	if (bpf_probe_read_user(r->sockaddr, size, address))
		r->flags |= FLAG_UNREADABLE;
	if ((narrow.families || narrow.nports) && !address_wanted(r->sockaddr))
		return;

	r->kind = RECORD_ATTEMPT;
	r->id = narrow.id_base + (c->entered++ << 10 | bpf_get_smp_processor_id());
	r->began = bpf_ktime_get_boot_ns();
	r->pointer = (u64)address;
	r->fd = fd;
	r->addrlen = addrlen;
	r->entry = entry;
	r->pid = task->tgid;
	r->tid = task->pid;
	r->ppid = task->real_parent->tgid;
	r->start = task->group_leader->start_boottime;
	r->uid = task->real_cred->uid.val;
	r->gid = task->real_cred->gid.val;
	r->euid = task->cred->euid.val;
	r->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(r->comm, sizeof(r->comm));
	read_socket(u, task, fd);
	u->active = 1;
	if (narrow.phases) {
		r->phase = PHASE_ATTEMPT;
		submit(r);
		r->phase = PHASE_VERDICT;
	}
}

static __always_inline bool still_under_way(long ret)
{
	return ret == -EINPROGRESS || ret == -EINTR || ret == -ERESTARTSYS || ret == 0;
}

static __always_inline void attempt_exit(long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct under_way *u = bpf_task_storage_get(&calls, task, NULL, 0);
	struct flight *f;
	struct attempt *r;

	if (!u || !u->active)
		return;
	u->active = 0;
	r = &u->record;
	if (r->flags & FLAG_FOLLOWED) {
		f = bpf_map_lookup_elem(&flights, &u->sk);
		if (f && f->record.id == r->id) {
			u64 parts;

			f->record.ret = ret;
			f->record.flags |= FLAG_RETURNED;
			if (!still_under_way(ret)) {
				if (!(f->record.flags & FLAG_SETTLED))
					f->record.ended = bpf_ktime_get_boot_ns();
			} else {
				parts = __sync_fetch_and_or(&f->parts, FLAG_RETURNED);
				if (!(parts & FLAG_SETTLED))
					return; /* the state change will submit it */
			}
			submit(&f->record);
			bpf_map_delete_elem(&flights, &u->sk);
			return;
		}
	}
	r->ret = ret;
	r->flags |= FLAG_RETURNED;
	r->ended = bpf_ktime_get_boot_ns();
	if (ret == 0 && (r->family == AF_INET || r->family == AF_INET6))
		read_ends(r, (struct sock *)u->sk);
	submit(r);
}
