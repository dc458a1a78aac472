/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the headers of libbpf 0.5 (Ubuntu 22.04) do not know yet: questions about a member of a type, a helper. */

#ifndef bpf_core_field_offset
#undef bpf_core_field_exists
#define CORE_MEMBER1(place) place
#define CORE_MEMBER2(type, member) ((type *)0)->member
#define CORE_MEMBER_(one, two, choice, ...) choice
#define CORE_MEMBER(args...) CORE_MEMBER_(args, CORE_MEMBER2, CORE_MEMBER1)(args)
#define bpf_core_field_exists(args...) __builtin_preserve_field_info(CORE_MEMBER(args), BPF_FIELD_EXISTS)
#define bpf_core_field_offset(args...) __builtin_preserve_field_info(CORE_MEMBER(args), BPF_FIELD_BYTE_OFFSET)
static long (*const bpf_get_func_ret)(void *context, u64 *value) = (void *)184;
#endif
