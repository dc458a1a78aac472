/* Inside the native part: tracepoints by name, and return probes that do not run out. Functions return -errno. */

/* Number of a tracepoint, as perf_event_open(2) wants it. */
int tracefs_id(const char *category, const char *event);
/* A perf event of a tracepoint. */
int tracefs_event(const char *category, const char *event);

/* A return probe of ours; `name` is empty while there is none. */
struct return_probe {
	char name[64];
};
/* Makes a return probe of a function. Returns its perf event; the probe is to be removed after that was closed. */
int return_probe_add(struct return_probe *probe, const char *program, const char *function);
void return_probe_remove(struct return_probe *probe);
/* Returns of the function that were not seen: more calls were under way than the kernel keeps room for. */
long long return_probe_missed(const struct return_probe *probe);
