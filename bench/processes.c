/*
 * Processes that live a moment, at a steady rate. "processes RATE COUNT WIDTH PORT": WIDTH at a time, each is forked, execs
 * this program as "processes PORT NUMBER", connects a UDP socket to 127.0.0.1:PORT and exits; COUNT in all, RATE a second.
 * Prints how many seconds that took.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int call_out(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	return s < 0 || connect(s, (struct sockaddr *)&to, sizeof(to)) ? 1 : 0;
}

static void wait_until(double when)
{
	double left = when - now();
	struct timespec t;

	if (left <= 0)
		return;
	t.tv_sec = (time_t)left;
	t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
	nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
	int rate, count, width, failed = 0, status;
	double began;

	if (argc == 3)
		return call_out(atoi(argv[1]));
	if (argc != 5)
		return 2;
	rate = atoi(argv[1]), count = atoi(argv[2]), width = atoi(argv[3]);
	began = now();
	for (int made = 0; made < count; made += width) {
		int running = 0;

		wait_until(began + (double)made / rate);
		for (int i = made; i < made + width && i < count; i++, running++) {
			char number[16];
			pid_t child = fork();

			if (!child) {
				snprintf(number, sizeof(number), "%d", i);
				execl("/proc/self/exe", argv[0], argv[4], number, NULL);
				_exit(127);
			}
			if (child < 0)
				return perror("fork"), 3;
		}
		while (running--)
			if (wait(&status) < 0 || status)
				failed++;
	}
	if (failed)
		return fprintf(stderr, "%d processes failed\n", failed), 4;
	wait_until(began + (double)count / rate);
	printf("%.6f\n", now() - began);
	return 0;
}
