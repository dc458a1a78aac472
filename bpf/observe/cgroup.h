/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Which cgroup a task is in, and what a new cgroup is called. */

/* Ids of containers have 64 digits, and every runtime puts them into the name of the cgroup; units are not called so. */
static __noinline int named_as_container(struct kernfs_node *kn)
{
	char name[66];

	return bpf_probe_read_kernel_str(name, sizeof(name), PEEK(struct kernfs_node, kn, name)) > 64;
}

/*
 * On hosts with cgroup v1, containers of some runtimes have no cgroup v2 of their own: their tasks are in its root, or
 * with the runtime's daemon. Then it is the cgroup of one controller that tells them apart.
 */
static __always_inline u64 cgroup_of(struct task_struct *task)
{
	struct cgroup *cgroup = WALK(WALK(task, cgroups), dfl_cgrp);
	struct cgroup_subsys_state *css = NULL;

	if (narrow.v1) {
		bpf_probe_read_kernel(&css, sizeof(css),
				      (void *)&WALK(task, cgroups)->subsys + (narrow.v1 - 1) * sizeof(void *));
		if (css) {
			struct cgroup *old = PEEK(struct cgroup_subsys_state, css, cgroup);

			struct kernfs_node *kn = PEEK(struct cgroup, old, kn);

			if (PEEK(struct cgroup, old, level) > 0 &&
			    (!cgroup->level || (named_as_container(kn) && !named_as_container(cgroup->kn))))
				return CGROUP_V1 | PEEK(struct kernfs_node, kn, id);
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
