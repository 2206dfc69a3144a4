/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/numa.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int td_numa_nodes(void) {
    if (numa_available() < 0) {
        return 1;
    }
    int nodes = numa_num_task_nodes();
    return nodes < 1 ? 1 : nodes;
}

int td_numa_node_of_pu(int pu) {
    int node = numa_available() < 0 ? 0 : numa_node_of_cpu(pu);
    return node < 0 ? 0 : node;
}

td_status td_numa_first_touch(void *base, size_t bytes) {
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    TD_ASSERT((uintptr_t)base % page_bytes == 0);
    /* One call that fails with a reason where a store would end the process, when shared memory
     * runs out. */
    if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0) {
        return TD_OK;
    }
    if (errno != EINVAL) {
        return td_fail(TD_ENOMEM, "touch %zu bytes of memory: %s", bytes, strerror(errno));
    }
    /* Kernels before 5.14 do not know the advice. Adding zero touches a page without changing it.
     */
    for (size_t at = 0; at < bytes; at += page_bytes) {
        atomic_fetch_add_explicit((_Atomic unsigned char *)base + at, 0, memory_order_relaxed);
    }
    return TD_OK;
}

td_status td_numa_interleave(void *base, size_t bytes) {
    if (td_numa_nodes() < 2) {
        return td_fail(TD_ESKIP, "one NUMA node here: nothing to interleave");
    }
    struct bitmask *nodes = numa_get_mems_allowed();
    long result = mbind(base, bytes, MPOL_INTERLEAVE, nodes->maskp, nodes->size + 1, 0);
    int error = errno;
    numa_bitmask_free(nodes);
    if (result != 0) {
        return td_fail(TD_ESYS, "interleave %zu bytes over NUMA nodes: %s", bytes, strerror(error));
    }
    return TD_OK;
}

td_status td_numa_histogram(void *base, size_t bytes, int64_t *pages, int nodes,
                            int64_t *untouched) {
    enum { BATCH = 512 };
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    memset(pages, 0, (size_t)nodes * sizeof *pages);
    *untouched = 0;
    for (size_t at = 0; at < bytes; at += BATCH * page_bytes) {
        void *where[BATCH];
        int status[BATCH];
        unsigned long count = 0;
        for (size_t page = at; page < bytes && count < BATCH; page += page_bytes) {
            where[count++] = (unsigned char *)base + page;
        }
        if (move_pages(0, count, where, NULL, status, 0) != 0) {
            return td_fail(TD_ESKIP, "the kernel does not tell where pages are: %s",
                           strerror(errno));
        }
        for (unsigned long i = 0; i < count; i++) {
            if (status[i] >= 0 && status[i] < nodes) {
                pages[status[i]]++;
            } else {
                ++*untouched;
            }
        }
    }
    return TD_OK;
}
