/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The only declaration of what the kernel side reports.
 *
 * Python reads these structs from the BTF of the compiled object (callout/btf.py), so nothing here is written twice.
 * Rules: flat structs, fixed size, no holes, no bit-fields, no pointers; a typedef says what kind a value is;
 * DOC() says what it means and survives into BTF as a declaration tag.
 */
#ifndef CALLOUT_RECORD_H
#define CALLOUT_RECORD_H

#ifdef CALLOUT_NO_TAGS /* libbpf before 0.6 does not know declaration tags */
#define DOC(text)
#else
#define DOC(text) __attribute__((btf_decl_tag(text)))
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

typedef u64 boot_ns;    /* nanoseconds of CLOCK_BOOTTIME */
typedef u16 be_port;    /* port in network byte order */
typedef u8 ip_addr[16]; /* IPv4 in the first four bytes, or IPv6 */

/* Packed enumerations take the smallest size that fits, and bring their names into BTF with the member. */
#define PACKED __attribute__((packed))

enum PACKED record_kind {
	RECORD_ATTEMPT = 1,
	RECORD_COPY = 2,
	RECORD_CALL = 3,
	RECORD_FORK = 4,
	RECORD_EXEC = 5,
	RECORD_EXIT = 6,
	RECORD_TASK = 7, /* as RECORD_EXEC, of a process that was found by looking */
	RECORD_PACKET = 8,
	RECORD_CGROUP = 9,
	RECORD_STEP = 10,
	RECORD_DIRECTORY = 11,
	RECORD_KINDS = 16, /* room for what is counted by kind */
};

/* How the attempt entered the kernel: connect.entry. */
enum PACKED entry_path {
	ENTRY_CONNECT = 1,
	ENTRY_CONNECT_IA32 = 2,
	ENTRY_SOCKETCALL = 3,
	ENTRY_IO_URING = 4,
	ENTRY_SENDTO_FASTOPEN = 5,
	ENTRY_SENDMSG_FASTOPEN = 6,
	ENTRY_SENDTO = 7,
	ENTRY_SENDMSG = 8,
	ENTRY_SENDMMSG = 9,
	ENTRY_KERNEL = 10,
	ENTRY_SCTP_CONNECTX = 11,
};

/* What this record says of its attempt. */
enum PACKED record_phase {
	PHASE_VERDICT = 0,	/* final, or all that will ever be known */
	PHASE_ATTEMPT = 1,	/* the attempt itself, before its verdict (--phases) */
	PHASE_PENDING = 2,	/* given up by us while still under way */
	PHASE_LATE = 3,		/* an error that came for a socket after its attempt; user space finds the attempt */
};

enum PACKED attempt_flag {
	FLAG_RETURNED = 1,	/* the system call came back; ret is valid */
	FLAG_FOLLOWED = 2,	/* the socket went to SYN_SENT for this attempt */
	FLAG_SETTLED = 4,	/* the socket left SYN_SENT; state and err are final */
	FLAG_NO_FILE = 8,	/* no such descriptor */
	FLAG_NOT_SOCKET = 16,	/* a descriptor of something else */
	FLAG_UNREADABLE = 32,	/* the address could not be read from user memory */
	FLAG_NONBLOCK = 64,	/* O_NONBLOCK at entry */
	FLAG_LOCAL = 128,	/* saddr/sport hold the local end */
	FLAG_PEER = 256,	/* daddr/dport hold what the kernel used */
	FLAG_RST = 512,		/* a RST arrived for this socket */
	FLAG_EXITING = 1024,	/* the socket was closed by a dying process */
	FLAG_BY_CALL = 2048,	/* the last state change came from a system call of the owner, not from the network */
	FLAG_PATH_FD = 4096,	/* an O_PATH descriptor: EBADF for connect */
	FLAG_NO_ADDRESS = 8192,	/* seen below the system call: sockaddr, addrlen and pointer are not known */
	FLAG_NO_FD = 16384,	/* no descriptor number: a socket of the kernel or of io_uring's own table */
	FLAG_FASTOPEN = 32768,	/* TCP Fast Open was asked for */
	FLAG_SWAPPED = 65536,	/* user memory changed between entry and use: the kernel used another address */
	FLAG_REWRITTEN = 131072,	/* a cgroup program replaced the address */
	FLAG_ICMP = 524288,	/* icmp_type and icmp_code are valid */
	FLAG_SENT = 1048576,	/* sent to an address without connect */
	FLAG_RESTARTED = 262144,	/* interrupted by a signal and entered again */
	FLAG_DEFERRED = 2097152,	/* Fast Open: the SYN waits for the first data */
	FLAG_ICMP6 = 4194304,	/* icmp_type and icmp_code are those of ICMPv6 */
	FLAG_ICMP_HERE = 8388608,	/* this host made the ICMP error itself */
	FLAG_SUBFLOW = 16777216,	/* MPTCP: the first subflow went to SYN_SENT */
	FLAG_PROGRAMS = 33554432,	/* cgroup programs were asked, which may refuse with any error or change the address */
	FLAG_BROADCAST = 67108864,	/* the address is a broadcast address, and the socket may not call those */
	FLAG_SIX_ONLY = 134217728,	/* the socket may not speak IPv4: IPV6_V6ONLY, or bound to an IPv6 address */
	FLAG_LISTENING = 268435456,	/* the socket listens */
	FLAG_UNDONE = 536870912,	/* shutdown(2) or AF_UNSPEC ended it while it was under way */
	FLAG_FROM_LOOPBACK = 1073741824, /* the socket is bound to a loopback address */
	FLAG_RST_HERE = 2147483648, /* the RST came from this host: the socket's route is by the loopback device */
};

