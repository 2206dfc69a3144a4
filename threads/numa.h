/* SPDX-License-Identifier: Apache-2.0
 * Where memory lies. Placement is by first touch: the thread that will use a block touches it, from
 * its own CPU, before anybody else. On a machine with one NUMA node that costs nothing and changes
 * nothing, and functions that ask for more answer TD_ESKIP with "one NUMA node here".
 */
#ifndef TD_THREADS_NUMA_H
#define TD_THREADS_NUMA_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Nodes with memory that this process may use; 1 when the kernel has no NUMA support. */
int td_numa_nodes(void);

/* The node of a PU; 0 when unknown. */
int td_numa_node_of_pu(int pu);

/* Makes every page of [base, base + bytes) present, zero if it was new, on the node of the calling
 * thread. base is page-aligned. TD_ENOMEM names the size when the system cannot. */
td_status td_numa_first_touch(void *base, size_t bytes);

/* Spreads the pages of an untouched, page-aligned block over all nodes, round robin, when they are
 * touched. */
td_status td_numa_interleave(void *base, size_t bytes);

/* Where pages of a block go when they are touched, seen from a node. */
typedef enum td_numa_policy {
    TD_NUMA_LOCAL,      /* that node */
    TD_NUMA_REMOTE,     /* the farthest other one, the first of several */
    TD_NUMA_INTERLEAVE, /* all, round robin */
} td_numa_policy;

/* The nodes that a policy means, a bit each, of at most 64 with memory (a bit each); 0: there are
 * none. distance: of node i to j at [i * 64 + j]. */
uint64_t td_numa_policy_nodes(td_numa_policy policy, int home, uint64_t memory,
                              const int *distance);

/* Binds the pages of an untouched, page-aligned block so; *where: the nodes. TD_ESKIP, "one NUMA
 * node here", when remote and interleave mean nothing. */
td_status td_numa_place(void *base, size_t bytes, td_numa_policy policy, int home,
                        uint64_t *where);

/* Counts pages[node] of the block for node < nodes, as the kernel tells them, and the pages that
 * nobody has touched in *untouched. The proof of a placement, where a time is none. Works with one
 * node too. */
td_status td_numa_histogram(void *base, size_t bytes, int64_t *pages, int nodes,
                            int64_t *untouched);

#endif
