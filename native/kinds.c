/* Records that differ only in what is each one's own are kept once: a client that does the same again and again. */
#include <string.h>

#include "native.h"

#define LEAST 256 /* rows after which it shows whether there are few kinds */
#define SHARE 8	  /* rows of a kind for which keeping it once pays */
#define TRIES 4
#define PLACES (sizeof(((struct co_lane *)0)->seen) / sizeof(unsigned int))

typedef unsigned long long word;

static int same(const struct co_lane *lane, unsigned int number, const char *record)
{
	const char *kept = lane->buffer + (size_t)number * lane->size;

	return !memcmp(kept + lane->own_end, record + lane->own_end, lane->size - lane->own_end) &&
	       !memcmp(kept, record, lane->own_begin);
}

/* Four words at a time, which the processor multiplies side by side; what is left over does not count. */
static unsigned int place_of(const struct co_lane *lane, const char *record)
{
	word h[4] = { 1, 2, 3, 4 }, w[4];

	for (size_t at = lane->own_end; at + sizeof(w) <= lane->size; at += sizeof(w)) {
		memcpy(w, record + at, sizeof(w));
		for (int i = 0; i < 4; i++)
			h[i] = ((h[i] ^ w[i]) * 0xff51afd7ed558ccdull) ^ (h[i] >> 32);
	}
	return ((h[0] ^ h[1] * 3 ^ h[2] * 5 ^ h[3] * 7) * 0x9e3779b97f4a7c15ull) >> 32 & (PLACES - 1);
}

/*
 * Number of the record's kind, by the places where its number may be; where all of them are taken by others, it gets a
 * second number, and the last place.
 */
static unsigned int kind_of(struct co_lane *lane, const char *record)
{
	unsigned int *place = NULL, at;

	if (lane->rows < LEAST || lane->kinds <= lane->rows / SHARE) {
		if (lane->rows && same(lane, lane->codes[lane->rows - 1], record))
			return lane->codes[lane->rows - 1];
		at = place_of(lane, record);
		for (int i = 0; i < TRIES; i++) {
			place = &lane->seen[(at + i) & (PLACES - 1)];
			if (!*place)
				break;
			if (same(lane, *place - 1, record))
				return *place - 1;
		}
	}
	memcpy(lane->buffer + (size_t)lane->kinds * lane->size, record, lane->size);
	if (place)
		*place = lane->kinds + 1;
	return lane->kinds++;
}

void co_keep(struct co_lane *lane, const char *record)
{
	memcpy(lane->own + (size_t)lane->rows * lane->own_end, record, lane->own_end);
	lane->codes[lane->rows] = kind_of(lane, record);
	lane->rows++;
}

void co_begin(struct co_lane *lane)
{
	lane->rows = lane->kinds = 0;
	memset(lane->seen, 0, sizeof(lane->seen));
}
