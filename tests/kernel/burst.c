/*
 * Processes that live a moment. "burst PORT COUNT WIDTH FIRST": COUNT times fork and exec of "burst PORT NUMBER", WIDTH
 * at a time; each of those connects a UDP socket to 127.0.0.1:PORT and exits at once. Its argv has a number, and it says
 * on standard output which pid it had: the truth of the test.
 * "burst PORT COUNT WIDTH FIRST PIDS": with pids from a small range, used over and over (clone3 with set_tid).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int call_out(const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	return connect(s, (struct sockaddr *)&to, sizeof(to));
}

static pid_t spawn(pid_t wanted)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	if (!wanted)
		return fork();
	args.set_tid = (unsigned long)&wanted;
	args.set_tid_size = 1;
	return syscall(SYS_clone3, &args, sizeof(args));
}

int main(int argc, char **argv)
{
	int count, width, first, pids, running = 0;

	if (argc == 3)
		return call_out(argv[1]) ? 1 : 0;
	count = atoi(argv[2]), width = atoi(argv[3]), first = atoi(argv[4]), pids = argc > 5 ? atoi(argv[5]) : 0;
	for (int i = 0; i < count; i++) {
		char number[16];
		pid_t child;

		if (running == width) {
			if (wait(NULL) < 0)
				return 3;
			running--;
		}
		snprintf(number, sizeof(number), "%d", first + i);
		/* a pid that is still in use (not reaped yet) is tried again */
		do
			child = spawn(pids ? 300 + i % pids : 0);
		while (child < 0 && errno == EEXIST && wait(NULL) > 0 && running--);
		if (!child) {
			execl("/proc/self/exe", i % 2 ? "odd one" : "even", argv[1], number, NULL);
			execl(argv[0], argv[0], argv[1], number, NULL); /* a root without /proc */
			_exit(127);
		}
		if (child < 0)
			return perror("clone"), 2;
		running++;
		printf("%d %d\n", first + i, child);
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
