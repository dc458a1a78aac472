/* Inside the native part: a BPF ring buffer, read in place. */
#include <stddef.h>

struct ring {
	unsigned long *consumer;       /* position up to which we have read */
	const unsigned long *producer; /* position up to which records were reserved */
	const char *data;
	size_t size;
	char *joined; /* for a record that goes around the end */
};

/* Maps the ring of a map of that many bytes. Returns 0 or -errno; ring_close in either case. */
int ring_open(struct ring *ring, int map, size_t size);
void ring_close(struct ring *ring);
/* Bytes that were reserved and not read. */
unsigned long ring_waiting(const struct ring *ring);
/* Calls back with each record that is complete, until a call returns less than 0: that record counts as read. */
int ring_read(struct ring *ring, int (*take)(void *context, const void *record, size_t size), void *context);
