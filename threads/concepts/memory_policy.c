/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads/numa.h"

enum { PAGES = 256, BIND = 2, NODES = 64 };

void td_concept_memory_policy(td_lab *lab) {
    size_t bytes = PAGES * (size_t)sysconf(_SC_PAGESIZE);
    int64_t pages[NODES] = {0}, untouched;
    int nodes = td_numa_nodes();
    for (int node = 0; node < nodes && node < NODES; node++) {
        void *block =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        unsigned long mask = 1UL << (lab->mutant ? (node + 1) % nodes : node);
        td_lab_must(lab, syscall(SYS_mbind, block, bytes, BIND, &mask, 64UL, 0) == 0, "mbind");
        memset(block, 1, bytes);
        td_lab_must(lab, td_numa_histogram(block, bytes, pages, NODES, &untouched) == TD_OK,
                    "where pages lie");
        td_lab_check(lab, pages[node] >= PAGES * 99 / 100, "bound to node %d: %lld of %d pages",
                     node, (long long)pages[node], PAGES);
        munmap(block, bytes);
    }
    void *spread = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, td_numa_interleave(spread, bytes) == TD_OK, "interleave");
    memset(spread, 1, bytes);
    td_lab_must(lab, td_numa_histogram(spread, bytes, pages, NODES, &untouched) == TD_OK,
                "where pages lie");
    for (int node = 0; node < nodes && node < NODES; node++) {
        td_lab_check(lab, pages[node] >= PAGES / nodes - 2, "interleaved: %lld pages on node %d",
                     (long long)pages[node], node);
    }
}
