/* SPDX-License-Identifier: Apache-2.0
 * Layouts: ranks x workers with kind and placement, in one notation:
 *   p<ranks>xt<workers>[:thread|process|mpi][@scope:unit[:order]|@cpus{LIST}|@none][+option...]
 * p2xt4:process@package:core kind defaults to thread for one rank and process for more. cpus lists
 * the PU of every worker, none leaves them to the system. Options: over (more workers than units),
 * smt=K, mem=local|interleave. docs/layouts.md has it with examples.
 */
#ifndef TD_THREADS_LAYOUT_H
#define TD_THREADS_LAYOUT_H

#include <stdbool.h>

#include "base/status.h"
#include "threads/topology.h"

typedef enum td_rank_kind { TD_RANK_THREAD, TD_RANK_PROCESS, TD_RANK_MPI } td_rank_kind;

enum { TD_MAX_RANKS = 64, TD_MAX_WORKERS = 1024, TD_LAYOUT_CPUS = 128, TD_LAYOUT_TEXT = 224 };

typedef struct td_layout {
    int ranks, workers; /* workers of each rank */
    td_rank_kind kind;
    char scope[12], unit[12], order[12]; /* "machine", "core", "close" by default */
    char cpus[TD_LAYOUT_CPUS];           /* the list, in order of workers; "": by scope and unit */
    bool unbound;                        /* workers are not bound */
    int smt;                             /* PUs used of each unit, default 1 */
    bool over;                           /* more workers than units is allowed */
    bool interleave;                     /* mem=interleave */
} td_layout;

/* TD_EUSAGE says which part is wrong and what was expected. */
td_status td_layout_parse(const char *text, td_layout *out);

/* The canonical text; defaults are left out, except the kind when ranks > 1 ("p2xt1:process",
 * "p1xt2"). */
void td_layout_print(const td_layout *layout, char text[TD_LAYOUT_TEXT]);

/* The PU (operating-system index) of every worker: pu[rank * workers + worker], -1 for all when
 * they are not bound. More workers than units without `over` is TD_EUSAGE that names both counts;
 * with it, workers share PUs round robin. */
td_status td_layout_resolve(const td_layout *layout, const td_topology *topology, int *pu);

/* The PUs among which the workers of a rank find their units: its part of the scopes. */
td_status td_layout_share(const td_layout *layout, const td_topology *topology, int rank,
                          td_cpu_mask *out);

#endif
