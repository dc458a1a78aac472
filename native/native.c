/* The only file that touches libbpf: open, load, attach, drain, read maps. No policy. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "native.h"
#include "ring.h"
#include "tracefs.h"
#include "types.h"

#ifndef LIBBPF_MAJOR_VERSION /* before 0.6 the headers do not tell; 0.5 (Ubuntu 22.04) is the oldest that builds */
#define LIBBPF_MAJOR_VERSION 0
#define LIBBPF_MINOR_VERSION 5
#endif

#define MAX_LINKS 128
#define MAX_RINGS 8

struct callout {
	struct bpf_object *object;
	struct bpf_link *links[MAX_LINKS];
	struct bpf_program *attached[MAX_LINKS];
	struct return_probe returns[MAX_LINKS];
	int nlinks;
	struct ring rings[MAX_RINGS];
	int nrings;
	unsigned long long *bell;
	struct ring *belled; /* the ring that has the bell */
	int epoll;
	struct co_lane *lanes; /* during co_drain only */
	int nlanes;
	int strays; /* records of a kind that nobody asked for */
};

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

static void set_up(void)
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
	set_up();
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

static struct bpf_map *find_map(struct callout *c, const char *name)
{
	return bpf_object__find_map_by_name(c->object, name);
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
	struct bpf_map *map = find_map(c, name);

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

static int collect(void *context, const void *data, size_t size)
{
	struct callout *c = context;
	unsigned int kind = *(unsigned char *)data; /* first in every record (record.h) */

	for (int i = 0; i < c->nlanes; i++) {
		struct co_lane *lane = &c->lanes[i];

		if (lane->kind != kind || size < lane->least)
			continue;
		if (lane->own) {
			co_keep(lane, data);
		} else {
			memcpy(lane->buffer + (size_t)lane->rows * lane->size, data, size < lane->size ? size : lane->size);
			lane->rows++;
		}
		return lane->rows == lane->room ? -ENOSPC : 0;
	}
	c->strays++;
	return 0;
}

static void *map_page(int fd, int protection, size_t offset)
{
	void *page = mmap(NULL, sysconf(_SC_PAGESIZE), protection, MAP_SHARED, fd, offset);

	return page == MAP_FAILED ? NULL : page;
}

int co_ring(struct callout *c, const char *name)
{
	/* Edge-triggered: we sleep also while records gather, and wake only when the kernel side rings. */
	struct epoll_event edge = { .events = EPOLLIN | EPOLLET };
	struct bpf_map *map = find_map(c, name);
	int error;

	if (!map)
		return -ENOENT;
	if (c->nrings == MAX_RINGS)
		return -E2BIG;
	if (c->epoll < 0 && (c->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		return -errno;
	error = ring_open(&c->rings[c->nrings++], bpf_map__fd(map), bpf_map__max_entries(map));
	if (error || (epoll_ctl(c->epoll, EPOLL_CTL_ADD, bpf_map__fd(map), &edge) && (error = -errno)))
		return error;
	return c->nrings - 1;
}

int co_bell(struct callout *c, int ring, const char *bell)
{
	struct bpf_map *map = find_map(c, bell);

	if (!map || ring < 0 || ring >= c->nrings)
		return -ENOENT;
	c->bell = map_page(bpf_map__fd(map), PROT_READ | PROT_WRITE, 0);
	c->belled = &c->rings[ring];
	return c->bell ? 0 : -errno;
}

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* How many rings rang before the time was over; -errno (a signal: -EINTR). At once if `level` bytes are there. */
static int sleep_until(struct callout *c, unsigned long long level, int ms)
{
	struct epoll_event event;
	int n = 1;

	__atomic_store_n(c->bell, level, __ATOMIC_SEQ_CST);
	if (ring_waiting(c->belled) < level)
		n = epoll_wait(c->epoll, &event, 1, ms);
	__atomic_store_n(c->bell, 0, __ATOMIC_SEQ_CST);
	return n < 0 ? -errno : n;
}

static bool anything(const struct callout *c)
{
	for (int i = 0; i < c->nrings; i++)
		if (ring_waiting(&c->rings[i]))
			return true;
	return false;
}

static int sooner(long long end, int ms)
{
	long long left = end - now_ms();

	return left < 0 ? 0 : left < ms ? (int)left : ms;
}

/* Between two looks while nothing rings: bounds a missed wake-up, and how long a ring waits that does not ring. */
#define LOOK_MS 1000

int co_wait(struct callout *c, int idle_ms, int gather_ms, unsigned int level)
{
	long long end = now_ms() + idle_ms;
	int n;

	do
		n = sleep_until(c, 1, sooner(end, LOOK_MS));
	while (!n && !anything(c) && sooner(end, 1));
	if (n <= 0 || !ring_waiting(c->belled)) /* another ring, which is read at once */
		return n;
	n = sleep_until(c, level, sooner(end, gather_ms));
	return n < 0 ? n : 1;
}

int co_drain(struct callout *c, int ring, struct co_lane *lanes, int count)
{
	int n, total = 0;

	if (ring < 0 || ring >= c->nrings)
		return -ENOENT;
	c->lanes = lanes;
	c->nlanes = count;
	for (int i = 0; i < count; i++)
		co_begin(&lanes[i]);
	n = ring_read(&c->rings[ring], collect, c);
	c->lanes = NULL;
	c->nlanes = 0;
	if (n < 0 && n != -ENOSPC)
		return n;
	for (int i = 0; i < count; i++)
		total += lanes[i].rows;
	return total;
}

int co_lookup(struct callout *c, const char *name, const void *key, void *value)
{
	struct bpf_map *map = find_map(c, name);

	if (!map)
		return -ENOENT;
	return bpf_map_lookup_elem(bpf_map__fd(map), key, value) ? -errno : 0;
}

int co_values(struct callout *c, const char *name, size_t key_size, size_t value_size, void *values, int room)
{
	struct bpf_map *map = find_map(c, name);
	char keys[2][64], *key = keys[0], *next = keys[1], *swap;
	int fd, n = 0, error;

	if (!map || key_size > sizeof(keys[0]))
		return -ENOENT;
	fd = bpf_map__fd(map);
	for (error = bpf_map_get_next_key(fd, NULL, next); !error && n < room; error = bpf_map_get_next_key(fd, key, next)) {
		swap = key, key = next, next = swap;
		if (!bpf_map_lookup_elem(fd, key, (char *)values + (size_t)n * value_size))
			n++;
	}
	return n;
}

int co_maps(struct callout *c, struct co_map *maps, int room)
{
	struct bpf_map *map;
	int n = 0;

	bpf_object__for_each_map(map, c->object) {
		if (bpf_map__fd(map) < 0)
			continue; /* not made: no program that is loaded needs it */
		if (n < room) {
			snprintf(maps[n].name, sizeof(maps[n].name), "%s", bpf_map__name(map));
			maps[n].type = bpf_map__type(map);
			maps[n].key_size = bpf_map__key_size(map);
			maps[n].value_size = bpf_map__value_size(map);
			maps[n].entries = bpf_map__max_entries(map);
			maps[n].fd = bpf_map__fd(map);
		}
		n++;
	}
	return n;
}

int co_cpus(void)
{
	return libbpf_num_possible_cpus();
}

struct btf *kernel_types(void)
{
	static struct btf *kernel;

	if (!kernel) {
		set_up();
		kernel = btf__load_vmlinux_btf();
	}
	return kernel;
}

int co_has_tracepoint(const char *name)
{
	struct btf *kernel = kernel_types();
	char type[128];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return kernel && btf__find_by_name_kind(kernel, type, BTF_KIND_TYPEDEF) > 0;
}

const char *co_enum_name(const char *enumeration, unsigned int value)
{
	struct btf *kernel = kernel_types();
	const struct btf_type *type;
	int id;

	id = kernel ? btf__find_by_name_kind(kernel, enumeration, BTF_KIND_ENUM) : -1;
	if (id < 0)
		return "";
	type = btf__type_by_id(kernel, id);
	for (int i = 0; i < btf_vlen(type); i++)
		if ((unsigned int)btf_enum(type)[i].val == value)
			return btf__name_by_offset(kernel, btf_enum(type)[i].name_off);
	return "";
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
