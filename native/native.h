/*
 * The C interface that Python sees. This file is read by the C compiler and by cffi (cdef), so it holds plain
 * declarations only: no preprocessor, no includes, one declaration for both sides.
 *
 * Functions return 0 or a positive number on success and -errno on failure; co_log() then holds libbpf's words.
 */
struct callout;

/*
 * One kind of record to collect: where its rows go, how many fit, how many came. A record may be sent without the
 * unused end of its last member, but not shorter than `least`; what stood at that end in the buffer then stays.
 *
 * With `own`, records that differ only in their bytes from own_begin to own_end are kept once: `buffer` gets the first
 * of each kind, `kinds` says how many, codes[i] is the kind of row i, and `own` its bytes up to own_end. Exact; where
 * kinds turn out to be many, each row gets one of its own.
 */
struct co_lane {
	unsigned int kind;
	unsigned int size;
	unsigned int least;
	unsigned int room;
	unsigned int rows;
	char *buffer;
	char *own;
	int *codes;
	unsigned int own_begin;
	unsigned int own_end;
	unsigned int kinds;
	unsigned int seen[1024];
};

/* What co_drain does with each record of a lane that has `own`, after co_begin. */
void co_begin(struct co_lane *lane);
void co_keep(struct co_lane *lane, const char *record);

/* Opens an object from memory; nothing is loaded, and no program is set to load. */
int co_open(const void *object, size_t size, struct callout **out);
/* Sets a program to be loaded. -ENOENT if the object has none of that name. */
int co_want(struct callout *c, const char *program);
/* Sets the first bytes of a read-only data section before load. */
int co_constants(struct callout *c, const char *section, const void *data, size_t size);
/* Sets the number of entries (bytes for a ring) of a map before load. */
int co_resize(struct callout *c, const char *map, unsigned int entries);
/* Verifies and loads what is wanted, creates the maps. */
int co_load(struct callout *c);
/* Attaches one loaded program to the place that its section names; cgroup programs to the directory open as `cgroup`. */
int co_attach(struct callout *c, const char *program, int cgroup);
/* A descriptor that runs a loaded iterator program by being read: over the elements of a map, or (NULL) all there is. */
int co_iterator(struct callout *c, const char *program, const char *map);
/*
 * How often a program was skipped because it ran on the same CPU already (needs kernel 5.12), or, of a return probe,
 * because more calls were under way than there was room for. Only while it is attached.
 */
long long co_missed(struct callout *c, const char *program);

/* Starts reading a ring; returns its number for co_drain. */
int co_ring(struct callout *c, const char *ring);
/* The ring that co_wait sleeps on; the bell is a mapped array whose first u64 is the fill level that wakes us. */
int co_bell(struct callout *c, int ring, const char *bell);
/*
 * Waits for a first record, then lets more gather up to gather_ms or until `level` bytes are in the ring, all in all up
 * to idle_ms. Returns at once when another ring that is read rings (its own programs say when).
 */
int co_wait(struct callout *c, int idle_ms, int gather_ms, unsigned int level);
/* Moves ready records of a ring into their lanes until it is empty or a lane is full. Returns the number of records. */
int co_drain(struct callout *c, int ring, struct co_lane *lanes, int count);

/* One value of a map; per-CPU maps give one value per possible CPU, each padded to 8 bytes. */
int co_lookup(struct callout *c, const char *map, const void *key, void *value);
/* Copies up to `room` values of a hash map, one after the other; returns how many there were. */
int co_values(struct callout *c, const char *map, size_t key_size, size_t value_size, void *values, int room);
/* One map that was loaded; `fd` is its descriptor in this process, whose fdinfo says what memory it takes. */
struct co_map {
	char name[32];
	unsigned int type;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int entries;
	int fd;
};

/* The maps that were loaded, up to `room`; returns how many there are. */
int co_maps(struct callout *c, struct co_map *maps, int room);
int co_cpus(void);
/* Whether the running kernel has a BTF-typed tracepoint of this name. */
int co_has_tracepoint(const char *name);
/* 0 where a program of this section (fentry/..., kprobe/..., tp/...) can attach here, as far as its hook goes; -errno. */
int co_hook(const char *section);
/* Name of a constant of an enumeration of the running kernel (its BTF); "" if there is none. */
const char *co_enum_name(const char *enumeration, unsigned int value);

/* Detaches every program; maps and the ring stay readable. */
void co_detach(struct callout *c);
void co_close(struct callout *c);
/* libbpf's messages since the last co_open or co_load, as text. */
const char *co_log(void);
/* "major.minor" of the libbpf that is linked in. */
const char *co_version(void);

/*
 * Numbers the distinct rows of `n` keys of `width` bytes that lie `stride` bytes apart: codes[i] is the number of
 * key i, first[k] the first row with number k. Returns how many distinct keys there are. Exact, one pass.
 */
int co_distinct(const char *keys, size_t n, size_t stride, size_t width, int *codes, int *first);
