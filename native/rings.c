/* Sleeping until there are records in the rings, and moving them into lanes. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "object.h"

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

int co_ring(struct callout *c, const char *name)
{
	/* Edge-triggered: we sleep also while records gather, and wake only when the kernel side rings. */
	struct epoll_event edge = { .events = EPOLLIN | EPOLLET };
	struct bpf_map *map = bpf_object__find_map_by_name(c->object, name);
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
	struct bpf_map *map = bpf_object__find_map_by_name(c->object, bell);
	void *page;

	if (!map || ring < 0 || ring >= c->nrings)
		return -ENOENT;
	page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (page == MAP_FAILED)
		return -errno;
	c->bell = page;
	c->belled = &c->rings[ring];
	return 0;
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
