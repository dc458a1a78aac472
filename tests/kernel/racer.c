/*
 * A process whose address is swapped by a hostile thread while the kernel copies it: one attempt a round, by one way.
 *
 *     racer WAY RACES ROUND
 *
 * It waits for a byte on standard input before each ROUND of races. At the end it writes one byte for each race: the last
 * byte of the address that the kernel used, as the kernel itself tells it (getpeername) or as it arrived (datagrams).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING 1
static struct sockaddr_in shared; /* static and below 4 GiB (no PIE): calls of i386 reach it, too */
static volatile int over;
static int heard[3], port;

static void *swap(void *unused)
{
	while (!over) { /* two whole addresses: one byte tells them apart, so a copy is never a mixture */
		((volatile unsigned char *)&shared.sin_addr)[3] = 1;
		((volatile unsigned char *)&shared.sin_addr)[3] = 2;
	}
	return unused;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int peer_of(int s)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);

	if (getpeername(s, (struct sockaddr *)&peer, &size))
		die("getpeername");
	return ntohl(peer.sin_addr.s_addr) & 0xff;
}

/* Which of the two sockets of ours it came to: loopback delivers before the send returns. */
static int arrived(void)
{
	char byte;

	for (int last = 1; last <= 2; last++)
		if (recv(heard[last], &byte, 1, MSG_DONTWAIT) == 1)
			return last;
	die("recv");
	return 0;
}

static void accepted(int last)
{
	int s = accept(heard[last], NULL, NULL);

	if (s < 0)
		die("accept");
	close(s);
}

/* ---- the ways ---- */

static int by_connect(int s)
{
	if (connect(s, (struct sockaddr *)&shared, sizeof(shared)))
		die("connect");
	return peer_of(s);
}

