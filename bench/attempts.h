/* SPDX-License-Identifier: Apache-2.0 */
/* What one attempt of each mode is: the sockets that it needs, the call that it makes, and the time that counts.
 *
 * Rule: one attempt is one connect(2) (in mode getpid one getpid(2)), never more, never fewer.
 * Included by load.c alone; a header so that the build stays one compiler call.
 */
#ifndef BENCH_ATTEMPTS_H
#define BENCH_ATTEMPTS_H

#include <errno.h>
#include <netinet/in.h>
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

enum { GETPID_BATCH = 64, NONBLOCK_WAIT_MS = 5000 };
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
	struct sockaddr_in udp_to[2], closed, tcp_to, served;
	struct sockaddr_un unix_to;
	socklen_t unix_length;
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

static void open_fixture(struct fixture *f, bool server)
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

typedef int attempt_fn(struct fixture *f, long index, long batch, uint64_t *ns);
static int attempt_mixed(struct fixture *f, long index, long batch, uint64_t *ns);

static const struct mode {
	const char *name;
	attempt_fn *attempt;
	long batch; /* attempts per time sample */
} modes[] = {
	{ "udp", attempt_udp, 1 },
	{ "refused", attempt_refused, 1 },
	{ "tcp", attempt_tcp, 1 },
	{ "nonblock", attempt_nonblock, 1 },
	{ "unix", attempt_unix, 1 },
	{ "mixed", attempt_mixed, 1 },
	{ "served", attempt_served, 1 },
	{ "getpid", attempt_getpid, GETPID_BATCH },
};

enum { PLAIN_MODES = 5, MODES = sizeof modes / sizeof *modes }; /* mixed takes turns among the first PLAIN_MODES */

static int attempt_mixed(struct fixture *f, long index, long batch, uint64_t *ns)
{
	return modes[index % PLAIN_MODES].attempt(f, index / PLAIN_MODES, batch, ns);
}

#endif