enum PACKED denier {
	DENIER_NONE = 0,
	DENIER_LSM = 1,
	DENIER_CGROUP = 2,
	DENIER_SECCOMP = 3,
};

/*
 * What is each attempt's own stands together, from sport to cookie; all else is often the same in thousands of records,
 * and then read and decoded once (capture/kinds.py).
 */
struct attempt {
	enum record_kind kind DOC("first in every record");
	enum record_phase phase DOC("what this record says of its attempt");
	u16 bound DOC("local port that the socket had before, host order");
	be_port sport DOC("local port");
	u16 cpu DOC("CPU that submitted the record");
	u32 lost DOC("records of this kind that this CPU has lost so far");
	s32 fd DOC("descriptor argument");
	u64 id DOC("one per attempt, below 2^53");
	boot_ns began DOC("entry of the system call");
	boot_ns ended DOC("when the verdict was known, 0 if it is not");
	u64 cookie DOC("socket cookie, 0 if none was given yet");
	boot_ns start DOC("start of the process (thread group leader)");
	u64 cgroup DOC("cgroup v2 id of the caller");
	u64 caps DOC("effective capabilities");
	u64 pointer DOC("user address of the sockaddr");
	u32 pid DOC("process (thread group)");
	u32 tid DOC("thread");
	u32 ppid DOC("parent process");
	u32 uid DOC("real user");
	u32 gid DOC("real group");
	u32 euid DOC("effective user");
	u32 netns DOC("inode number of the socket's network namespace, 0 without a socket");
	u16 icmp_err DOC("the errno that the kernel makes of the ICMP error");
	u8 standing DOC("enum socket_state at entry: 1 unconnected, 2 connecting, 3 connected; 0 if not known");
	u8 spare DOC("always 0");
	u32 image DOC("how many times the process and those that it was forked from had called exec");
	u32 directory DOC("number of the thread's working directory (struct directory), 0: not known");
	s32 addrlen DOC("length argument");
	s32 ret DOC("result of the call: 0 or -errno; see FLAG_RETURNED");
	u16 family DOC("socket's address family");
	u16 protocol DOC("socket's protocol");
	u8 type DOC("socket's type");
	enum entry_path entry DOC("how the attempt entered the kernel");
	u8 state DOC("TCP state after the attempt");
	u8 syns DOC("SYNs retransmitted");
	enum attempt_flag flags DOC("what else is known");
	u16 err DOC("sk_err when the socket settled");
	u16 soft DOC("sk_err_soft: an ICMP error that was not acted on at once");
	u16 drop DOC("skb_drop_reason of a dropped packet of this socket");
	be_port dport DOC("peer's port that the kernel used");
	u8 peer_family DOC("family of daddr: 2 or 10");
	enum denier denier DOC("who on this host refused it, where a hook tells");
	u8 icmp_type DOC("ICMP error that came for this socket; see FLAG_ICMP");
	u8 icmp_code DOC("its code");
	ip_addr icmp_from DOC("who sent the ICMP error; see FLAG_ICMP6");
	ip_addr saddr DOC("local address");
	ip_addr daddr DOC("peer's address that the kernel used");
	char comm[16] DOC("name of the thread");
	u8 sockaddr[128] DOC("the address as read from user memory at entry: min(addrlen, 128) bytes");
};

