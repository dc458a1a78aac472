/* Inside the native part: the types of the running kernel. */
struct btf;

/* Parsed once, as that takes milliseconds; NULL where the kernel tells none. */
struct btf *kernel_types(void);
