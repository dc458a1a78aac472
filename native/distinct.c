/* Numbers the distinct keys of a column: one pass over an open-addressing table, exact comparison. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <stddef.h>

#include "native.h"

static inline unsigned long long hash(const char *key, size_t width)
{
	unsigned long long h = 0x9e3779b97f4a7c15ull ^ width, word;

	for (; width >= 8; width -= 8, key += 8) {
		memcpy(&word, key, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	if (width) {
		word = 0;
		memcpy(&word, key, width);
		h = (h ^ word) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h ^ (h >> 29);
}

static inline __attribute__((always_inline)) int number(
	const char *keys, size_t n, size_t stride, size_t width, int *codes, int *first, int *table, size_t mask)
{
	int used = 0; /* table: number of the key plus one; 0 is free */

	for (size_t i = 0; i < n; i++) {
		const char *key = keys + i * stride;
		size_t slot;

		if (i && !memcmp(key, key - stride, width)) { /* runs are common */
			codes[i] = codes[i - 1];
			continue;
		}
		slot = hash(key, width) & mask;
		while (table[slot] && memcmp(keys + (size_t)first[table[slot] - 1] * stride, key, width))
			slot = (slot + 1) & mask;
		if (!table[slot]) {
			first[used] = (int)i;
			table[slot] = ++used;
		}
		codes[i] = table[slot] - 1;
	}
	return used;
}

int co_distinct(const char *keys, size_t n, size_t stride, size_t width, int *codes, int *first)
{
	size_t size = 64;
	int *table, used;

	while (size < 2 * n && size < (1u << 30))
		size *= 2;
	table = calloc(size, sizeof(*table));
	if (!table)
		return -ENOMEM;
	switch (width) { /* a constant width lets the compiler compare and hash in registers */
	case 1:
		used = number(keys, n, stride, 1, codes, first, table, size - 1);
		break;
	case 2:
		used = number(keys, n, stride, 2, codes, first, table, size - 1);
		break;
	case 4:
		used = number(keys, n, stride, 4, codes, first, table, size - 1);
		break;
	case 8:
		used = number(keys, n, stride, 8, codes, first, table, size - 1);
		break;
	case 16:
		used = number(keys, n, stride, 16, codes, first, table, size - 1);
		break;
	default:
		used = number(keys, n, stride, width, codes, first, table, size - 1);
	}
	free(table);
	return used;
}
