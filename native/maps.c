/* Reading maps. */
#include <errno.h>
#include <stdio.h>

#include "object.h"

int co_lookup(struct callout *c, const char *name, const void *key, void *value)
{
	struct bpf_map *map = bpf_object__find_map_by_name(c->object, name);

	if (!map)
		return -ENOENT;
	return bpf_map_lookup_elem(bpf_map__fd(map), key, value) ? -errno : 0;
}

int co_values(struct callout *c, const char *name, size_t key_size, size_t value_size, void *values, int room)
{
	struct bpf_map *map = bpf_object__find_map_by_name(c->object, name);
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
