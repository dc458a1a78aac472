/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Reading a member behind a pointer that the verifier knows nothing of.
 *
 * From Linux 6.2 on (a35b9af4ec2c) bpf_rdonly_cast gives such a pointer its type, and the member is one load that a
 * fault turns into 0 (about 2 ns); before, each read is a call (about 20 ns). Where the function is missing, its weak
 * symbol is 0 and the verifier removes the branch.
 */
#ifdef CALLOUT_CAST
extern void *bpf_rdonly_cast(const void *pointer, u32 type) __ksym __weak;
#define CAN_CAST (bpf_rdonly_cast != NULL)
#define CAST(type, pointer) ((type *)bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(type)))
#else /* libbpf before 1.0 cannot leave out a function of the kernel */
#define CAN_CAST 0
#define CAST(type, pointer) ((type *)(pointer))
#endif

#define PEEK(type, pointer, member) ({                                                   \
	const void *at_ = (pointer); /* evaluated here: relocations do not nest */        \
	typeof(((type *)0)->member) value_;                                              \
	if (CAN_CAST)                                                                    \
		value_ = CAST(type, at_)->member;                                        \
	else                                                                             \
		bpf_core_read(&value_, sizeof(value_), &((type *)at_)->member);           \
	value_; })

/*
 * A pointer behind a pointer that the verifier knows. It would do without the cast, but then the verifier looks through
 * all types of the kernel, several times for each such load (btf_nested_type_is_trusted): a third of the time that all
 * programs took to load.
 */
#define WALK(pointer, member) ({                                                         \
	typeof(pointer) from_ = (pointer);                                               \
	typeof(from_->member) to_;                                                       \
	if (CAN_CAST)                                                                    \
		to_ = CAST(typeof(*from_), from_)->member;                               \
	else                                                                             \
		to_ = from_->member;                                                     \
	to_; })

/*
 * An address as a number. What the verifier knows to be a pointer may not be counted with, but two pointers may be
 * subtracted; one of them is 0 here.
 */
#define NUMBER(pointer) ({                                                               \
	u64 number_ = (u64)(pointer);                                                    \
	if (CAN_CAST)                                                                    \
		number_ -= (u64)CAST(struct task_struct, NULL);                          \
	number_; })
