/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * IORING_OP_CONNECT. One submission may enter the kernel's connect path several times and in other threads, so it is
 * followed by its own two tracepoints: submitted, completed. They cost nothing but io_uring's users.
 */

static __always_inline void *descriptor_socket(struct task_struct *task, int fd)
{
	struct fdtable *table = WALK(WALK(task, files), fdt);
	struct file **slots, *file = NULL;

	if (fd < 0 || (u32)fd >= table->max_fds)
		return NULL;
	slots = table->fd;
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots[(u32)fd]) || !file)
		return NULL;
	if ((PEEK(struct inode, PEEK(struct file, file, f_inode), i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	return PEEK(struct socket, PEEK(struct file, file, private_data), sk);
}

/* A request that sends: what the hooks that see its destination cannot know. */
static __always_inline void uring_sending(struct io_kiocb *request, bool message)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct io_sr_msg *command = (struct io_sr_msg *)request;
	struct { u64 name; s32 length; s32 pad; } head = {};
	struct uring_send asked = {};
	struct io_async_msghdr *own;
	u64 key, user = 0;
	bool kernels = false, connected;
	u32 flags = 0, size;

	bpf_core_read(&flags, sizeof(flags), &request->flags);
	if (flags & REQ_F_FIXED_FILE || !caller_wanted(task))
		return; /* in the ring's own table: it has no descriptor */
	asked.fd = BPF_CORE_READ(request, cqe.fd);
	key = (u64)descriptor_socket(task, asked.fd);
	if (!key)
		return;
	connected = PEEK(struct sock, (void *)key, __sk_common.skc_state) == TCP_ESTABLISHED;
	if (connected && PEEK(struct sock, (void *)key, sk_type) == SOCK_STREAM)
		return;
	if (message) {
		bpf_core_read(&user, sizeof(user), &command->umsg);
		bpf_probe_read_user(&head, sizeof(head), (void *)user);
	} else if (bpf_core_field_exists(command->addr)) {
		bpf_core_read(&head.name, sizeof(head.name), &command->addr);
		bpf_core_read(&head.length, sizeof(head.length), &command->addr_len);
	} else if (bpf_core_type_exists(struct io_async_msghdr)) {
		bpf_core_read(&own, sizeof(own), &request->async_data);
		bpf_core_read(&head.name, sizeof(head.name), &own->msg.msg_name);
		bpf_core_read(&head.length, sizeof(head.length), &own->msg.msg_namelen);
		kernels = true;
	}
	if (connected && !head.name)
		return;
	size = head.length < 0 ? 0 : head.length;
	barrier_var(size);
	if (size > sizeof(asked.sockaddr))
		size = sizeof(asked.sockaddr);
	if (!head.name || !size) {
		asked.addrlen = 0;
	} else if (kernels ? !bpf_probe_read_kernel(asked.sockaddr, size, (void *)head.name)
		    : !bpf_probe_read_user(asked.sockaddr, size, (void *)head.name)) {
		asked.addrlen = head.length;
		asked.pointer = kernels ? 0 : head.name;
	}
	bpf_map_update_elem(&uring_sends, &key, &asked, BPF_ANY);
}

static __always_inline void uring_submitted(struct io_kiocb *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct io_connect *connect = (struct io_connect *)request;
	struct cpu_counters *c = count();
	u32 flags;
	u64 key = (u64)request, address = 0;
	struct flight *f;
	struct attempt *r;
	int addrlen = 0;

	switch (request->opcode) {
	case IORING_OP_CONNECT:
		break;
	case IORING_OP_SENDMSG:
	case IORING_OP_SENDMSG_ZC:
		uring_sending(request, true);
		return;
	case IORING_OP_SEND:
	case IORING_OP_SEND_ZC:
		uring_sending(request, false);
		return;
	default:
		return;
	}
	if (!c || !caller_wanted(task))
		return;
	f = cleared_scratch(SCRATCH_TASK);
	if (!f)
		return;
	r = &f->record;
	bpf_core_read(&address, sizeof(address), &connect->addr);
	bpf_core_read(&addrlen, sizeof(addrlen), &connect->addr_len);
	read_address(r, address, addrlen);
	if ((narrow.families || narrow.nports) && !address_wanted(r->sockaddr))
		return;
	begin_record(r, task, c);
	r->entry = ENTRY_IO_URING;
	r->fd = BPF_CORE_READ(request, cqe.fd);
	bpf_core_read(&flags, sizeof(flags), &request->flags);
	if (flags & REQ_F_FIXED_FILE)
		r->flags |= FLAG_NO_FD; /* a number in the ring's own table, not of the process */
	else if (narrow.conversation)
		talk_joined(r, (u64)read_descriptor(r, task, r->fd), true);
	else
		read_descriptor(r, task, r->fd);
	if (bpf_map_update_elem(&requests, &key, f, BPF_ANY)) {
		c->lost[RECORD_ATTEMPT]++;
		return;
	}
	if (narrow.phases) {
		r->phase = PHASE_ATTEMPT;
		submit(r);
	}
}

/* Linux 6.4 and later. */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(uring_submit_req, struct io_kiocb *request)
{
	uring_submitted(request);
	return 0;
}

/* Linux 6.0 to 6.3: the same under its older name. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(uring_submit_sqe, struct io_kiocb *request)
{
	uring_submitted(request);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(uring_complete, void *ring, void *completed)
{
	struct io_kiocb *request = completed;
	u64 key = (u64)completed, sk_key;
	struct flight *asked = bpf_map_lookup_elem(&requests, &key), *f;
	struct attempt *r;
	struct socket *socket;
	struct sock *sk;
	s32 ret;

	if (!asked)
		return 0;
	r = &asked->record;
	ret = BPF_CORE_READ(request, cqe.res);
	socket = BPF_CORE_READ(request, file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	sk_key = (u64)sk;
	f = sk && !(r->flags & (FLAG_NO_FILE | FLAG_NOT_SOCKET)) ? bpf_map_lookup_elem(&flights, &sk_key) : NULL;
	if (f && f->record.entry == ENTRY_IO_URING) {
		/* what was asked stands with the request, what happened with the socket */
		struct attempt *seen = &f->record;

		r->flags |= seen->flags & ~(FLAG_NO_ADDRESS | FLAG_NO_FD);
		r->family = seen->family;
		r->protocol = seen->protocol;
		r->type = seen->type;
		r->netns = seen->netns;
		r->cookie = seen->cookie;
		r->state = seen->state;
		r->syns = seen->syns;
		r->err = seen->err;
		r->soft = seen->soft;
		r->drop = seen->drop;
		r->sport = seen->sport;
		r->dport = seen->dport;
		r->peer_family = seen->peer_family;
		r->ended = seen->ended;
		__builtin_memcpy(r->saddr, seen->saddr, sizeof(r->saddr));
		__builtin_memcpy(r->daddr, seen->daddr, sizeof(r->daddr));
		if (!(seen->flags & FLAG_SETTLED)) /* cancelled */
			read_ends(r, sk);
		compare_ends(r, bpf_get_current_task_btf(), sk);
		bpf_map_delete_elem(&flights, &sk_key);
		/* the socket's record was counted when it was made: it is this same attempt */
		struct cpu_counters *c = count();
		if (c)
			c->joined++;
	} else if (sk && ret == 0) {
		read_kind(r, sk);
		if ((r->family == AF_INET || r->family == AF_INET6) && *(u16 *)r->sockaddr != AF_UNSPEC) {
			read_ends(r, sk);
			compare_ends(r, bpf_get_current_task_btf(), sk);
		}
	} else if (sk && !(r->flags & (FLAG_NO_FILE | FLAG_NOT_SOCKET))) {
		u64 *denier = bpf_map_lookup_elem(&refusals, &sk_key);

		if (denier)
			r->denier = *denier;
		bpf_map_delete_elem(&refusals, &sk_key);
		if (r->flags & FLAG_NO_FD) { /* not looked at when it was submitted */
			read_kind(r, sk);
			r->type = PEEK(struct socket, socket, type);
		}
		look_around(r, bpf_get_current_task_btf(), sk);
	}
	end_record(r, ret);
	submit(r);
	bpf_map_delete_elem(&requests, &key);
	return 0;
}
