/* SPDX-License-Identifier: Apache-2.0 */
/* What one attempt of each mode is: the sockets that it needs, the call that it makes, and the time that counts.
 *
 * Rule: one attempt is one connect(2) (in mode getpid one getpid(2), in the modes of sending one send), never more,
 * never fewer. What the sending modes need is connected before the load is ready.
 * Included by load.c alone; a header so that the build stays one compiler call.
 */
#ifndef BENCH_ATTEMPTS_H
#define BENCH_ATTEMPTS_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { GETPID_BATCH = 64, SEND_BATCH = 64, UNIX_BATCH = 8, NONBLOCK_WAIT_MS = 5000 };
static const uint64_t SECOND = 1000000000;

static void die(const char *format, ...)
{
	const int error = errno;
	va_list arguments;
	va_start(arguments, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

static int need(int result, const char *what)
{
	if (result < 0)
		die("%s", what);
	return result;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock and a valid pointer */
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- what a thread needs to have open before it starts -------------------------------------------------------- */

struct fixture {
	int udp, tcp_listener, unix_listener, epoll;
	int tcp[2], udp_pair[2], udp_free, unix_free, unix_bound; /* of the sending modes: from, to */
	struct sockaddr_in udp_to[2], closed, tcp_to, served, send_to;
	struct sockaddr_un unix_to, datagram_to;
	socklen_t unix_length, datagram_length;
};

/* Bind to a loopback port that the kernel picks; the socket stays open, so nobody else can take the port. */
static int hold_port(int type, struct sockaddr_in *bound)
{
	const int fd = need(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket(AF_INET)");
	socklen_t length = sizeof *bound;
	*bound = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	need(bind(fd, (struct sockaddr *)bound, sizeof *bound), "bind to 127.0.0.1");
	need(getsockname(fd, (struct sockaddr *)bound, &length), "getsockname");
	return fd;
}

static void open_connections(struct fixture *f)
{
	const int one = 1;
	struct sockaddr_in to;

	f->tcp[0] = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(SOCK_STREAM)");
	need(setsockopt(f->tcp[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "setsockopt(TCP_NODELAY)");
	need(connect(f->tcp[0], (struct sockaddr *)&f->tcp_to, sizeof f->tcp_to), "connect");
	f->tcp[1] = need(accept4(f->tcp_listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
	f->udp_pair[1] = hold_port(SOCK_DGRAM, &to);
	f->udp_pair[0] = need(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(SOCK_DGRAM)");
	need(connect(f->udp_pair[0], (struct sockaddr *)&to, sizeof to), "connect");
	f->send_to = to;
	f->udp_free = need(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(SOCK_DGRAM)");
	f->unix_bound = need(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)");
	f->datagram_to.sun_family = AF_UNIX;
	need(bind(f->unix_bound, (struct sockaddr *)&f->datagram_to, sizeof(sa_family_t)), "bind(AF_UNIX)");
	f->datagram_length = sizeof f->datagram_to;
	need(getsockname(f->unix_bound, (struct sockaddr *)&f->datagram_to, &f->datagram_length), "getsockname(AF_UNIX)");
	f->unix_free = need(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)");
}

/* A process that answers one byte with one byte, connection by connection, until its parent is gone. */
static void start_server(struct sockaddr_in *served)
{
	const int listener = hold_port(SOCK_STREAM, served);
	const pid_t parent = getpid();
	need(listen(listener, 128), "listen");
	if (need(fork(), "fork") == 0) {
		need(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl(PR_SET_PDEATHSIG)"); /* of the thread that forked */
		for (char byte; getppid() == parent;) {
			const int fd = need(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
			while (read(fd, &byte, 1) == 1) /* ends with ECONNRESET */
				need((int)write(fd, &byte, 1), "write");
			need(close(fd), "close");
		}
		_exit(0);
	}
	need(close(listener), "close");
}

static void open_fixture(struct fixture *f, bool server, bool connections)
{
	if (server)
		start_server(&f->served);
	hold_port(SOCK_DGRAM, &f->udp_to[0]);
	hold_port(SOCK_DGRAM, &f->udp_to[1]);
	hold_port(SOCK_STREAM, &f->closed); /* bound, not listening: the answer is a RST */
	f->udp = need(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(SOCK_DGRAM)");
	f->tcp_listener = hold_port(SOCK_STREAM, &f->tcp_to);
	need(listen(f->tcp_listener, 128), "listen");
	f->epoll = need(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	f->unix_listener = need(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)");
	f->unix_to.sun_family = AF_UNIX; /* autobind, unix(7): the kernel picks a free abstract name */
	need(bind(f->unix_listener, (struct sockaddr *)&f->unix_to, sizeof(sa_family_t)), "bind(AF_UNIX)");
	f->unix_length = sizeof f->unix_to;
	need(getsockname(f->unix_listener, (struct sockaddr *)&f->unix_to, &f->unix_length), "getsockname(AF_UNIX)");
	need(listen(f->unix_listener, 128), "listen(AF_UNIX)");
	if (connections)
		open_connections(f);
}

/* ---- the modes: make attempts [index, index+batch), the ns of one into *ns, return its errno or 0 ---------------- */

static int timed_connect(int fd, const void *to, socklen_t length, uint64_t *ns)
{
	const uint64_t start = now();
	const int result = connect(fd, to, length);
	*ns = now() - start;
	return result < 0 ? errno : 0;
}

/* Abort instead of closing in order: SO_LINGER 0 leaves no TIME_WAIT behind, socket(7), so ports never run out. */
static void abort_connection(int fd, int listener)
{
	const struct linger now_with_rst = { .l_onoff = 1, .l_linger = 0 };
	const int accepted = need(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
	need(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now_with_rst, sizeof now_with_rst), "setsockopt(SO_LINGER)");
	need(close(fd), "close");
	need(close(accepted), "close(accepted)");
}

static int finish(int fd, int listener, int error)
{
	if (error)
		need(close(fd), "close");
	else
		abort_connection(fd, listener);
	return error;
}

static int attempt_udp(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)batch;
	return timed_connect(f->udp, &f->udp_to[index & 1], sizeof f->udp_to[0], ns);
}

static int attempt_refused(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index, (void)batch;
	const int fd = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(SOCK_STREAM)");
	const int error = timed_connect(fd, &f->closed, sizeof f->closed, ns);
	need(close(fd), "close");
	return error;
}

static int attempt_tcp(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index, (void)batch;
	const int fd = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(SOCK_STREAM)");
	const int error = timed_connect(fd, &f->tcp_to, sizeof f->tcp_to, ns);
	return finish(fd, f->tcp_listener, error);
}

/* The whole life of a connection: a request and its answer, with another process at the other end. */
static int attempt_served(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index, (void)batch;
	const struct linger now_with_rst = { .l_onoff = 1, .l_linger = 0 };
	const uint64_t start = now();
	const int fd = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(SOCK_STREAM)");
	const int error = connect(fd, (struct sockaddr *)&f->served, sizeof f->served) < 0 ? errno : 0;
	char byte = 0;
	if (!error) {
		need((int)write(fd, &byte, 1), "write");
		need((int)read(fd, &byte, 1), "read");
		need(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now_with_rst, sizeof now_with_rst), "setsockopt(SO_LINGER)");
	}
	need(close(fd), "close");
	*ns = now() - start;
	return error;
}

static int attempt_nonblock(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index, (void)batch;
	const int fd = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket(SOCK_NONBLOCK)");
	struct epoll_event event = { .events = EPOLLOUT };
	const uint64_t start = now();
	int error = connect(fd, (struct sockaddr *)&f->tcp_to, sizeof f->tcp_to) < 0 ? errno : 0;
	if (error == EINPROGRESS) {
		socklen_t length = sizeof error;
		need(epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
		if (need(epoll_wait(f->epoll, &event, 1, NONBLOCK_WAIT_MS), "epoll_wait") == 0)
			error = ETIMEDOUT;
		else
			need(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), "getsockopt(SO_ERROR)");
	}
	*ns = now() - start;
	return finish(fd, f->tcp_listener, error);
}

static int attempt_unix(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index, (void)batch;
	const int fd = need(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)");
	const int error = timed_connect(fd, &f->unix_to, f->unix_length, ns);
	return finish(fd, f->unix_listener, error);
}

static int attempt_getpid(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)f, (void)index;
	const uint64_t start = now();
	for (long i = 0; i < batch; i++)
		syscall(SYS_getpid);
	*ns = (now() - start) / (uint64_t)batch;
	return 0;
}

/* `batch` sends of one byte, timed together, then as many received. A batch fits into every queue (unix: max_dgram_qlen). */
static int timed_sends(int from, int to, const void *address, socklen_t length, long batch, uint64_t *ns)
{
	const uint64_t start = now();
	char byte = 'x';

	for (long i = 0; i < batch; i++)
		if (sendto(from, &byte, 1, 0, address, length) != 1)
			return errno;
	*ns = (now() - start) / (uint64_t)batch;
	for (long i = 0; i < batch; i++)
		need((int)recv(to, &byte, 1, 0), "recv");
	return 0;
}

static int attempt_send(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index;
	return timed_sends(f->tcp[0], f->tcp[1], NULL, 0, batch, ns);
}

static int attempt_send_udp(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index;
	return timed_sends(f->udp_pair[0], f->udp_pair[1], NULL, 0, batch, ns);
}

static int attempt_sendto_udp(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index;
	return timed_sends(f->udp_free, f->udp_pair[1], &f->send_to, sizeof f->send_to, batch, ns);
}

static int attempt_sendto_unix(struct fixture *f, long index, long batch, uint64_t *ns)
{
	(void)index;
	return timed_sends(f->unix_free, f->unix_bound, &f->datagram_to, f->datagram_length, batch, ns);
}

typedef int attempt_fn(struct fixture *f, long index, long batch, uint64_t *ns);
static int attempt_mixed(struct fixture *f, long index, long batch, uint64_t *ns);

static const struct mode {
	const char *name;
	attempt_fn *attempt;
	long batch; /* attempts per time sample */
	bool sends; /* on sockets that are connected or bound before */
} modes[] = {
	{ "udp", attempt_udp, 1, false },
	{ "refused", attempt_refused, 1, false },
	{ "tcp", attempt_tcp, 1, false },
	{ "nonblock", attempt_nonblock, 1, false },
	{ "unix", attempt_unix, 1, false },
	{ "mixed", attempt_mixed, 1, false },
	{ "served", attempt_served, 1, false },
	{ "getpid", attempt_getpid, GETPID_BATCH, false },
	{ "send", attempt_send, SEND_BATCH, true },
	{ "send-udp", attempt_send_udp, SEND_BATCH, true },
	{ "sendto-udp", attempt_sendto_udp, SEND_BATCH, true },
	{ "sendto-unix", attempt_sendto_unix, UNIX_BATCH, true },
};

enum { PLAIN_MODES = 5, MODES = sizeof modes / sizeof *modes }; /* mixed takes turns among the first PLAIN_MODES */

static int attempt_mixed(struct fixture *f, long index, long batch, uint64_t *ns)
{
	return modes[index % PLAIN_MODES].attempt(f, index / PLAIN_MODES, batch, ns);
}

#endif
