/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Paths of files, as a process sees them: from its root, or from the top of the tree of mounts where it is not below it. */

enum { MOST_NAMES = 48, NAME_ROOM = 256, PATH_ROOM = 2048 };
enum { WALK_ON, WALK_DONE, WALK_CUT };

/* Where a walk from a file up to the root is. Addresses are numbers: the verifier need not follow what they lead to. */
struct walk {
	u64 dentry, mnt;
	u64 top_dentry, top_mnt; /* the process's root */
	u32 at, spare;		 /* bytes written */
};
struct names { u8 text[PATH_ROOM]; };

/*
 * One name on the way, or one mount. Not static: the verifier goes through such a function once, for whatever it may be
 * given, instead of once in each turn of each loop of each program; that was most of the time that it took to load them.
 */
__attribute__((noinline)) int write_name(struct walk *w, struct names *into)
{
	u64 inside = bpf_core_field_offset(struct mount, mnt), dentry, mnt, parent = 0, name = 0;
	s64 size;
	u32 at;

	if (!w || !into)
		return WALK_CUT;
	dentry = w->dentry;
	mnt = w->mnt;
	if (dentry == w->top_dentry && mnt == w->top_mnt)
		return WALK_DONE;
	bpf_core_read(&parent, sizeof(parent), &((struct vfsmount *)mnt)->mnt_root);
	if (dentry == parent) {
		struct mount *below = (void *)(mnt - inside);
		u64 above = 0, point = 0;

		bpf_core_read(&above, sizeof(above), &below->mnt_parent);
		if (above == (u64)below)
			return WALK_DONE;
		bpf_core_read(&point, sizeof(point), &below->mnt_mountpoint);
		w->dentry = point;
		w->mnt = above + inside;
		return WALK_ON;
	}
	bpf_core_read(&parent, sizeof(parent), &((struct dentry *)dentry)->d_parent);
	bpf_core_read(&name, sizeof(name), &((struct dentry *)dentry)->d_name.name);
	at = w->at; /* only now: kernels up to 6.1 forget the bound of what a call puts aside */
	barrier_var(at);
	if (at > PATH_ROOM - NAME_ROOM)
		return WALK_CUT;
	size = bpf_probe_read_kernel_str(into->text + at, NAME_ROOM, (void *)name);
	if (size <= 0)
		return WALK_CUT;
	w->at = at + size;
	w->dentry = parent;
	return parent == dentry ? WALK_DONE : WALK_ON;
}

/* The names on the way from w's file up, from the last to the first. A file in no directory (memfd) has one name. */
static __always_inline int write_path(struct walk *w, struct names *into)
{
	int step = WALK_ON;

#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_NAMES && step == WALK_ON; i++)
		step = write_name(w, into);
	return step;
}
