/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/numa.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NODES = 64 };

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

uint64_t td_numa_policy_nodes(td_numa_policy policy, int home, uint64_t memory,
                              const int *distance) {
    uint64_t here = memory & UINT64_C(1) << home, farthest = 0;
    int most = 0;
    for (int node = 0; node < NODES; node++) {
        if (node != home && memory >> node & 1 && distance[home * NODES + node] > most) {
            most = distance[home * NODES + node];
            farthest = UINT64_C(1) << node;
        }
    }
    switch (policy) {
    case TD_NUMA_LOCAL:
        return here;
    case TD_NUMA_REMOTE:
        return farthest;
    case TD_NUMA_INTERLEAVE:
        break;
    }
    return (memory & (memory - 1)) != 0 ? memory : 0;
}

/* Nodes with memory that this process may use, and how far they are. */
static uint64_t read_nodes(int *distance) {
    uint64_t memory = 0;
    struct bitmask *allowed = numa_get_mems_allowed();
    for (int node = 0; node < NODES && node <= numa_max_node(); node++) {
        memory |= (uint64_t)(numa_bitmask_isbitset(allowed, (unsigned)node) != 0) << node;
        for (int other = 0; other < NODES && other <= numa_max_node(); other++) {
            distance[node * NODES + other] = numa_distance(node, other);
        }
    }
    numa_bitmask_free(allowed);
    return memory;
}

td_status td_numa_place(void *base, size_t bytes, td_numa_policy policy, int home,
                        uint64_t *where) {
    static const char *const names[] = {"local", "remote", "interleave"};
    static int distance[NODES * NODES];
    if (policy != TD_NUMA_LOCAL && td_numa_nodes() < 2) {
        return td_fail(TD_ESKIP, "one NUMA node here: nothing to %s",
                       policy == TD_NUMA_REMOTE ? "call remote" : "interleave");
    }
    if (numa_available() < 0) {
        return td_fail(TD_ESKIP, "the kernel has no NUMA policies");
    }
    unsigned long nodes = td_numa_policy_nodes(policy, home, read_nodes(distance), distance);
    if (nodes == 0) {
        return td_fail(TD_ESKIP, "no node with memory is %s of node %d", names[policy], home);
    }
    if (mbind(base, bytes, policy == TD_NUMA_INTERLEAVE ? MPOL_INTERLEAVE : MPOL_BIND, &nodes,
              NODES + 1, 0) != 0) {
        return td_fail(TD_ESYS, "%s: bind %zu bytes to NUMA nodes %#lx: %s", names[policy], bytes,
                       nodes, strerror(errno));
    }
    *where = nodes;
    return TD_OK;
}

td_status td_numa_interleave(void *base, size_t bytes) {
    uint64_t where;
    return td_numa_place(base, bytes, TD_NUMA_INTERLEAVE, 0, &where);
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
