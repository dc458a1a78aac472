/* Whether this kernel has a hook and lets a program attach there: found out with one that does nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "native.h"
#include "tracefs.h"
#include "types.h"

static int bpf(int command, union bpf_attr *attr)
{
	int result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : result;
}

/* As libbpf attaches fentry and fexit: a program of that type, linked to the function it was loaded for. */
static int try_trampoline(const char *function, unsigned int type)
{
	/* r0 = 0; exit */
	static const struct bpf_insn nothing[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr load = {}, attach = {};
	struct btf *kernel = kernel_types();
	int id, program, link;

	id = kernel ? btf__find_by_name_kind(kernel, function, BTF_KIND_FUNC) : -ENOENT;
	if (id < 0)
		return -ENOENT;
	load.prog_type = BPF_PROG_TYPE_TRACING;
	load.expected_attach_type = type;
	load.attach_btf_id = id;
	load.insns = (unsigned long)nothing;
	load.insn_cnt = sizeof(nothing) / sizeof(nothing[0]);
	load.license = (unsigned long)"GPL";
	program = bpf(BPF_PROG_LOAD, &load);
	if (program < 0)
		return program;
	attach.raw_tracepoint.prog_fd = program;
	link = bpf(BPF_RAW_TRACEPOINT_OPEN, &attach);
	close(program);
	if (link < 0)
		return link;
	close(link);
	return 0;
}

/* As perf_event_open(2) makes a probe; where it cannot, as tracefs does (tracefs.c). */
static int try_probe(const char *function)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .kprobe_func = (unsigned long)function };
	struct return_probe probe = {};
	FILE *file = fopen("/sys/bus/event_source/devices/kprobe/type", "re");
	unsigned int type;
	int fd;

	if (file) {
		int found = fscanf(file, "%u", &type);

		fclose(file);
		attr.type = type;
		fd = found == 1 ? syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC) : -1;
		if (fd >= 0) {
			close(fd);
			return 0;
		}
	}
	fd = return_probe_add(&probe, "hook", function);
	if (fd < 0)
		return fd;
	close(fd);
	return_probe_remove(&probe);
	return 0;
}

int co_hook(const char *section)
{
	char category[64], event[96];
	int fd;

	if (!strncmp(section, "fentry/", 7))
		return try_trampoline(section + 7, BPF_TRACE_FENTRY);
	if (!strncmp(section, "fexit/", 6))
		return try_trampoline(section + 6, BPF_TRACE_FEXIT);
	if (!strncmp(section, "kprobe/", 7))
		return try_probe(section + 7);
	if (!strncmp(section, "kretprobe/", 10))
		return try_probe(section + 10);
	if (!strncmp(section, "tp_btf/", 7))
		return co_has_tracepoint(section + 7) ? 0 : -ENOENT;
	if (sscanf(section, "tp/%63[^/]/%95s", category, event) != 2)
		return 0; /* of others it is found out by loading */
	fd = tracefs_event(category, event);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
