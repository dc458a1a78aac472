/* Inside the native part: an open object, and what is read of it. */
#include <stdbool.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "native.h"
#include "ring.h"
#include "tracefs.h"

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

/* What must be said to libbpf before anything else is asked of it; more than once does no harm. */
void set_up_libbpf(void);
