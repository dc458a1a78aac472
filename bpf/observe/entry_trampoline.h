/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Tier "trampoline": fentry and fexit, the cheapest hooks; nothing but connect(2) pays for them. */

SEC("fentry/__sys_connect")
int BPF_PROG(trampoline_connect_enter, int fd, void *address, int addrlen)
{
	attempt_enter(fd, address, addrlen, entry_of_connect());
	return 0;
}

SEC("fexit/__sys_connect")
int BPF_PROG(trampoline_connect_exit, int fd, void *address, int addrlen, int ret)
{
	attempt_exit(ret);
	return 0;
}