/* The address that the kernel copied, where it was not the one at entry; goes with the attempt of the same id. */
struct copy {
	enum record_kind kind DOC("first in every record");
	u8 spare[7] DOC("always 0");
	u64 id DOC("of the attempt");
	u8 sockaddr[128] DOC("the kernel's copy");
};

/* What happened to an attempt after its first SYN. */
enum PACKED step_kind {
	STEP_SYN = 1,	/* a SYN was sent again */
	STEP_RST = 2,	/* a RST arrived */
	STEP_DROP = 3,	/* this host dropped a packet of the socket, or one that came for it */
	STEP_ICMP = 4,	/* an ICMP error arrived */
};

struct step {
	enum record_kind kind DOC("first in every record");
	enum step_kind what DOC("what happened");
	u16 reason DOC("of a drop: skb_drop_reason");
	u8 icmp_type DOC("of an ICMP error");
	u8 icmp_code DOC("its code");
	u8 version DOC("4 or 6: ICMP or ICMPv6");
	u8 spare DOC("always 0");
	u64 id DOC("of the attempt");
	boot_ns when DOC("when it happened");
	ip_addr from DOC("who sent the ICMP error");
};

/* The calls around an attempt (-e network), by their names; CALL_END is none: the socket went away. */
enum PACKED call_kind {
	CALL_SOCKET = 1,
	CALL_BIND = 2,
	CALL_LISTEN = 3,
	CALL_ACCEPT = 4,
	CALL_ACCEPT4 = 5,
	CALL_GETSOCKOPT = 6,
	CALL_POLL = 7,
	CALL_PPOLL = 8,
	CALL_SELECT = 9,
	CALL_PSELECT6 = 10,
	CALL_EPOLL_WAIT = 11,
	CALL_EPOLL_PWAIT = 12,
	CALL_EPOLL_PWAIT2 = 13,
	CALL_SENDTO = 14,
	CALL_SENDMSG = 15,
	CALL_SENDMMSG = 16,
	CALL_WRITE = 17,
	CALL_WRITEV = 18,
	CALL_RECVFROM = 19,
	CALL_RECVMSG = 20,
	CALL_RECVMMSG = 21,
	CALL_READ = 22,
	CALL_READV = 23,
	CALL_SHUTDOWN = 24,
	CALL_CLOSE = 25,
	CALL_END = 26,
};

/* What has happened on a followed socket so far. */
enum PACKED talk_mark {
	TALK_ATTEMPTED = 1,	/* it has an attempt, or was accepted */
	TALK_CONNECTED = 2,
	TALK_SENT = 4,		/* its first send was reported */
	TALK_RECEIVED = 8,
	TALK_SHUT = 16,		/* shut down here before the peer closed its side */
	TALK_RESET = 32,	/* the peer sent a RST */
	TALK_FIN = 64,		/* the peer closed its side */
	TALK_UNREAD = 128,	/* received bytes were not read: closing resets the connection */
};

/* One call about a followed socket, or its end. */
struct call {
	enum record_kind kind DOC("first in every record");
	enum call_kind call DOC("which call");
	u16 cpu DOC("CPU that submitted the record");
	u32 lost DOC("records of this kind that this CPU has lost so far");
	u64 id DOC("of the socket's attempt, or the one that its next attempt will have; 0 if the socket is not followed");
	boot_ns began DOC("entry of the call; of a wait its return; of the end, when the attempt began");
	boot_ns ended DOC("return of the call; of the end, when it came");
	boot_ns start DOC("start of the process (thread group leader)");
	u64 cgroup DOC("cgroup v2 id of the caller, or CGROUP_V1 and the v1 id where it is in the root of v2");
	u64 caps DOC("effective capabilities");
	u64 cookie DOC("socket cookie, 0 if none was given yet");
	u64 pointer DOC("user address of the sockaddr");
	u64 sent DOC("of the end: bytes sent");
	u64 received DOC("of the end: bytes received");
	u32 pid DOC("process (thread group)");
	u32 tid DOC("thread");
	u32 ppid DOC("parent process");
	u32 uid DOC("real user");
	u32 gid DOC("real group");
	u32 euid DOC("effective user");
	u32 netns DOC("inode number of the socket's network namespace");
	u32 image DOC("how many times the process and those that it was forked from had called exec");
	u32 directory DOC("number of the thread's working directory (struct directory), 0: not known");
	s32 fd DOC("descriptor argument; of socket, the new one; of the end, that of the attempt");
	s32 addrlen DOC("length of the address");
	s32 ret DOC("result of the call, or -errno; see FLAG_RETURNED");
	s32 value DOC("socket: its protocol argument; listen: backlog; shutdown: how; getsockopt: the error that it gave");
	enum attempt_flag flags DOC("what else is known");
	u16 family DOC("socket's address family");
	u16 protocol DOC("socket's protocol");
	u16 err DOC("of the end: sk_err");
	be_port sport DOC("local port");
	be_port dport DOC("peer's port");
	u8 type DOC("socket's type");
	u8 state DOC("of the end: TCP state before it");
	u8 peer_family DOC("family of daddr: 2 or 10");
	enum talk_mark marks DOC("what has happened on the socket");
	u8 spare[2] DOC("always 0");
	ip_addr saddr DOC("local address");
	ip_addr daddr DOC("peer's address");
	char comm[16] DOC("name of the thread");
	u8 sockaddr[128] DOC("address that bind was given or that accept gave: min(addrlen, 128) bytes");
};

