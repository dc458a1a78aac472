/*
 * tracefs: the numbers of tracepoints, and return probes with room for many calls at once.
 *
 * A return probe that perf_event_open(2) makes has room for max(10, twice the CPUs) calls of its function that are
 * under way at the same time (kernel/kprobes.c, init_kretprobe); the returns of the others are not seen. Only one that
 * is made by name in tracefs can have more (kernel/trace/trace_kprobe.c), so ours are. Such a probe has a name on the
 * host, which outlives a process that is killed; whoever comes next removes those of the dead, which cost nothing.
 */
#define _GNU_SOURCE /* O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracefs.h"

#ifndef FSOPEN_CLOEXEC
#define FSOPEN_CLOEXEC 1
#endif
#ifndef FSMOUNT_CLOEXEC
#define FSMOUNT_CLOEXEC 1
#endif
#ifndef FSCONFIG_CMD_CREATE
#define FSCONFIG_CMD_CREATE 6
#endif

#define AT_ONCE 4096 /* the most that the kernel takes: KRETPROBE_MAXACTIVE_MAX */
#define GROUP "callout"

/*
 * tracefs as a descriptor: where distributions mount it, else a detached mount of our own (fsopen, Linux 5.2; needs
 * CAP_SYS_ADMIN), which belongs to no mount tree and goes away with its descriptor.
 */
static int open_tracefs(void)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	int fs, tree;

	for (int i = 0; i < 2; i++) {
		int events;

		tree = open(places[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (tree < 0)
			continue;
		events = openat(tree, "events", O_PATH | O_CLOEXEC); /* else it is only the place for it */
		if (events >= 0) {
			close(events);
			return tree;
		}
		close(tree);
	}
	fs = syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	tree = -1;
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		tree = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (tree < 0)
		tree = -errno;
	close(fs);
	return tree;
}

/* A file of tracefs. */
static int open_file(const char *path, int flags)
{
	int tree = open_tracefs(), fd;

	if (tree < 0)
		return tree;
	fd = openat(tree, path, flags | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(tree);
	return fd;
}

static int write_line(const char *path, const char *line)
{
	int fd = open_file(path, O_WRONLY | O_APPEND), result = 0;

	if (fd < 0)
		return fd;
	if (write(fd, line, strlen(line)) < 0)
		result = -errno;
	close(fd);
	return result;
}

int tracefs_id(const char *category, const char *event)
{
	char path[256], text[16] = "";
	int fd, n;

	snprintf(path, sizeof(path), "events/%s/%s/id", category, event);
	fd = open_file(path, O_RDONLY);
	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	n = n < 0 ? -errno : atoi(text);
	close(fd);
	return n;
}

int tracefs_event(const char *category, const char *event)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .sample_period = 1, .wakeup_events = 1 };
	int id = tracefs_id(category, event), fd;

	if (id < 0)
		return id;
	attr.config = id;
	fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Calls `each` with every line of a file of tracefs. */
static int each_line(const char *path, void (*each)(const char *line, void *context), void *context)
{
	int fd = open_file(path, O_RDONLY);
	char *line = NULL;
	size_t room = 0;
	FILE *file;

	if (fd < 0)
		return fd;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	while (getline(&line, &room, file) > 0)
		each(line, context);
	free(line);
	fclose(file);
	return 0;
}

/* A line of kprobe_events: r4096:GROUP/PROGRAM_PID_NUMBER FUNCTION. The kernel refuses to remove what is in use. */
static void remove_if_dead(const char *line, void *context)
{
	char name[64], gone[96];
	int pid;

	(void)context;
	if (sscanf(line, "%*[^:]:" GROUP "/%63[^ \n]", name) != 1 || sscanf(name, "%*[a-z_]%d", &pid) != 1)
		return;
	if (!kill(pid, 0) || errno != ESRCH)
		return;
	snprintf(gone, sizeof(gone), "-:" GROUP "/%s", name);
	write_line("kprobe_events", gone);
}

int return_probe_add(struct return_probe *probe, const char *program, const char *function)
{
	static int number;
	char line[256];
	int fd;

	each_line("kprobe_events", remove_if_dead, NULL);
	snprintf(probe->name, sizeof(probe->name), "%.30s_%d_%d", program, (int)getpid(), number++);
	snprintf(line, sizeof(line), "r%d:" GROUP "/%s %s", AT_ONCE, probe->name, function);
	fd = write_line("kprobe_events", line);
	if (fd < 0) {
		probe->name[0] = 0;
		return fd;
	}
	fd = tracefs_event(GROUP, probe->name);
	if (fd < 0)
		return_probe_remove(probe);
	return fd;
}

void return_probe_remove(struct return_probe *probe)
{
	char line[96];

	if (!probe->name[0])
		return;
	snprintf(line, sizeof(line), "-:" GROUP "/%s", probe->name);
	write_line("kprobe_events", line);
	probe->name[0] = 0;
}

struct profile {
	const char *name;
	long long missed;
};

/* A line of kprobe_profile: name, how often it ran, how often it was missed. */
static void read_profile(const char *line, void *context)
{
	struct profile *p = context;
	long long ran, missed;
	char name[64];

	if (sscanf(line, " %63s %lld %lld", name, &ran, &missed) == 3 && !strcmp(name, p->name))
		p->missed = missed;
}

long long return_probe_missed(const struct return_probe *probe)
{
	struct profile p = { .name = probe->name };
	int result;

	if (!probe->name[0])
		return 0;
	result = each_line("kprobe_profile", read_profile, &p);
	return result < 0 ? result : p.missed;
}