static long call32(long number, long a, long b, long c)
{
	long result = number;

	__asm__ volatile("int $0x80" : "+a"(result) : "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static int by_i386(int s)
{
	if (call32(362, s, (long)&shared, sizeof(shared)))
		die("connect of i386");
	return peer_of(s);
}

static int by_socketcall(int s)
{
	static unsigned int arguments[3];

	arguments[0] = s;
	arguments[1] = (unsigned int)(unsigned long)&shared;
	arguments[2] = sizeof(shared);
	if (call32(102, 3, (long)arguments, 0))
		die("socketcall");
	return peer_of(s);
}

static struct {
	int fd;
	unsigned int *tail, mask, *array, *cq_head;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;
	unsigned int cq_mask;
} ring;

static void ring_begin(void)
{
	struct io_uring_params p = {};
	char *sq, *cq;

	ring.fd = syscall(SYS_io_uring_setup, RING, &p);
	if (ring.fd < 0)
		die("io_uring_setup");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*ring.done), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
		  IORING_OFF_CQ_RING);
	ring.entries = mmap(NULL, p.sq_entries * sizeof(*ring.entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)ring.entries == MAP_FAILED)
		die("mmap");
	ring.tail = (unsigned int *)(sq + p.sq_off.tail);
	ring.mask = *(unsigned int *)(sq + p.sq_off.ring_mask);
	ring.array = (unsigned int *)(sq + p.sq_off.array);
	ring.cq_head = (unsigned int *)(cq + p.cq_off.head);
	ring.cq_mask = *(unsigned int *)(cq + p.cq_off.ring_mask);
	ring.done = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static int by_uring(int s)
{
	unsigned int place = *ring.tail & ring.mask;
	struct io_uring_sqe *e = &ring.entries[place];
	int result;

	memset(e, 0, sizeof(*e));
	e->opcode = IORING_OP_CONNECT;
	e->fd = s;
	e->addr = (unsigned long)&shared;
	e->off = sizeof(shared);
	ring.array[place] = place;
	__atomic_store_n(ring.tail, *ring.tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		die("io_uring_enter");
	result = ring.done[*ring.cq_head & ring.cq_mask].res;
	__atomic_store_n(ring.cq_head, *ring.cq_head + 1, __ATOMIC_RELEASE);
	if (result) {
		errno = -result;
		die("IORING_OP_CONNECT");
	}
	return peer_of(s);
}

static int by_uring_tcp(int s)
{
	int last = by_uring(s);

	accepted(last);
	return last;
}

static int by_tcp(int s)
{
	int last = by_connect(s);

	accepted(last);
	return last;
}

static int by_sendto(int s)
{
	if (sendto(s, "x", 1, 0, (struct sockaddr *)&shared, sizeof(shared)) != 1)
		die("sendto");
	return arrived();
}

static struct msghdr *message(void)
{
	static struct iovec part = { "x", 1 };
	static struct msghdr m = { .msg_name = &shared, .msg_namelen = sizeof(shared), .msg_iov = &part, .msg_iovlen = 1 };

	return &m;
}

static int by_sendmsg(int s)
{
	if (sendmsg(s, message(), 0) != 1)
		die("sendmsg");
	return arrived();
}

static int by_sendmmsg(int s)
{
	struct mmsghdr m = { .msg_hdr = *message() };

	if (sendmmsg(s, &m, 1, 0) != 1)
		die("sendmmsg");
	return arrived();
}

/* Loopback answers the SYN before the send returns. */
static int opened(int s)
{
	struct pollfd wait = { .fd = s, .events = POLLOUT };
	int last;

	if (poll(&wait, 1, -1) != 1)
		die("poll");
	last = peer_of(s);
	accepted(last);
	return last;
}

static int by_fastopen_sendto(int s)
{
	if (sendto(s, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&shared, sizeof(shared)) < 0 && errno != EINPROGRESS)
		die("sendto");
	return opened(s);
}

static int by_fastopen_sendmsg(int s)
{
	if (sendmsg(s, message(), MSG_FASTOPEN) < 0 && errno != EINPROGRESS)
		die("sendmsg");
	return opened(s);
}

static const struct {
	const char *name;
	int (*act)(int);
	int type, listens;
} WAYS[] = {
	{ "connect", by_connect, SOCK_DGRAM, 0 },
	{ "connect_tcp", by_tcp, SOCK_STREAM, 1 },
	{ "connect_ia32", by_i386, SOCK_DGRAM, 0 },
	{ "socketcall", by_socketcall, SOCK_DGRAM, 0 },
	{ "io_uring", by_uring, SOCK_DGRAM, 0 },
	{ "io_uring_tcp", by_uring_tcp, SOCK_STREAM, 1 },
	{ "sendto", by_sendto, SOCK_DGRAM, 1 },
	{ "sendmsg", by_sendmsg, SOCK_DGRAM, 1 },
	{ "sendmmsg", by_sendmmsg, SOCK_DGRAM, 1 },
	{ "sendto_fastopen", by_fastopen_sendto, SOCK_STREAM, 1 },
	{ "sendmsg_fastopen", by_fastopen_sendmsg, SOCK_STREAM, 1 },
};

/* A socket on the same port of 127.0.0.1 and of 127.0.0.2. */
static void hear(int type)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	socklen_t size = sizeof(here);

	for (int last = 1; last <= 2; last++) {
		here.sin_addr.s_addr = htonl(0x7f000000 + last);
		heard[last] = socket(AF_INET, type | (type == SOCK_DGRAM ? SOCK_NONBLOCK : 0), 0);
		if (heard[last] < 0 || bind(heard[last], (struct sockaddr *)&here, size) ||
		    (type == SOCK_STREAM && listen(heard[last], 16)))
			die("bind");
		getsockname(heard[last], (struct sockaddr *)&here, &size);
	}
	port = here.sin_port;
}

int main(int argc, char **argv)
{
	int races = atoi(argv[2]), round = atoi(argv[3]), s = -1;
	struct linger at_once = { 1, 0 };
	unsigned char *used = malloc(races);
	pthread_t thread;
	unsigned int way = 0;

	while (strcmp(WAYS[way].name, argv[1]))
		if (++way == sizeof(WAYS) / sizeof(*WAYS))
			return 3;
	if (WAYS[way].listens)
		hear(WAYS[way].type);
	if (!strncmp(argv[1], "io_uring", 8))
		ring_begin();
	shared.sin_family = AF_INET;
	shared.sin_port = port ? port : htons(9);
	shared.sin_addr.s_addr = htonl(0x7f000001);
	pthread_create(&thread, NULL, swap, NULL);
	for (int i = 0; i < races; i++) {
		if (i % round == 0 && getchar() == EOF)
			return 1;
		if (s < 0 || WAYS[way].listens) { /* what is sent to where the last one went is no attempt of its own */
			s = socket(AF_INET, WAYS[way].type, 0);
			if (WAYS[way].type == SOCK_STREAM)
				setsockopt(s, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		}
		used[i] = WAYS[way].act(s);
		if (WAYS[way].listens)
			close(s);
	}
	over = 1;
	pthread_join(thread, NULL);
	return fwrite(used, 1, races, stdout) != (size_t)races;
}
