/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded generator of connect(2) calls that times each one and counts what it did.
 *
 * Rule: one attempt is exactly one connect(2) (in mode getpid one getpid(2)), so `attempts` in the report is what a
 * tracer must account for.  Listeners are held by the same thread, which accepts inline: no wake-up of another
 * task is inside the measured time and the accept queue never grows.  Everything goes to 127.0.0.1 or to an
 * abstract AF_UNIX name; --netns puts even that into a private network namespace.
 *
 * What is timed: the connect(2) call; in mode nonblock from the call to the SO_ERROR that ends it (the
 * non-blocking procedure of connect(2), EINPROGRESS); in mode getpid the mean over a batch of 64 calls.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "attempts.h"

enum { MAX_THREADS = 64, MAX_COUNT = 20000000, MAX_ERRNO = 134 };

/* ---- threads --------------------------------------------------------------------------------------------------- */

struct options {
	const struct mode *mode;
	long count, rate, threads, seconds;
	bool netns, wait;
	const char *ready_file;
};

struct worker {
	pthread_t thread;
	const struct options *options;
	struct fixture fixture;
	pid_t tid;
	long count, attempts, samples;
	long by_errno[MAX_ERRNO]; /* [0] counts the successes */
	uint32_t *ns;             /* one per sample, saturating */
	uint64_t began, ended;
};

static pthread_barrier_t set_up, go;

static void sleep_until(uint64_t due)
{
	const struct timespec t = { (time_t)(due / SECOND), (long)(due % SECOND) };
	int error;
	do
		error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	while (error == EINTR);
	if (error) {
		errno = error;
		die("clock_nanosleep");
	}
}

/* Standard input holds the load back until everybody is set up and told so. */
static void wait_for_go(const struct options *o)
{
	char byte;
	if (o->ready_file)
		need(close(need(open(o->ready_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644), o->ready_file)), "close");
	if (o->wait && need((int)read(STDIN_FILENO, &byte, 1), "read(stdin)") == 0)
		exit(0); /* whoever should have said go is gone */
	alarm((unsigned)o->seconds + 10); /* the last resort, should a blocking call never come back */
}