/* What a packet has to do with names. */
enum PACKED packet_is {
	PACKET_QUERY = 1,	/* to port 53 */
	PACKET_ANSWER = 2,	/* from port 53 */
	PACKET_HELLO = 3,	/* the first bytes that a TLS client sends */
};

/* A packet that tells names; what it leaves unused of its data is not sent. Packets of TCP are pieces of a stream. */
struct packet {
	enum record_kind kind DOC("first in every record");
	enum packet_is is DOC("what it has to do with names");
	u16 kept DOC("bytes in data");
	u32 length DOC("bytes of payload that the packet had");
	boot_ns when DOC("when it passed");
	boot_ns start DOC("of what is sent: start of the process that sent it, else 0");
	u64 cgroup DOC("cgroup v2 id: of the process that sent it, or of the socket that got it");
	u64 cookie DOC("socket cookie");
	u32 pid DOC("of what is sent: the process, else 0");
	u32 netns DOC("inode number of the socket's network namespace");
	u32 sequence DOC("TCP sequence number of the first byte, else 0");
	u8 protocol DOC("6 or 17");
	u8 spare[11] DOC("always 0");
	u8 data[4032] DOC("payload");
};

/* A cgroup that was made: its id is all that an attempt carries, and its directory may be gone when that is read. */
struct new_cgroup {
	enum record_kind kind DOC("first in every record");
	u8 spare[7] DOC("always 0");
	u64 id DOC("as in struct attempt");
	char path[1024] DOC("from the root of its hierarchy; only the used part is sent");
};

/*
 * Processes. One is named by pid and start: a pid alone is used again. What it runs is named by both and `image`, which
 * goes up with every exec and is inherited at fork (task_struct.self_exec_id), so a row has what ran when it was made.
 */

/* RECORD_FORK: a process began; RECORD_EXIT: the last thread of one is going away. */
struct life {
	enum record_kind kind DOC("first in every record");
	u8 spare DOC("always 0");
	u16 cpu DOC("CPU that submitted the record");
	u32 lost DOC("records of this kind that this CPU has lost so far");
	boot_ns start DOC("start of the process");
	boot_ns parent_start DOC("start of its parent");
	u32 pid DOC("process");
	u32 ppid DOC("its parent");
	u32 image DOC("what it runs: its parent's until it calls exec");
	u32 net DOC("network namespace");
	u32 pidns DOC("pid namespace");
	u32 mnt DOC("mount namespace");
	u32 user DOC("user namespace");
	u32 more DOC("always 0");
	char comm[16] DOC("name");
};

enum PACKED image_flag {
	IMAGE_ARGS_CUT = 1,	/* there are more arguments than fit */
	IMAGE_ARGS_UNREADABLE = 2, /* they could not be read */
	IMAGE_EXE_CUT = 4,	/* the path of the executable has more parts than fit: those next to the root are missing */
	IMAGE_EXE_DELETED = 8,	/* the executable has no name any more */
	IMAGE_EXE_NAMELESS = 16, /* it never had one in a directory: memfd_create(2) */
};

/*
 * RECORD_EXEC: a process began to run an executable; RECORD_TASK: it was running it when we looked. Of text only the
 * used part is sent: the names of the executable's path from the last to the first, each ended by NUL, and the arguments
 * as they stand in memory.
 */
