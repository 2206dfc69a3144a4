/* SPDX-License-Identifier: Apache-2.0
 * The machine as this process may use it: hwloc's tree, restricted by affinity, cpuset and cgroup
 * quota; or any other machine from a synthetic description, for planning.
 */
#ifndef TD_THREADS_TOPOLOGY_H
#define TD_THREADS_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "threads/cpu_list.h"

enum { TD_MAX_CACHES = 8 };

typedef struct td_topology td_topology; /* opaque: holds hwloc's tree */

typedef struct td_cache_info {
    int level; /* 1 to 4 */
    bool instruction;
    int64_t bytes;         /* as reported */
    int64_t clamped_bytes; /* what blocking may rely on */
    int count;             /* instances visible here */
    bool plausible;        /* false: reported size fails the sanity rules */
} td_cache_info;

typedef struct td_topology_info {
    bool synthetic;
    int packages, numa_nodes, cores, pus; /* usable here */
    int pus_online;                       /* before affinity and cpuset */
    double quota_cpus;                    /* cgroup cpu.max as CPUs; 0: none; < 0: unreadable */
    int effective_cpus;                   /* min(pus, max(1, floor(quota))) */
    int n_caches;
    td_cache_info caches[TD_MAX_CACHES];
    int64_t memory_bytes;
    char odd[512]; /* what a reader should know: "; "-separated sentences, or "" */
} td_topology_info;

/* machine: a file in hwloc's XML (its path names a file or ends in ".xml"), levels in hwloc's
 * notation ("pack:2 numa:1 core:8 pu:2"), or NULL for this machine, unless HWLOC_XMLFILE or
 * HWLOC_SYNTHETIC names another. TD_EUSAGE when hwloc refuses it. */
td_status td_topology_create(const char *machine, td_topology **out);

/* The same as the control groups limit it that are described below root, a copy of another system's
 * /proc/self/cgroup, /proc/self/mountinfo and /sys/fs/cgroup. NULL: this system's for this machine,
 * none for another. */
td_status td_topology_create_limited(const char *machine, const char *root, td_topology **out);

/* This machine, to run on: TD_EUSAGE when the environment names another. */
td_status td_topology_create_here(td_topology **out);

void td_topology_destroy(td_topology *topology);
const td_topology_info *td_topology_get_info(const td_topology *topology);

/* cgroup v1/v2 CPU limit read below root ("" is the live system): CPUs, 0 for none, negative when
 * unreadable. */
double td_cgroup_quota(const char *root);

/* The CPUs that cgroup cpusets leave, v1 and v2, read below root. TD_ESKIP when no cpuset limits
 * anything; TD_EIO names the file that cannot be read or understood. */
td_status td_cgroup_cpus(const char *root, td_cpu_mask *out);

/* hwloc's own handle, for the resolver of layouts; borrowed. */
struct hwloc_topology;
struct hwloc_topology *td_topology_tree(const td_topology *topology);

/* Of all data caches, as reported: the most that may still be in one. */
int64_t td_topology_cache_bytes(const td_topology *topology);

/* One line: "AMD EPYC: 1 package, 2 cores, 2 PUs, 1 NUMA node, 5.6 GiB". */
void td_topology_summary(const td_topology *topology, char *text, size_t bytes);

/* The same boxes for whoever draws them elsewhere: enter and leave around what a box holds, core
 * for a core (number -1: a PU without one) and its PUs. */
typedef struct td_topology_visitor {
    void (*enter)(void *arg, const char *label);
    void (*core)(void *arg, int number, const int *pu, int n_pus);
    void (*leave)(void *arg);
} td_topology_visitor;
void td_topology_walk(const td_topology *topology, const td_topology_visitor *visitor, void *arg);

/* The drawing that `tandem topo` prints: packages, NUMA nodes and shared caches as boxes, cores
 * with their PUs inside. pu (n_workers entries, worker w of rank r at r * workers_per_rank + w)
 * writes each worker beside its PU; NULL draws the machine alone. color: ranks in colours of the
 * terminal. */
typedef struct td_topology_drawing {
    const int *pu;
    int n_workers, workers_per_rank;
    int columns; /* width to stay within, 100 when 0 */
    bool color;
} td_topology_drawing;
td_status td_topology_print(const td_topology *topology, const td_topology_drawing *drawing,
                            FILE *out);

#endif
