/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The one record that the floor hands from the kernel to its reader: 256 bytes, flat, no padding.
 *
 * Rule: no more than what every consumer of connect(2) must copy, so that the floor is a floor.
 */
#ifndef BENCH_FLOOR_RECORD_H
#define BENCH_FLOOR_RECORD_H

enum { ADDRESS_MAX = 128 }; /* sizeof(struct sockaddr_storage) */

struct record {
	__u64 entered_ns; /* CLOCK_MONOTONIC at sys_enter */
	__u64 left_ns;    /* at sys_exit; 0 with --enter-only */
	__u32 pid, tid, uid, gid;
	__s64 result; /* 0 or -errno; 0 with --enter-only */
	__s32 fd;
	__u32 address_length; /* as the caller gave it */
	char comm[16];
	__u8 address[ADDRESS_MAX];
	__u8 spare[64];
};

_Static_assert(sizeof(struct record) == 256, "a record is 256 bytes");

#endif
