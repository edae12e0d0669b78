/* sysmem.h - how much memory this process may still take. */
#ifndef RILL_BASE_SYSMEM_H
#define RILL_BASE_SYSMEM_H

#include <stdint.h>

struct sysmem {
    uint64_t total; // bytes of the machine, or of the tightest control group around this process
    uint64_t free;  // bytes that can be had without swapping; clean file pages count as free
};

/* root: "" for this machine; tests give a folder that holds proc/ and sys/. Reads MemAvailable of
 * /proc/meminfo (proc(5)) and the limits of every control group from this process's own to the top,
 * version 2 (memory.max) and 1 (memory.limit_in_bytes). What cannot be read limits nothing. */
void sysmem_get(struct sysmem *out, const char *root);

#endif
