/* The types of the running kernel. */
#include <stdio.h>

#include <bpf/btf.h>

#include "object.h"
#include "types.h"

struct btf *kernel_types(void)
{
	static struct btf *kernel;

	if (!kernel) {
		set_up_libbpf();
		kernel = btf__load_vmlinux_btf();
	}
	return kernel;
}

int co_has_tracepoint(const char *name)
{
	struct btf *kernel = kernel_types();
	char type[128];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return kernel && btf__find_by_name_kind(kernel, type, BTF_KIND_TYPEDEF) > 0;
}

const char *co_enum_name(const char *enumeration, unsigned int value)
{
	struct btf *kernel = kernel_types();
	const struct btf_type *type;
	int id;

	id = kernel ? btf__find_by_name_kind(kernel, enumeration, BTF_KIND_ENUM) : -1;
	if (id < 0)
		return "";
	type = btf__type_by_id(kernel, id);
	for (int i = 0; i < btf_vlen(type); i++)
		if ((unsigned int)btf_enum(type)[i].val == value)
			return btf__name_by_offset(kernel, btf_enum(type)[i].name_off);
	return "";
}