static void *work(void *argument)
{
	struct worker *w = argument;
	const struct options *o = w->options;
	const long batch = o->mode->batch;
	const size_t size = (size_t)(w->count / batch + 1) * sizeof *w->ns;

	w->tid = gettid();
	open_fixture(&w->fixture, o->mode->attempt == attempt_served, o->mode->sends);
	w->ns = malloc(size);
	if (!w->ns)
		die("malloc of %zu bytes", size);
	memset(w->ns, 0xff, size);                                     /* no page fault while measuring */
	need(prctl(PR_SET_TIMERSLACK, 1), "prctl(PR_SET_TIMERSLACK)"); /* the default 50 us would spoil --rate */
	pthread_barrier_wait(&set_up);
	if (w->tid == getpid())
		wait_for_go(o);
	pthread_barrier_wait(&go);

	w->began = w->ended = now();
	const uint64_t limit = w->began + (uint64_t)o->seconds * SECOND;
	while (w->attempts < w->count && w->ended < limit) {
		const long part = w->count - w->attempts < batch ? w->count - w->attempts : batch;
		if (o->rate) {
			const double share = (double)o->rate / (double)o->threads;
			const uint64_t due = w->began + (uint64_t)((double)w->attempts / share * 1e9);
			if (due >= limit)
				break;
			if (due > now())
				sleep_until(due);
		}
		uint64_t ns = 0;
		const int error = o->mode->attempt(&w->fixture, w->attempts, part, &ns);
		if (error < 0 || error >= MAX_ERRNO) {
			errno = error;
			die("unexpected errno %d", error);
		}
		w->by_errno[error] += part;
		w->attempts += part;
		w->ns[w->samples++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
		w->ended = now();
	}
	return NULL;
}

/* ---- the report ------------------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void report(const struct options *o, struct worker *workers, double cpu_seconds)
{
	long attempts = 0, samples = 0, by_errno[MAX_ERRNO] = { 0 };
	uint64_t began = UINT64_MAX, ended = 0;
	for (struct worker *w = workers; w < workers + o->threads; w++) {
		attempts += w->attempts;
		samples += w->samples;
		began = w->began < began ? w->began : began;
		ended = w->ended > ended ? w->ended : ended;
		for (int e = 0; e < MAX_ERRNO; e++)
			by_errno[e] += w->by_errno[e];
	}
	uint32_t *all = malloc((size_t)(samples + 1) * sizeof *all);
	if (!all)
		die("malloc for %ld samples", samples);
	uint32_t *end = all;
	for (struct worker *w = workers; w < workers + o->threads; w++) {
		memcpy(end, w->ns, (size_t)w->samples * sizeof *all);
		end += w->samples;
	}
	qsort(all, (size_t)samples, sizeof *all, compare);

	printf("{\"mode\":\"%s\",\"pid\":%d,\"tids\":[", o->mode->name, getpid());
	for (long i = 0; i < o->threads; i++)
		printf("%s%d", i ? "," : "", workers[i].tid);
	printf("],\"attempts\":%ld,\"ok\":%ld,\"failed\":%ld,\"errnos\":{", attempts, by_errno[0], attempts - by_errno[0]);
	const char *comma = "";
	for (int e = 1; e < MAX_ERRNO; e++)
		if (by_errno[e]) {
			printf("%s\"%s\":%ld", comma, strerrorname_np(e), by_errno[e]);
			comma = ",";
		}
	printf("},\"complete\":%s,\"seconds\":%.6f,\"cpu_seconds\":%.6f", attempts == o->count ? "true" : "false",
	       (double)(ended - began) / 1e9, cpu_seconds);
	if (samples)
		printf(",\"p50_ns\":%u,\"p99_ns\":%u", all[samples / 2], all[samples * 99 / 100]);
	printf("}\n");
	if (fflush(stdout) || ferror(stdout))
		die("writing the report");
	free(all);
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static void enter_private_network(void)
{
	if (unshare(CLONE_NEWNET) < 0) /* without CAP_SYS_ADMIN a user namespace of our own gives it */
		need(unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare(CLONE_NEWUSER | CLONE_NEWNET)");
	const int fd = need(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	need(ioctl(fd, SIOCSIFFLAGS, &lo), "bring lo up");
	need(close(fd), "close");
}

static double cpu_seconds(void)
{
	struct rusage u;
	need(getrusage(RUSAGE_SELF, &u), "getrusage");
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void usage(void)
{
	fputs("usage: load udp|refused|tcp|nonblock|unix|mixed|served|getpid [--count N] [--rate PER_SECOND] [--threads T]\n"
	      "            [--seconds LIMIT] [--netns] [--ready-file PATH] [--wait]\n"
	      "--wait: start at the first byte on standard input, and stay after the report until its end of file\n",
	      stderr);
	exit(2);
}

static long number(const char *text, long low, long high)
{
	char *end;
	errno = 0;
	const long value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < low || value > high) {
		fprintf(stderr, "load: %s is not a number from %ld to %ld\n", text, low, high);
		usage();
	}
	return value;
}

static struct options parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "count", required_argument, NULL, 'c' },      { "rate", required_argument, NULL, 'r' },
		{ "threads", required_argument, NULL, 't' },    { "seconds", required_argument, NULL, 's' },
		{ "ready-file", required_argument, NULL, 'f' }, { "netns", no_argument, NULL, 'n' },
		{ "wait", no_argument, NULL, 'w' },             { NULL, 0, NULL, 0 },
	};
	struct options o = { .count = 1000, .threads = 1, .seconds = 60 };
	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
		switch (c) {
		case 'c': o.count = number(optarg, 1, MAX_COUNT); break;
		case 'r': o.rate = number(optarg, 1, 1000000); break;
		case 't': o.threads = number(optarg, 1, MAX_THREADS); break;
		case 's': o.seconds = number(optarg, 1, 600); break;
		case 'f': o.ready_file = optarg; break;
		case 'n': o.netns = true; break;
		case 'w': o.wait = true; break;
		default: usage();
		}
	for (int i = 0; optind + 1 == argc && i < MODES; i++)
		if (!strcmp(argv[optind], modes[i].name))
			o.mode = &modes[i];
	if (!o.mode)
		usage();
	return o;
}

int main(int argc, char **argv)
{
	const struct options o = parse(argc, argv);
	static struct worker workers[MAX_THREADS];
	char byte;

	if (o.netns)
		enter_private_network();
	if ((errno = pthread_barrier_init(&set_up, NULL, (unsigned)o.threads)) ||
	    (errno = pthread_barrier_init(&go, NULL, (unsigned)o.threads)))
		die("pthread_barrier_init");
	for (long i = 0; i < o.threads; i++) {
		workers[i].options = &o;
		workers[i].count = o.count / o.threads + (i < o.count % o.threads);
		if (i && (errno = pthread_create(&workers[i].thread, NULL, work, &workers[i])))
			die("pthread_create");
	}
	work(&workers[0]); /* the first worker is the main thread: a load of one thread is a process of one thread */
	for (long i = 1; i < o.threads; i++)
		if ((errno = pthread_join(workers[i].thread, NULL)))
			die("pthread_join");
	alarm(0);
	report(&o, workers, cpu_seconds());
	while (o.wait && need((int)read(STDIN_FILENO, &byte, 1), "read(stdin)") > 0)
		;
	return 0;
}
