/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/selection.h"

#include <math.h>

#include "collectives/loggops.h"
#include "threads/mpi_ranks.h"

/* Cores of one machine: a flag seen by another core, and bytes copied and added from its cache or
 * from memory. */
static const td_network machine = {
    .levels = 1,
    .level = {{.name = "core", .units = TD_MAX_RANKS, .L = 150, .o = 150, .G = 0.1}},
    .copy = 0.1,
    .reduce = 0.05};

/* Hosts of a rank each on a network of 100 Gbit/s. */
static const td_network network = {
    .levels = 1,
    .level = {{.name = "host", .units = TD_MAX_RANKS, .L = 1500, .o = 300, .G = 0.08}},
    .copy = 0.1,
    .reduce = 0.05};

static double predict(const td_collective *row, const td_network *on, int ranks, int64_t bytes) {
    const td_network_level *l = &on->level[0];
    td_simulation result;
    if (row->direct == NULL) {
        return td_simulate(on, row, ranks, (double)bytes, &result) == TD_OK ? result.ns : INFINITY;
    }
    if (on == &network) {
        return INFINITY; /* no memory in common */
    }
    /* A flag of every other rank is looked at twice. Each byte of G is loaded and stored: half of
     * it is one byte of traffic. */
    return 2 * l->L + 50 * ranks +
           row->direct_form(ranks).traffic * (double)bytes / ranks * l->G / 2;
}

static const td_collective *find_best(td_operation_id operation, const td_network *on, int ranks,
                                      int64_t bytes) {
    int n;
    const td_collective *rows = td_collectives(&n), *best = NULL;
    double best_ns = INFINITY;
    for (int i = 0; i < n; i++) {
        if (rows[i].id == operation && rows[i].fits(ranks)) {
            double ns = predict(&rows[i], on, ranks, bytes);
            best = ns < best_ns ? &rows[i] : best;
            best_ns = ns < best_ns ? ns : best_ns;
        }
    }
    return best;
}

const td_collective *td_selection_default(td_operation_id operation, int ranks, int64_t bytes) {
    return find_best(operation, &machine, ranks, bytes);
}

/* Below the smallest size that was measured its algorithm serves too. */
const td_collective *td_selection_find(const td_selection *table, td_operation_id operation,
                                       const td_layout *layout, int64_t bytes) {
    int ranks = layout->ranks;
    const td_selection_entry *found = NULL;
    bool apart = layout->kind == TD_RANK_MPI && td_mpi_hosts() > 1;
    for (int i = 0; table != NULL && i < table->n; i++) {
        const td_selection_entry *e = &table->entries[i];
        if (e->operation != operation || e->kind != layout->kind || e->ranks != ranks ||
            e->workers != layout->workers || (apart && e->row->direct != NULL)) {
            continue;
        }
        bool closer =
            found == NULL || (e->bytes <= bytes ? found->bytes > bytes || e->bytes > found->bytes
                                                : found->bytes > bytes && e->bytes < found->bytes);
        found = closer ? e : found;
    }
    return found != NULL && found->row->fits(ranks)
               ? found->row
               : find_best(operation, apart ? &network : &machine, ranks, bytes);
}
