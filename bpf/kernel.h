/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The few kernel structures that callout reads. Only the members in use; libbpf relocates them (CO-RE)
 * against the BTF of the running kernel, so neither kernel headers nor a generated vmlinux.h are needed.
 */
#ifndef CALLOUT_KERNEL_H
#define CALLOUT_KERNEL_H

#include "record.h"

typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef signed char __s8;
typedef short __s16;
typedef s32 __s32;
typedef long long __s64;
typedef long long s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u64 __be64;
typedef u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1024 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1, BPF_SK_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };

enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_FIN_WAIT1 = 4, TCP_CLOSE = 7, TCP_LAST_ACK = 9, TCP_LISTEN = 10, TCP_CLOSING = 11 }; /* net/tcp_states.h */
enum { AF_UNSPEC = 0, AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };
enum { AF_PACKET = 17, AF_SMC = 43 };
enum { SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_RAW = 3, SOCK_SEQPACKET = 5, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_SCTP = 132, IPPROTO_UDPLITE = 136, IPPROTO_MPTCP = 262 };
enum { MSG_FASTOPEN = 0x20000000 };
enum { O_NONBLOCK = 04000, FMODE_PATH = 0x4000, S_IFMT = 0170000, S_IFSOCK = 0140000 };
enum { PF_EXITING = 0x4, PF_IO_WORKER = 0x10, PF_KTHREAD = 0x200000 }; /* linux/sched.h */
enum { TS_COMPAT = 2 };						/* asm/thread_info.h of x86 */
enum { SECCOMP_MODE_FILTER = 2 };
enum { EPERM = 1, EAGAIN = 11, EACCES = 13, ENOSYS = 38, EINTR = 4, EEXIST = 17, EOPNOTSUPP = 95, ECONNRESET = 104, EALREADY = 114, EINPROGRESS = 115, ERESTARTSYS = 512, ERESTART_RESTARTBLOCK = 516 };

#define __kernel __attribute__((preserve_access_index))

struct ns_common { u32 inum; } __kernel;
struct list_head { struct list_head *next, *prev; } __kernel;
struct net {
	struct ns_common ns;
	struct list_head dev_base_head;
} __kernel;
typedef struct { struct net *net; } possible_net_t;

struct in6_addr { u32 words[4]; };
struct sock_common {
	u64 skc_addrpair;	/* skc_daddr, skc_rcv_saddr */
	u32 skc_portpair;	/* skc_dport (network order), skc_num (host order) */
	u16 skc_family;
	u8 skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	struct { long long counter; } skc_cookie;
	unsigned long skc_flags;
	u8 skc_ipv6only : 1;
} __kernel;
struct sock_cgroup_data { struct cgroup *cgroup; } __kernel; /* since 5.15 (8520e224f547) */
struct sk_buff_head { struct sk_buff *next, *prev; } __kernel;
struct net_device;
struct dst_entry { struct net_device *dev; } __kernel;
struct sock {
	struct sock_common __sk_common;
	struct dst_entry *sk_dst_cache;
	struct sk_buff_head sk_error_queue;
	void *sk_socket;
	struct sock_cgroup_data sk_cgrp_data;
	u16 sk_type;
	u16 sk_protocol;
	int sk_err;
	int sk_err_soft;
	u8 sk_shutdown;
} __kernel;
enum { RCV_SHUTDOWN = 1 }; /* net/sock.h: a bit of sk_shutdown */
enum { SOCK_DONE = 1, SOCK_BROADCAST = 6 }; /* net/sock.h: numbers of bits of skc_flags */
struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
} __kernel;

struct tcp_sock {
	void *fastopen_req;
	bool is_mptcp;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 write_seq;
	u32 snd_una;
	u32 snd_nxt;
	u32 segs_out;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_received;
	u64 bytes_acked;
} __kernel;

struct inet_connection_sock { void *icsk_ulp_data; } __kernel;
struct mptcp_subflow_context { struct sock *conn; } __kernel;

