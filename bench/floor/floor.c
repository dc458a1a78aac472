/* SPDX-License-Identifier: Apache-2.0 */
/* The floor: the least that a consumer of connect(2) events costs, to measure everything else against.
 *
 * Rule: attach, drain every few milliseconds without ever being woken, count, and say at the end how many records
 * came, how many did not fit, and what that cost this process in CPU time and memory.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "floor.skel.h"
#include "record.h"
#include "tracefs.h"

struct options {
	bool enter_only;
	long pid, seconds, drain_ms, ring_bytes;
	const char *ready_file;
};

struct tally {
	unsigned long events, failed;
};

/* `error` is a positive errno value. */
static void die(int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("floor: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(error == EPERM || error == EACCES ? 3 : 1);
}

static double seconds_on(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die(errno, "clock_gettime");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int on_record(void *context, void *data, size_t size)
{
	struct tally *tally = context;
	const struct record *record = data;
	if (size != sizeof *record)
		die(EPROTO, "a record of %zu bytes", size);
	tally->events++;
	tally->failed += record->result < 0;
	return 0;
}

static struct bpf_link *attach(struct bpf_program *program, int tracefs, const char *tracepoint)
{
	const long id = tracepoint_id(tracefs, tracepoint);
	if (id < 0)
		die((int)-id, "id of tracepoint %s", tracepoint);
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof attributes, .config = (__u64)id, .sample_period = 1,
	};
	/* A program on a tracepoint runs on every CPU, whichever one the event names. */
	const int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		die(errno, "perf_event_open for %s", tracepoint);
	struct bpf_link *link = bpf_program__attach_perf_event(program, fd);
	if (!link)
		die(errno, "attach to %s", tracepoint);
	return link;
}

static struct floor_bpf *load(const struct options *o)
{
	struct floor_bpf *skeleton = floor_bpf__open();
	if (!skeleton)
		die(errno, "open the BPF object");
	skeleton->rodata->only_pid = (__u32)o->pid;
	skeleton->rodata->enter_only = o->enter_only;
	int error = bpf_map__set_max_entries(skeleton->maps.records, (__u32)o->ring_bytes);
	if (!error)
		error = floor_bpf__load(skeleton);
	if (error)
		die(-error, "load the BPF object (needs CAP_BPF and CAP_PERFMON)");
	return skeleton;
}

static unsigned long losses(const struct floor_bpf *skeleton)
{
	const int cpus = libbpf_num_possible_cpus();
	if (cpus < 0)
		die(-cpus, "number of CPUs");
	__u64 counters[cpus];
	const __u32 key = 0;
	unsigned long sum = 0;
	if (bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.lost), &key, counters))
		die(errno, "read the loss counter");
	for (int i = 0; i < cpus; i++)
		sum += counters[i];
	return sum;
}

static void drain(struct ring_buffer *ring)
{
	const int result = ring_buffer__consume(ring);
	if (result < 0)
		die(-result, "drain the ring");
}

/* Drain until SIGINT, SIGTERM or the time limit; the signals are blocked, so none is lost between two waits. */
static void run(struct ring_buffer *ring, const sigset_t *stop, const struct options *o)
{
	const struct timespec pause = { o->drain_ms / 1000, o->drain_ms % 1000 * 1000000 };
	const double limit = seconds_on(CLOCK_MONOTONIC) + (double)o->seconds;
	while (seconds_on(CLOCK_MONOTONIC) < limit) {
		if (sigtimedwait(stop, NULL, &pause) > 0)
			return;
		if (errno != EAGAIN && errno != EINTR)
			die(errno, "sigtimedwait");
		drain(ring);
	}
}

static void usage(void)
{
	fputs("usage: floor [--enter-only] [--pid PID] [--seconds LIMIT] [--drain-ms MS] [--ring-bytes N]\n"
	      "             [--ready-file PATH]\n", stderr);
	exit(2);
}

static long number(const char *text, long low, long high)
{
	char *end;
	errno = 0;
	const long value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < low || value > high) {
		fprintf(stderr, "floor: %s is not a number from %ld to %ld\n", text, low, high);
		usage();
	}
	return value;
}

static struct options parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "enter-only", no_argument, NULL, 'e' },       { "pid", required_argument, NULL, 'p' },
		{ "seconds", required_argument, NULL, 's' },    { "drain-ms", required_argument, NULL, 'd' },
		{ "ring-bytes", required_argument, NULL, 'b' }, { "ready-file", required_argument, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .seconds = 600, .drain_ms = 5, .ring_bytes = 16 << 20 };
	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
		switch (c) {
		case 'e': o.enter_only = true; break;
		case 'p': o.pid = number(optarg, 1, 1 << 22); break; /* PID_MAX_LIMIT, proc(5) */
		case 's': o.seconds = number(optarg, 1, 3600); break;
		case 'd': o.drain_ms = number(optarg, 1, 3600000); break;
		case 'b': o.ring_bytes = number(optarg, 4096, 1 << 30); break;
		case 'f': o.ready_file = optarg; break;
		default: usage();
		}
	if (optind != argc)
		usage();
	return o;
}

int main(int argc, char **argv)
{
	const struct options o = parse(argc, argv);
	struct tally tally = { 0 };
	sigset_t stop;
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &stop, NULL) < 0)
		die(errno, "sigprocmask");

	struct floor_bpf *skeleton = load(&o);
	struct ring_buffer *ring = ring_buffer__new(bpf_map__fd(skeleton->maps.records), on_record, &tally, NULL);
	if (!ring)
		die(errno, "map the ring");
	const int tracefs = open_tracefs();
	if (tracefs < 0)
		die(-tracefs, "open a detached tracefs");
	if (!o.enter_only)
		skeleton->links.on_exit = attach(skeleton->progs.on_exit, tracefs, "syscalls/sys_exit_connect");
	skeleton->links.on_enter = attach(skeleton->progs.on_enter, tracefs, "syscalls/sys_enter_connect");
	close(tracefs);
	if (o.ready_file) {
		const int fd = open(o.ready_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		if (fd < 0 || close(fd) < 0)
			die(errno, "%s", o.ready_file);
	}

	const double set_up = seconds_on(CLOCK_PROCESS_CPUTIME_ID);
	run(ring, &stop, &o);
	floor_bpf__detach(skeleton);
	drain(ring);
	const double running = seconds_on(CLOCK_PROCESS_CPUTIME_ID) - set_up;

	struct rusage usage_now;
	if (getrusage(RUSAGE_SELF, &usage_now) < 0)
		die(errno, "getrusage");
	printf("{\"events\":%lu,\"lost\":%lu,\"failed\":%lu,\"cpu_seconds\":%.6f,\"set_up_cpu_seconds\":%.6f,"
	       "\"max_rss_kib\":%ld}\n",
	       tally.events, losses(skeleton), tally.failed, running, set_up, usage_now.ru_maxrss);
	if (fflush(stdout) || ferror(stdout))
		die(errno, "writing the report");
	ring_buffer__free(ring);
	floor_bpf__destroy(skeleton);
	return 0;
}
