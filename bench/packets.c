/* SPDX-License-Identifier: Apache-2.0 */
/* Packets over loopback, sent and received by one thread: what a program that runs on each of them adds.
 *
 * Rule: one exchange is one send(2) and the recv(2) that takes it; nobody else is woken inside the measured time.
 * packets udp|tcp|bulk COUNT prints the mean of an exchange in ns. udp: 64 bytes, two runs of the hooks (sent,
 * received). tcp: 64 bytes. bulk: 64 KiB, some of them in one packet.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SMALL = 64, LARGE = 65536 };
static char data[LARGE];

static int need(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct sockaddr_in place = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(place);
	const int on = 1;
	int kind, to, from, size;
	double began;
	long count;

	if (argc != 3 || (count = atol(argv[2])) <= 0)
		return 2;
	kind = strcmp(argv[1], "udp") ? SOCK_STREAM : SOCK_DGRAM;
	size = strcmp(argv[1], "bulk") ? SMALL : LARGE;
	from = need(socket(AF_INET, kind, 0), "socket");
	to = need(socket(AF_INET, kind, 0), "socket");
	need(bind(from, (struct sockaddr *)&place, sizeof(place)), "bind");
	need(getsockname(from, (struct sockaddr *)&place, &length), "getsockname");
	if (kind == SOCK_STREAM)
		need(listen(from, 1), "listen");
	need(connect(to, (struct sockaddr *)&place, sizeof(place)), "connect");
	if (kind == SOCK_STREAM) {
		from = need(accept(from, NULL, NULL), "accept");
		need(setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "setsockopt");
	}
	began = now();
	for (long i = 0; i < count; i++) {
		need((int)send(to, data, (size_t)size, 0), "send");
		for (int got = 0; got < size;)
			got += need((int)recv(from, data, (size_t)(size - got), 0), "recv");
	}
	printf("%.1f\n", (now() - began) / (double)count);
	return 0;
}