struct socket {
	enum { SS_UNCONNECTED = 1, SS_CONNECTING = 2 } state;
	short type;
	struct sock *sk;
} __kernel;
struct msghdr {
	void *msg_name; /* the kernel's copy of the address */
	int msg_namelen;
	u32 msg_flags;
} __kernel;
struct super_block { u32 s_dev; } __kernel;
struct inode {
	u16 i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
	s64 i_ctime_sec; /* from 6.11 on: 3aa63a569c64 */
	u32 i_ctime_nsec;
} __kernel;
enum { I_CTIME_QUERIED = 0x80000000 }; /* linux/fs.h, from 6.13 on: a mark in i_ctime_nsec */
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
} __kernel;
struct inode___6_6 { struct timespec64 __i_ctime; } __kernel; /* 13bc24457850 */
struct inode___old { struct timespec64 i_ctime; } __kernel;
struct qstr {
	u64 hash_len;
	const unsigned char *name;
} __kernel;
struct hlist_bl_node { struct hlist_bl_node **pprev; } __kernel;
struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
} __kernel;
struct vfsmount { struct dentry *mnt_root; } __kernel;
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
} __kernel;
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} __kernel;
struct fs_struct {
	struct path root;
	struct path pwd;
} __kernel;
struct file {
	u32 f_flags;
	u32 f_mode;
	struct inode *f_inode;
	struct path f_path;
	void *private_data;
	struct { long counter; } f_count;
} __kernel;
struct file___6_13 { struct { struct { long counter; } refcnt; } f_ref; } __kernel; /* 90ee6ed776c0: one below the number */
struct fdtable {
	u32 max_fds;
	struct file **fd;
} __kernel;
struct files_struct { struct fdtable *fdt; } __kernel;

typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
typedef struct { u64 val; } kernel_cap_t; /* before 6.3 two words of 32 bits: the same bytes */
struct user_namespace { struct ns_common ns; } __kernel;
struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
} __kernel;
struct thread_info { u32 status; } __kernel;
struct mnt_namespace { struct ns_common ns; } __kernel;
struct pid_namespace { struct ns_common ns; } __kernel;
struct nsproxy {
	struct net *net_ns;
	struct mnt_namespace *mnt_ns;
} __kernel;
struct upid {
	int nr;
	struct pid_namespace *ns;
} __kernel;
struct pid {
	u32 level;
	struct upid numbers[1];
} __kernel;
enum { PIDTYPE_SID = 3 }; /* linux/pid_types.h, from 4.19 on */
struct tty_driver {
	int major;
	int minor_start;
} __kernel;
struct tty_struct {
	struct tty_driver *driver;
	int index;
} __kernel;
struct signal_struct {
	struct { int counter; } live;
	struct pid *pids[4];
	struct tty_struct *tty;
} __kernel;
struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
} __kernel;
struct linux_binprm { int argc; } __kernel;
struct seccomp { int mode; } __kernel;
struct task_struct {
	struct thread_info thread_info;
	u32 flags;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	u64 start_boottime;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct seccomp seccomp;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct signal_struct *signal;
	struct pid *thread_pid;
	kuid_t loginuid;
	u64 self_exec_id; /* 32 bits before 5.7 */
} __kernel;

/* include/net/dropreason-core.h (its numbers differ by kernel) */
enum skb_drop_reason { SKB_DROP_REASON_NETFILTER_DROP = 8, SKB_DROP_REASON_QDISC_DROP = 43, SKB_DROP_REASON_TC_INGRESS = 46 };

struct sk_buff {
	struct sock *sk;
	char cb[48];
	int skb_iif;
	u16 transport_header;
	u16 network_header;
	unsigned char *head;
} __kernel;

/* What an ICMP error left for the socket in cb of a packet (linux/errqueue.h). */
struct sock_extended_err {
	u32 ee_errno;
	u8 ee_origin;
	u8 ee_type;
	u8 ee_code;
} __kernel;
struct sock_exterr_skb { struct sock_extended_err ee; } __kernel;
enum { SO_EE_ORIGIN_ICMP = 2, SO_EE_ORIGIN_ICMP6 = 3 };
enum { LOOPBACK_IFINDEX = 1 }; /* in every network namespace */

/* The IPv4 addresses of a network namespace (linux/inetdevice.h). */
struct in_ifaddr {
	struct in_ifaddr *ifa_next;
	__be32 ifa_address;
	__be32 ifa_mask;
	__be32 ifa_broadcast;
	u8 ifa_prefixlen;
} __kernel;
struct in_device { struct in_ifaddr *ifa_list; } __kernel;
struct net_device {
	struct list_head dev_list;
	u32 flags;
	struct in_device *ip_ptr;
} __kernel;
enum { IFF_UP = 1, IFF_LOOPBACK = 8 };

