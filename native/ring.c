/*
 * Reading a BPF ring buffer (kernel/bpf/ringbuf.c): page 0 has the consumer's position, page 1 the producer's, then come
 * the records, each behind a header of eight bytes, of which the first four are its length and two flags.
 *
 * libbpf maps the records twice in a row, so that each lies in one piece, and all of it counts as resident memory twice:
 * 20 MiB for what callout reads. Here they are mapped once, and the one that goes around the end is joined.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"

int ring_open(struct ring *ring, int map, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *rest;

	ring->size = size;
	ring->consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (ring->consumer == MAP_FAILED) {
		ring->consumer = NULL;
		return -errno;
	}
	rest = mmap(NULL, page + size, PROT_READ, MAP_SHARED, map, page);
	if (rest == MAP_FAILED)
		return -errno;
	ring->producer = (unsigned long *)rest;
	ring->data = rest + page;
	return 0;
}

void ring_close(struct ring *ring)
{
	size_t page = sysconf(_SC_PAGESIZE);

	if (ring->consumer)
		munmap(ring->consumer, page);
	if (ring->producer)
		munmap((void *)ring->producer, page + ring->size);
	free(ring->joined);
	memset(ring, 0, sizeof(*ring));
}

unsigned long ring_waiting(const struct ring *ring)
{
	return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) - __atomic_load_n(ring->consumer, __ATOMIC_RELAXED);
}

/* The record at a place, in one piece; NULL without memory for that. */
static const char *whole(struct ring *ring, size_t at, size_t size)
{
	size_t first = ring->size - at;

	if (first >= size)
		return ring->data + at;
	if (!ring->joined)
		ring->joined = malloc(ring->size);
	if (!ring->joined)
		return NULL;
	memcpy(ring->joined, ring->data + at, first);
	memcpy(ring->joined + first, ring->data, size - first);
	return ring->joined;
}

int ring_read(struct ring *ring, int (*take)(void *context, const void *record, size_t size), void *context)
{
	unsigned long at = *ring->consumer;

	while (at < __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE)) {
		size_t place = at & (ring->size - 1);
		unsigned int head = __atomic_load_n((const unsigned int *)(ring->data + place), __ATOMIC_ACQUIRE);
		size_t size = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		int result = 0;

		if (head & BPF_RINGBUF_BUSY_BIT) /* reserved, and not yet written */
			break;
		if (!(head & BPF_RINGBUF_DISCARD_BIT)) {
			const char *record = whole(ring, (place + BPF_RINGBUF_HDR_SZ) & (ring->size - 1), size);

			if (!record)
				return -ENOMEM;
			result = take(context, record, size);
		}
		at += (size + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
		__atomic_store_n(ring->consumer, at, __ATOMIC_RELEASE);
		if (result < 0)
			return result;
	}
	return 0;
}
