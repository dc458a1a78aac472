/* An object: open, load, attach, close. No policy. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "object.h"

#ifndef LIBBPF_MAJOR_VERSION /* before 0.6 the headers do not tell; 0.5 (Ubuntu 22.04) is the oldest that builds */
#define LIBBPF_MAJOR_VERSION 0
#define LIBBPF_MINOR_VERSION 5
#endif

static char log_text[1 << 16];
static size_t log_used;

static int keep_log(enum libbpf_print_level level, const char *format, va_list args)
{
	int n;

	if (level == LIBBPF_DEBUG || log_used >= sizeof(log_text) - 1)
		return 0;
	n = vsnprintf(log_text + log_used, sizeof(log_text) - log_used, format, args);
	if (n > 0)
		log_used += (size_t)n < sizeof(log_text) - log_used ? (size_t)n : sizeof(log_text) - log_used - 1;
	return n;
}

static void clear_log(void)
{
	log_used = 0;
	log_text[0] = 0;
}

void set_up_libbpf(void)
{
	libbpf_set_print(keep_log);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL); /* before 1.0: errors as NULL and errno, as 1.0 does anyway */
}

const char *co_log(void)
{
	return log_text;
}

const char *co_version(void)
{
	static char text[16];

	snprintf(text, sizeof(text), "%d.%d", LIBBPF_MAJOR_VERSION, LIBBPF_MINOR_VERSION);
	return text;
}

int co_open(const void *data, size_t size, struct callout **out)
{
	struct bpf_program *program;
	struct callout *c;

	clear_log();
	set_up_libbpf();
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->epoll = -1;
	c->object = bpf_object__open_mem(data, size, NULL);
	if (!c->object) {
		int error = -errno;
		free(c);
		return error;
	}
	bpf_object__for_each_program(program, c->object)
		bpf_program__set_autoload(program, false);
	*out = c;
	return 0;
}

static struct bpf_program *find_program(struct callout *c, const char *name)
{
	return bpf_object__find_program_by_name(c->object, name);
}

int co_want(struct callout *c, const char *name)
{
	struct bpf_program *program = find_program(c, name);

	return program ? bpf_program__set_autoload(program, true) : -ENOENT;
}

int co_constants(struct callout *c, const char *section, const void *data, size_t size)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, c->object) {
		const char *name = bpf_map__name(map);
		size_t length = strlen(name), want = strlen(section);

		/* libbpf prefixes the section with a part of the object's name */
		if (length >= want && !strcmp(name + length - want, section))
			return bpf_map__set_initial_value(map, data, size);
	}
	return -ENOENT;
}

int co_resize(struct callout *c, const char *name, unsigned int entries)
{
	struct bpf_map *map = bpf_object__find_map_by_name(c->object, name);

	return map ? bpf_map__set_max_entries(map, entries) : -ENOENT;
}

int co_load(struct callout *c)
{
	clear_log();
	return bpf_object__load(c->object);
}

/* A link of a program to a perf event, which it owns from now on; NULL and errno otherwise. */
static struct bpf_link *link_event(struct bpf_program *program, int fd)
{
	struct bpf_link *link;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	link = bpf_program__attach_perf_event(program, fd);
	if (!link) {
		int error = errno;

		close(fd);
		errno = error;
	}
	return link;
}

static struct bpf_link *attach_tracepoint(struct bpf_program *program, const char *section)
{
	char category[64], event[96];

	if (sscanf(section, "tp/%63[^/]/%95s", category, event) != 2) {
		errno = EINVAL;
		return NULL;
	}
	return link_event(program, tracefs_event(category, event));
}

/* With room for many calls; where tracefs is not to be had, as perf_event_open(2) makes it. */
static struct bpf_link *attach_return(struct return_probe *probe, struct bpf_program *program, const char *section)
{
	int fd = return_probe_add(probe, bpf_program__name(program), section + strlen("kretprobe/"));
	struct bpf_link *link;

	if (fd < 0)
		return bpf_program__attach(program);
	link = link_event(program, fd);
	if (!link) {
		int error = errno;

		return_probe_remove(probe);
		errno = error;
	}
	return link;
}

int co_attach(struct callout *c, const char *name, int cgroup)
{
	struct bpf_program *program = find_program(c, name);
	const char *section;
	struct bpf_link *link;

	if (!program)
		return -ENOENT;
	if (c->nlinks == MAX_LINKS)
		return -E2BIG;
	section = bpf_program__section_name(program);
	if (!strncmp(section, "cgroup/", 7) || !strncmp(section, "cgroup_skb/", 11))
		link = bpf_program__attach_cgroup(program, cgroup);
	else if (!strncmp(section, "tp/", 3))
		link = attach_tracepoint(program, section);
	else if (!strncmp(section, "kretprobe/", 10))
		link = attach_return(&c->returns[c->nlinks], program, section);
	else
		link = bpf_program__attach(program);
	if (!link)
		return -errno;
	c->attached[c->nlinks] = program;
	c->links[c->nlinks++] = link;
	return 0;
}

int co_iterator(struct callout *c, const char *name, const char *map)
{
	struct bpf_program *program = find_program(c, name);
	union bpf_iter_link_info over = {};
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &over, .link_info_len = sizeof(over));
	struct bpf_link *link;
	int fd;

	if (!program)
		return -ENOENT;
	if (map) {
		fd = bpf_object__find_map_fd_by_name(c->object, map);
		if (fd < 0)
			return fd;
		over.map.map_fd = fd;
	}
	link = bpf_program__attach_iter(program, map ? &options : NULL);
	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link)); /* which keeps what it needs itself */
	if (fd < 0)
		fd = -errno;
	bpf_link__destroy(link);
	return fd;
}

long long co_missed(struct callout *c, const char *name)
{
	struct bpf_program *program = find_program(c, name);
	struct bpf_prog_info info = {};
	unsigned int size = sizeof(info);
	long long missed = 0;

	if (!program || bpf_program__fd(program) < 0)
		return -ENOENT;
	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
		return -errno;
	for (int i = 0; i < c->nlinks; i++)
		if (c->attached[i] == program && (missed = return_probe_missed(&c->returns[i])) < 0)
			return missed;
	return info.recursion_misses + missed;
}

void co_detach(struct callout *c)
{
	while (c->nlinks) {
		bpf_link__destroy(c->links[--c->nlinks]);
		return_probe_remove(&c->returns[c->nlinks]);
	}
}

void co_close(struct callout *c)
{
	if (!c)
		return;
	co_detach(c);
	if (c->bell)
		munmap(c->bell, sysconf(_SC_PAGESIZE));
	if (c->epoll >= 0)
		close(c->epoll);
	while (c->nrings)
		ring_close(&c->rings[--c->nrings]);
	bpf_object__close(c->object);
	free(c);
}
