/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where the programs of sending.h are attached. */

/* ---- trampolines: the protocols' own functions, with the kernel's copy of the address ---- */

static __always_inline int name_returned(struct sock *sk, const struct msghdr *msg, s64 ret)
{
	struct aim aim = {};

	if (sk && read_name(&aim, msg))
		name_sent(sk, &aim, ret, false);
	return 0;
}

#define RETURNED_FROM(name, function)                                                                \
	SEC("fexit/" #function)                                                                      \
	int BPF_PROG(name, struct sock *sk, struct msghdr *msg, unsigned long size, int ret)         \
	{                                                                                            \
		return name_returned(sk, msg, ret);                                                  \
	}
#define RETURNED_FROM_SOCKET(name, function)                                                         \
	SEC("fexit/" #function)                                                                      \
	int BPF_PROG(name, struct socket *sock, struct msghdr *msg, unsigned long size, int ret)     \
	{                                                                                            \
		return name_returned(sock->sk, msg, ret);                                            \
	}

RETURNED_FROM(sent_raw4, raw_sendmsg)
RETURNED_FROM(sent_raw6, rawv6_sendmsg)
RETURNED_FROM(sent_ping4, ping_v4_sendmsg)
RETURNED_FROM(sent_ping6, ping_v6_sendmsg)
RETURNED_FROM(sent_sctp, sctp_sendmsg)
RETURNED_FROM_SOCKET(sent_packet, packet_sendmsg)
RETURNED_FROM_SOCKET(sent_unix, unix_dgram_sendmsg)

/* A connected socket's sends have no name, unless they are to somewhere else. */
SEC("fexit/udp_sendmsg")
int BPF_PROG(sent_udp4, struct sock *sk, struct msghdr *msg, unsigned long size, int ret)
{
	if (msg->msg_name)
		datagram_returned(sk, ret);
	return 0;
}

SEC("fexit/udpv6_sendmsg")
int BPF_PROG(sent_udp6, struct sock *sk, struct msghdr *msg, unsigned long size, int ret)
{
	if (msg->msg_name)
		datagram_returned(sk, ret);
	return 0;
}

static __always_inline void opened(struct sock *sk, const struct msghdr *msg, s64 ret)
{
	struct aim aim = {};

	if (!fastopen_returned(sk, ret) && opened_nothing(sk, ret) && msg->msg_flags & MSG_FASTOPEN && read_name(&aim, msg))
		name_sent(sk, &aim, ret, true);
}

/* Entered for Fast Open only. What it has copied into the SYN counts as sent (net/ipv4/tcp.c, tcp_sendmsg_locked). */
SEC("fexit/tcp_sendmsg_fastopen")
int BPF_PROG(sent_fastopen, struct sock *sk, struct msghdr *msg, int *copied, unsigned long size, void *more, int ret)
{
	int bytes = 0;

	if (ret == -EINPROGRESS && !bpf_probe_read_kernel(&bytes, sizeof(bytes), copied) && bytes > 0)
		ret = bytes;
	if (!of_mptcp(sk))
		opened(sk, msg, ret);
	return 0;
}

SEC("fexit/mptcp_sendmsg")
int BPF_PROG(sent_mptcp, struct sock *sk, struct msghdr *msg, unsigned long size, int ret)
{
	opened(sk, msg, ret);
	return 0;
}

/* sctp_connectx(3): the option of setsockopt(2) or getsockopt(2); connect(2) comes here too, and is seen at its entry. */
SEC("fexit/__sctp_connect")
int BPF_PROG(sctp_connected, struct sock *sk, void *addresses, int size, int flags, void *id, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct send_key key = { .task = (u64)task, .sk = (u64)sk };
	struct registers call = {};
	struct cpu_counters *c = count();
	struct attempt *r;
	s64 fd = -1;
	u32 bytes = size;

	if (!c || size <= 0 || task->flags & PF_KTHREAD || !caller_wanted(task))
		return 0;
	read_call(&call, task);
	if (call.number == (call.compat ? NR32_SETSOCKOPT : NR_SETSOCKOPT) ||
	    call.number == (call.compat ? NR32_GETSOCKOPT : NR_GETSOCKOPT)) {
		fd = call.args[0];
	} else if (call.compat && call.number == NR32_SOCKETCALL &&
		   (call.args[0] == SYS_SETSOCKOPT || call.args[0] == SYS_GETSOCKOPT)) {
		read_socketcall(&call);
		fd = call.args[0];
	} else {
		return 0;
	}
	r = send_begin(&key, c);
	if (!r)
		return 0;
	begin_record(r, task, c);
	read_kind(r, sk);
	r->type = sk->sk_type;
	r->cookie = bpf_get_socket_cookie(sk);
	r->entry = ENTRY_SCTP_CONNECTX;
	r->fd = fd;
	r->addrlen = size;
	barrier_var(bytes);
	if (bytes > sizeof(r->sockaddr))
		bytes = sizeof(r->sockaddr);
	bpf_probe_read_kernel(r->sockaddr, bytes, addresses);
	if ((narrow.families || narrow.nports) && !address_wanted(r->sockaddr)) {
		c->entered--;
		send_end(&key);
		return 0;
	}
	send_over(&key, r, ret);
	return 0;
}

/* ---- without trampolines: every send on a socket; the address as it stands in user memory now ---- */

/* Of a sendmmsg(2) only the first message's. */
static __always_inline bool read_asked(struct aim *aim, struct task_struct *task, u64 sk)
{
	struct registers call = {};
	struct uring_send *asked;
	u64 pointer;
	u32 size, sub = 0;

	if (task->flags & PF_KTHREAD)
		return false;
	read_call(&call, task);
	if (task->flags & PF_IO_WORKER || call.number == NR_IO_URING_ENTER) {
		asked = bpf_map_lookup_elem(&uring_sends, &sk);
		if (!asked || !asked->addrlen)
			return false;
		aim->length = asked->addrlen;
		__builtin_memcpy(aim->sockaddr, asked->sockaddr, sizeof(aim->sockaddr));
		return true;
	}
	if (call.compat && call.number == NR32_SOCKETCALL) {
		sub = call.args[0];
		read_socketcall(&call);
	}
	if (sub == SYS_SENDTO || call.number == (call.compat ? NR32_SENDTO : NR_SENDTO)) {
		pointer = call.args[4];
		aim->length = call.args[5];
	} else if (sub == SYS_SENDMSG || call.number == (call.compat ? NR32_SENDMSG : NR_SENDMSG) || sub == SYS_SENDMMSG ||
		   call.number == (call.compat ? NR32_SENDMMSG : NR_SENDMMSG)) {
		if (call.compat) {
			struct { u32 name; s32 length; } head = {};

			bpf_probe_read_user(&head, sizeof(head), (void *)call.args[1]);
			pointer = head.name;
			aim->length = head.length;
		} else {
			struct { u64 name; s32 length; s32 pad; } head = {};

			bpf_probe_read_user(&head, sizeof(head), (void *)call.args[1]);
			pointer = head.name;
			aim->length = head.length;
		}
	} else {
		return false; /* write(2) and the like */
	}
	size = aim->length;
	if (!pointer || aim->length <= 0)
		return false;
	barrier_var(size);
	if (size > sizeof(aim->sockaddr))
		size = sizeof(aim->sockaddr);
	return !bpf_probe_read_user(aim->sockaddr, size, (void *)pointer);
}

static __always_inline bool asked_to_open(struct task_struct *task)
{
	struct registers call = {};
	u32 sub = 0;

	read_call(&call, task);
	if (call.compat && call.number == NR32_SOCKETCALL) {
		sub = call.args[0];
		read_socketcall(&call);
	}
	if (sub == SYS_SENDMSG || call.number == (call.compat ? NR32_SENDMSG : NR_SENDMSG))
		return call.args[2] & MSG_FASTOPEN;
	return call.args[3] & MSG_FASTOPEN; /* sendto(2) and sendmmsg(2); others have no address */
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent_any, struct sock *sk, int ret)
{
	struct task_struct *task;
	struct aim aim = {};
	u16 protocol, family, type = sk->sk_type;

	if (type == SOCK_STREAM) {
		if (opening && fastopen_returned(sk, ret))
			return 0;
		protocol = sk->sk_protocol;
		family = sk->__sk_common.skc_family;
		if (!opened_nothing(sk, ret) || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) ||
		    (family != AF_INET && family != AF_INET6))
			return 0;
		task = bpf_get_current_task_btf();
		if (!(task->flags & PF_IO_WORKER) && asked_to_open(task) && read_asked(&aim, task, (u64)sk))
			name_sent(sk, &aim, ret, true);
		return 0;
	}
	family = sk->__sk_common.skc_family;
	protocol = sk->sk_protocol;
	if (family == AF_INET || family == AF_INET6) {
		if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE) {
			if (sending)
				datagram_returned(sk, ret);
			return 0;
		}
	} else if (family == AF_UNIX) {
		if (type != SOCK_DGRAM)
			return 0;
	} else if (family != AF_PACKET) {
		return 0;
	}
	if (read_asked(&aim, bpf_get_current_task_btf(), (u64)sk))
		name_sent(sk, &aim, ret, false);
	return 0;
}
