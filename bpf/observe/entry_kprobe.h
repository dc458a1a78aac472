/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Tier "kprobe": the same places as the trampolines, for kernels that refuse those. */

SEC("kprobe/__sys_connect")
int BPF_KPROBE(kprobe_connect_enter, int fd, void *address, int addrlen)
{
	attempt_enter(fd, address, addrlen, entry_of_connect());
	return 0;
}

SEC("kretprobe/__sys_connect")
int BPF_KRETPROBE(kprobe_connect_exit, int ret)
{
	attempt_exit(ret);
	return 0;
}
