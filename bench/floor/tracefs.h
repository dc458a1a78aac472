/* SPDX-License-Identifier: Apache-2.0 */
/* Tracepoint ids without a mounted tracefs.
 *
 * Rule: a tracefs instance that is mounted nowhere (fsopen(2), fsmount(2)) and dies with its descriptor, so the
 * host's mount table is never touched.  glibc 2.36 declares the calls.
 */
#ifndef BENCH_FLOOR_TRACEFS_H
#define BENCH_FLOOR_TRACEFS_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

/* Descriptor of a detached tracefs, or -errno. */
static int open_tracefs(void)
{
	const int context = fsopen("tracefs", FSOPEN_CLOEXEC);
	if (context < 0)
		return -errno;
	int mount = -1, error = 0;
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ||
	    (mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY)) < 0)
		error = errno;
	close(context); /* only read from: nothing to lose */
	return error ? -error : mount;
}

/* The id of tracepoint "system/name" for perf_event_attr.config, or -errno. */
static long tracepoint_id(int tracefs, const char *tracepoint)
{
	char path[256], text[32];
	if (snprintf(path, sizeof path, "events/%s/id", tracepoint) >= (int)sizeof path)
		return -ENAMETOOLONG;
	const int fd = openat(tracefs, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	const ssize_t size = read(fd, text, sizeof text - 1);
	const int error = errno;
	close(fd);
	if (size < 0)
		return -error;
	text[size] = 0;
	return strtol(text, NULL, 10);
}

#endif
