/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Which cgroup a task is in, and what a new cgroup is called. */

enum { MOST_NESTED = 12 };

/*
 * Whether a cgroup, or one above it, is a container's: ids of containers have 64 digits, and every runtime puts them into
 * the name of the cgroup; units are not called so. `state`: address of the state of a controller in it. Not static: the
 * verifier goes through it once, instead of once for each call.
 */
__attribute__((noinline)) int in_container(u64 state)
{
	void *css = (void *)state;
	char name[66];

#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_NESTED && css; i++) {
		struct cgroup *cgroup = PEEK(struct cgroup_subsys_state, css, cgroup);
		struct kernfs_node *kn = PEEK(struct cgroup, cgroup, kn);

		if (bpf_probe_read_kernel_str(name, sizeof(name), PEEK(struct kernfs_node, kn, name)) > 64)
			return 1;
		css = PEEK(struct cgroup_subsys_state, css, parent);
	}
	return 0;
}

/*
 * On hosts with cgroup v1, containers of some runtimes have no cgroup v2 of their own: their tasks are in its root, or
 * with the runtime's daemon. Then it is the cgroup of one controller that tells them apart.
 */
static __always_inline u64 cgroup_of(struct task_struct *task)
{
	struct cgroup *cgroup = WALK(WALK(task, cgroups), dfl_cgrp), *old;
	u64 css = 0, own = 0;

	if (narrow.v1) {
		bpf_probe_read_kernel(&css, sizeof(css),
				      (void *)&WALK(task, cgroups)->subsys + (narrow.v1 - 1) * sizeof(void *));
		if (css) {
			old = PEEK(struct cgroup_subsys_state, (void *)css, cgroup);
			if (PEEK(struct cgroup, old, level) > 0) {
				bpf_core_read(&own, sizeof(own), &WALK(task, cgroups)->dfl_cgrp);
				own += bpf_core_field_offset(struct cgroup, self);
				if (!cgroup->level || (in_container(css) && !in_container(own)))
					return CGROUP_V1 | PEEK(struct kernfs_node, PEEK(struct cgroup, old, kn), id);
			}
		}
	}
	return WALK(cgroup, kn)->id;
}

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} cgroup_ring SEC(".maps");

/* Filled under the lock that mkdir's tracepoint holds (trace_cgroup_path_lock), so nothing comes between. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct new_cgroup);
} new_cgroups SEC(".maps");

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgroup, const char *path)
{
	int hierarchy = cgroup->root->hierarchy_id; /* that of v2 is 0 */
	struct cpu_counters *c = count();
	struct new_cgroup *r;
	u32 zero = 0;
	s64 length;

	if (hierarchy && !(narrow.v1 && hierarchy == narrow.v1_hierarchy))
		return 0;
	r = bpf_map_lookup_elem(&new_cgroups, &zero);
	if (!r || !c)
		return 0;
	r->kind = RECORD_CGROUP;
	r->id = cgroup->kn->id | (hierarchy ? CGROUP_V1 : 0);
	length = bpf_probe_read_kernel_str(r->path, sizeof(r->path), path);
	if (length < 0 || length > sizeof(r->path))
		return 0;
	/* At once: what runs in it may be gone, with all that its runtime knows, before the reader looks by itself. */
	if (bpf_ringbuf_output(&cgroup_ring, r, __builtin_offsetof(struct new_cgroup, path) + length, 0))
		c->lost[RECORD_CGROUP]++;
	return 0;
}
