/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where the programs of conversation.h are attached, and which arguments they look at. */

#define ENTERED(name, kind, fd, first, second, third)                                                   \
	SEC("tp/syscalls/sys_enter_" #name)                                                             \
	int call_##name##_enter(struct trace_event_raw_sys_enter *ctx)                                  \
	{                                                                                               \
		return enter_call(kind, fd, first, second, third);                                      \
	}
#define RETURNED(name, kind, function)                                                                  \
	SEC("tp/syscalls/sys_exit_" #name)                                                              \
	int call_##name##_exit(struct trace_event_raw_sys_exit *ctx)                                    \
	{                                                                                               \
		return function(kind, ctx->ret);                                                        \
	}
#define CALL(name, kind, fd, first, second, third)   \
	ENTERED(name, kind, fd, first, second, third) \
	RETURNED(name, kind, exit_call)
#define ARG(n) (ctx->args[n])

CALL(socket, CALL_SOCKET, -1, ARG(0), ARG(1), ARG(2))
CALL(bind, CALL_BIND, ARG(0), ARG(1), ARG(2), 0)
CALL(listen, CALL_LISTEN, ARG(0), ARG(1), 0, 0)
CALL(accept, CALL_ACCEPT, ARG(0), ARG(1), ARG(2), 0)
CALL(accept4, CALL_ACCEPT4, ARG(0), ARG(1), ARG(2), 0)
CALL(getsockopt, CALL_GETSOCKOPT, ARG(0), ARG(1), ARG(2), ARG(3))
CALL(sendto, CALL_SENDTO, ARG(0), 0, 0, 0)
CALL(sendmsg, CALL_SENDMSG, ARG(0), 0, 0, 0)
CALL(sendmmsg, CALL_SENDMMSG, ARG(0), ARG(1), 0, 0)
CALL(write, CALL_WRITE, ARG(0), 0, 0, 0)
CALL(writev, CALL_WRITEV, ARG(0), 0, 0, 0)
CALL(recvfrom, CALL_RECVFROM, ARG(0), 0, 0, ARG(3))
CALL(recvmsg, CALL_RECVMSG, ARG(0), 0, 0, ARG(2))
CALL(recvmmsg, CALL_RECVMMSG, ARG(0), ARG(1), 0, ARG(3))
CALL(read, CALL_READ, ARG(0), 0, 0, 0)
CALL(readv, CALL_READV, ARG(0), 0, 0, 0)
CALL(shutdown, CALL_SHUTDOWN, ARG(0), ARG(1), 0, 0)
CALL(close, CALL_CLOSE, ARG(0), 0, 0, 0)
RETURNED(poll, CALL_POLL, exit_wait)
RETURNED(ppoll, CALL_PPOLL, exit_wait)
RETURNED(select, CALL_SELECT, exit_wait)
RETURNED(pselect6, CALL_PSELECT6, exit_wait)
RETURNED(epoll_wait, CALL_EPOLL_WAIT, exit_wait)
RETURNED(epoll_pwait, CALL_EPOLL_PWAIT, exit_wait)
RETURNED(epoll_pwait2, CALL_EPOLL_PWAIT2, exit_wait)

/* Gives every new socket of the internet families its cookie, so that all rows about it carry it. Lets it be made. */
SEC("cgroup/sock_create")
int socket_created(struct bpf_sock *ctx)
{
	if (caller_wanted(bpf_get_current_task_btf()))
		bpf_get_socket_cookie(ctx);
	return 1;
}

/*
 * The socket goes away, whoever held it last and however: the only hook that sees a process's death take its sockets
 * along. Internet families only.
 */
SEC("cgroup/sock_release")
int socket_released(struct bpf_sock *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 sk = (u64)ctx; /* the kernel's struct sock */
	struct talk *t = bpf_map_lookup_elem(&talks, &sk);
	struct attempt record, *r = &record; /* on the stack: these programs can be preempted */

	if (!t)
		return 1;
	__builtin_memset(r, 0, sizeof(*r));
	read_kind(r, (void *)sk);
	r->type = ctx->type;
	if (t->cookie && r->cookie && t->cookie != r->cookie)
		return 1;
	if (task->flags & PF_EXITING)
		r->flags |= FLAG_EXITING;
	r->cgroup = cgroup_of(task);
	read_caller(r, task);
	read_known_ends(r, (void *)sk);
	talk_over(r, t, sk);
	return 1;
}
