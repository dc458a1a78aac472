/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The working directory of whoever calls, as it is then: a number in its record, and the path once for each directory,
 * not once for each call or process. Programs that change directory all the time and call nobody cost nothing.
 */

/*
 * What tells a directory from others, for as long as it stays what it is: memory of one that is gone is used again, and
 * directories are renamed, so the names above it count. Where a mount point was renamed, it has its old path for a while.
 */
struct directory_key {
	u64 dentry, mnt;
	u64 top_dentry, top_mnt; /* from where its path is told */
	u64 names;
};
enum { MOST_ABOVE = 12 };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct directory_key);
	__type(value, u32);
} directories SEC(".maps");

static u32 directories_told;

/* Not inlined: as the type of a parameter the struct gets into the object's BTF, where user space reads its layout. */
__attribute__((noinline)) int fill_directory(struct directory *told, struct walk *w)
{
	if (!told || !w)
		return 0;
	told->kind = RECORD_DIRECTORY;
	told->cpu = bpf_get_smp_processor_id();
	told->flags = write_path(w, (struct names *)told->text) == WALK_DONE ? 0 : DIRECTORY_CUT;
	told->size = w->at;
	return 0;
}

/* Its number; 0 where there is none (a process that is going away, a thread of the kernel), or it could not be told. */
__attribute__((noinline)) int directory_of_current(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct directory_key key = {};
	struct cpu_counters *c;
	struct directory *told;
	struct walk w = {};
	u32 *known, number;
	u64 dentry, parent;
	void *fs;

	if (!narrow.directories || task->flags & PF_KTHREAD)
		return 0;
	fs = WALK(task, fs);
	if (!fs)
		return 0;
	key.dentry = w.dentry = (u64)PEEK(struct fs_struct, fs, pwd.dentry);
	key.mnt = w.mnt = (u64)PEEK(struct fs_struct, fs, pwd.mnt);
	key.top_dentry = w.top_dentry = (u64)PEEK(struct fs_struct, fs, root.dentry);
	key.top_mnt = w.top_mnt = (u64)PEEK(struct fs_struct, fs, root.mnt);
	dentry = w.dentry;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_ABOVE; i++) {
		parent = (u64)PEEK(struct dentry, (void *)dentry, d_parent);
		if (parent == dentry)
			break;
		key.names = (key.names ^ PEEK(struct dentry, (void *)dentry, d_name.hash_len)) * 0x9e3779b97f4a7c15ULL;
		dentry = parent;
	}
	known = bpf_map_lookup_elem(&directories, &key);
	if (known)
		return *known;
	c = count();
	if (!c)
		return 0;
	told = bpf_ringbuf_reserve(&process_ring, sizeof(*told), 0);
	if (!told) {
		c->lost[RECORD_DIRECTORY]++;
		return 0;
	}
	number = __sync_fetch_and_add(&directories_told, 1) + 1;
	told->number = number;
	told->lost = c->lost[RECORD_DIRECTORY];
	fill_directory(told, &w);
	bpf_ringbuf_submit(told, processes_wake());
	/* only now: whoever finds the number there may hand in its record before this goes on */
	bpf_map_update_elem(&directories, &key, &number, BPF_ANY);
	return number;
}