/* What a cgroup program is given; fixed by the kernel's interface (linux/bpf.h), so not relocated. */
struct bpf_sock {
	u32 bound_dev_if, family, type, protocol, mark, priority;
	u32 src_ip4;
	u32 src_ip6[4];
	u32 src_port; /* host order */
};
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex,
		ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id, family, remote_ip4, local_ip4,
		remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys, tstamp;
	u32 wire_len, gso_segs;
	struct bpf_sock *sk __attribute__((aligned(8)));
};
struct bpf_tcp_sock {
	u32 snd_cwnd, srtt_us, rtt_min, snd_ssthresh, rcv_nxt, snd_nxt, snd_una, mss_cache, ecn_flags, rate_delivered,
		rate_interval_us, packets_out, retrans_out, total_retrans, segs_in, data_segs_in, segs_out, data_segs_out,
		lost_out, sacked_out;
	u64 bytes_received, bytes_acked;
};
struct bpf_sock_addr {
	u32 user_family;
	u32 user_ip4;
	u32 user_ip6[4];
	u32 user_port;
	u32 family, type, protocol;
	u32 msg_src_ip4;
	u32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	u64 seq_num;
} __kernel;
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __kernel;
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __kernel;

/* signals (asm-generic/signal-defs.h) */
enum { SIG_IGN = 1, SA_RESTART = 0x10000000 };
struct kernel_siginfo { int si_signo; } __kernel;
struct sigaction { void *sa_handler; unsigned long sa_flags; } __kernel;
struct k_sigaction { struct sigaction sa; } __kernel;

enum bpf_func_id { BPF_FUNC_loop = 181 };

/* programs attached to cgroups */
enum cgroup_bpf_attach_type { CGROUP_INET4_CONNECT, CGROUP_INET6_CONNECT, CGROUP_UNIX_CONNECT };
struct bpf_prog { u32 len; } __kernel;
struct bpf_prog_array_item { struct bpf_prog *prog; } __kernel;
struct bpf_prog_array { struct bpf_prog_array_item items[1]; } __kernel;
struct cgroup_bpf { struct bpf_prog_array *effective[1]; } __kernel;
struct kernfs_node {
	u64 id;
	const char *name;
} __kernel;
struct cgroup_root { int hierarchy_id; } __kernel;
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} __kernel;
struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
	struct cgroup_root *root;
	struct cgroup_bpf bpf;
} __kernel;
struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
} __kernel;

/* io_uring: a request begins with the command of its operation */
enum { IORING_OP_SENDMSG = 9, IORING_OP_CONNECT = 16, IORING_OP_SEND = 26, IORING_OP_SEND_ZC = 47, IORING_OP_SENDMSG_ZC = 48, REQ_F_FIXED_FILE = 1 };
struct io_cqe {
	s32 res;
	int fd;
} __kernel;
struct io_kiocb {
	struct file *file;
	u8 opcode;
	u32 flags;
	struct io_cqe cqe;
	void *async_data;
} __kernel;
struct io_connect {
	void *addr;
	int addr_len;
} __kernel;
struct io_sr_msg {
	void *umsg;
	void *addr; /* of IORING_OP_SEND; newer kernels have it in the request's own data */
	int addr_len;
} __kernel;
struct io_async_msghdr { struct msghdr msg; } __kernel;

struct trace_event_raw_sys_enter { u64 unused; long id; unsigned long args[6]; } __kernel;
struct trace_event_raw_sys_exit { u64 unused; long id; long ret; } __kernel;

/* The register file as bpf_tracing.h expects it without kernel headers (__VMLINUX_H__ naming). */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
} __kernel;
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs { u64 regs[31]; u64 sp; u64 pc; u64 pstate; } __kernel;
struct pt_regs { struct user_pt_regs user_regs; u64 orig_x0; s32 syscallno; } __kernel;
#endif
#define __VMLINUX_H__

/* Keeps the compiler from having two copies of a value, of which the verifier sees only one bounded (libbpf 0.6 has it). */
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

#endif