struct exec {
	enum record_kind kind DOC("first in every record");
	enum image_flag flags DOC("what is missing or special");
	u16 cpu DOC("CPU that submitted the record");
	u32 lost DOC("records of this kind that this CPU has lost so far");
	boot_ns start DOC("start of the process");
	boot_ns parent_start DOC("start of its parent");
	u64 inode DOC("inode number of the executable");
	u64 changed DOC("when its inode changed, nanoseconds since 1970");
	u64 root_inode DOC("inode number of the process's root directory");
	u32 pid DOC("process");
	u32 ppid DOC("its parent");
	u32 image DOC("number of what it runs");
	u32 device DOC("device of the executable: major << 20 | minor");
	u32 root_device DOC("device of the root directory");
	u32 auid DOC("login user id, 2^32 - 1 if it was never set");
	u32 session DOC("session: pid of its leader");
	u32 tty DOC("controlling terminal: major << 20 | minor; 0 if it has none");
	u32 net DOC("network namespace");
	u32 pidns DOC("pid namespace");
	u32 mnt DOC("mount namespace");
	u32 user DOC("user namespace");
	u16 exe_size DOC("bytes of the executable's path in text");
	u16 args_size DOC("bytes of the arguments behind it");
	u32 spare DOC("always 0");
	char comm[16] DOC("name");
	u8 text[6144] DOC("path and arguments");
};

enum PACKED directory_flag {
	DIRECTORY_CUT = 1,	/* the path has more parts than fit: those next to the root are missing */
};

/* RECORD_DIRECTORY: a directory that somebody works in; comes before the first record that has its number. */
struct directory {
	enum record_kind kind DOC("first in every record");
	enum directory_flag flags DOC("what is missing");
	u16 cpu DOC("CPU that submitted the record");
	u32 lost DOC("records of this kind that this CPU has lost so far");
	u32 number DOC("its number, which is never given to another one");
	u32 size DOC("bytes of text in use");
	u8 text[2048] DOC("names of the path from the last to the first, each ended by NUL");
};

/*
 * Counters of one CPU. Attempts: entered - joined = submitted + withheld + lost + orphaned + still under way, less those
 * that a search hands out (what_was_overlooked), which user space counts.
 */
struct cpu_counters {
	u64 entered DOC("attempts seen at entry, after narrowing");
	u64 submitted DOC("final records handed to the ring");
	u64 withheld DOC("final records that the outcome narrowing kept back");
	u64 orphaned DOC("attempts whose end was never seen");
	u64 joined DOC("records of a socket that turned out to be part of an attempt counted already (io_uring)");
	u64 unfollowed DOC("attempts that could not be followed: too many under way");
	u64 overlooked DOC("ends of attempts that no program of ours was run for, and that the socket told later");
	u64 talks DOC("sockets that were given an id before an attempt");
	u64 lost[RECORD_KINDS] DOC("records lost by kind: the ring was full");
};

/* Marks the id of a cgroup v1: each hierarchy numbers its own, and kernfs never gets this far. */
#define CGROUP_V1 (1ULL << 63)

/* What to report at all; zero counts mean no restriction. Set before load, so what is unused costs nothing. */
struct narrowing {
	u64 cgroups[16] DOC("cgroup v2 ids, each with everything below it");
	u64 newer DOC("also what runs in cgroups with ids above this one: made later, or v1; 0: not");
	u32 ncgroups;
	u32 nhidden;
	u32 v1 DOC("1 + number of the controller whose cgroup v1 counts for tasks in the root of v2; 0: none");
	u32 v1_hierarchy DOC("number of its hierarchy");
	u32 hidden[16] DOC("threads that are never reported: callout's own, which ask container runtimes");
	u32 npids;
	u32 nuids;
	u32 nports;
	u32 ncomms;
	u32 families DOC("bit 0 AF_INET, bit 1 AF_INET6, bit 2 AF_UNSPEC; 0 for all families");
	u32 nothing DOC("the conditions exclude each other: no attempt can match");
	u32 uring DOC("completions of io_uring are observed, so its attempts wait for them");
	u32 outcome DOC("0 all, 1 only succeeded, 2 only failed");
	u32 phases DOC("also submit a record at entry");
	u32 returns DOC("sends whose return is seen: 1 datagrams, 2 Fast Open");
	u32 steps DOC("also what happens between a SYN and the end of its attempt (struct step)");
	u32 conversation DOC("also the calls around the attempts (-e network)");
	u32 directories DOC("working directories are wanted (struct directory)");
	u32 unused DOC("always 0");
	u64 id_base DOC("upper bits of every attempt's id");
	u32 pids[16];
	u32 uids[16];
	u32 ports[32] DOC("network byte order");
	u64 comms[8][2] DOC("16 bytes each, padded with NUL");
};

/* Shared with the reader through mapped memory. */
struct doorbell {
	u64 wake_at DOC("bytes in the ring from which on a record wakes the reader; 0 = it is awake");
};

#endif
