/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The working directory of whoever calls, as it is then: a number in its record, and the path once for each directory,
 * not once for each call or process. Programs that change directory all the time and call nobody cost nothing.
 */

/*
 * Numbers, by a hash of what tells a directory from others: its address, that of its mount, and those of the root, from
 * where its path is told; and, as memory is used again and directories are renamed, its name and those above it. Where a
 * mount point was renamed, it has its old path for a while.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, u64);
	__type(value, u32);
} directories SEC(".maps");

/* One of its own: whoever goes from directory to directory fills it, and shall not push out who is who. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} directory_ring SEC(".maps");

enum { MOST_ABOVE = 12, MANY_DIRECTORIES = 1 << 17 };
#define MIX(hash, value) ({ u64 mixed_ = ((hash) ^ (value)) * 0x9e3779b97f4a7c15ULL; mixed_ ^ mixed_ >> 32; })

/*
 * The last one that a CPU asked for: who calls in a loop is told at half the cost. Programs that are not tracepoints may be
 * preempted by others, so an entry is believed only if both of its members were written for the same one.
 */
struct last_directory { u64 key, check; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct last_directory);
} last_directories SEC(".maps");
#define CHECK(key, number) ((key) ^ (number) ^ (u64)(number) << 32)

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
	struct last_directory *last;
	u32 *known, number, zero = 0;
	u64 key = 0, dentry, parent;
	struct directory *told;
	struct cpu_counters *c;
	struct walk w;
	void *fs;

	if (!narrow.directories || task->flags & PF_KTHREAD)
		return 0;
	fs = WALK(task, fs);
	if (!fs)
		return 0;
	w.dentry = dentry = NUMBER(PEEK(struct fs_struct, fs, pwd.dentry));
	w.mnt = NUMBER(PEEK(struct fs_struct, fs, pwd.mnt));
	w.top_dentry = NUMBER(PEEK(struct fs_struct, fs, root.dentry));
	w.top_mnt = NUMBER(PEEK(struct fs_struct, fs, root.mnt));
	w.at = w.spare = 0;
	key = MIX(MIX(MIX(MIX(key, w.dentry), w.mnt), w.top_dentry), w.top_mnt);
#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_ABOVE; i++) {
		parent = (u64)PEEK(struct dentry, (void *)dentry, d_parent);
		if (parent == dentry)
			break;
		key = MIX(key, PEEK(struct dentry, (void *)dentry, d_name.hash_len));
		dentry = parent;
	}
	last = bpf_map_lookup_elem(&last_directories, &zero);
	if (!last)
		return 0;
	number = last->check ^ key;
	if (last->key == key && last->check == CHECK(key, number))
		return number;
	known = bpf_map_lookup_elem(&directories, &key);
	if (known) {
		number = *known;
		last->key = key;
		last->check = CHECK(key, number);
		return number;
	}
	c = count();
	if (!c)
		return 0;
	told = bpf_ringbuf_reserve(&directory_ring, sizeof(*told), 0);
	if (!told) {
		c->lost[RECORD_DIRECTORY]++;
		return 0;
	}
	number = __sync_fetch_and_add(&directories_told, 1) + 1;
	told->number = number;
	told->lost = c->lost[RECORD_DIRECTORY];
	fill_directory(told, &w);
	bpf_ringbuf_submit(told, bpf_ringbuf_query(&directory_ring, BPF_RB_AVAIL_DATA) > MANY_DIRECTORIES
					 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	/* only now: whoever finds the number there may hand in its record before this goes on */
	bpf_map_update_elem(&directories, &key, &number, BPF_ANY);
	return number;
}
