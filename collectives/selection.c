/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/selection.h"

#include <math.h>

#include "collectives/loggops.h"

/* Cores of one machine: a flag seen by another core, and bytes copied and added from its cache or
 * from memory. */
static const td_network machine = {
    .levels = 1,
    .level = {{.name = "core", .units = TD_MAX_RANKS, .L = 150, .o = 150, .G = 0.1}},
    .copy = 0.1,
    .reduce = 0.05};

static double predict(const td_collective *row, int ranks, int64_t bytes) {
    const td_network_level *l = &machine.level[0];
    td_simulation result;
    if (row->direct == NULL) {
        return td_simulate(&machine, row, ranks, (double)bytes, &result) == TD_OK ? result.ns
                                                                                  : INFINITY;
    }
    /* A flag of every other rank is looked at twice. Each byte of G is loaded and stored: half of
     * it is one byte of traffic. */
    return 2 * l->L + 50 * ranks +
           row->direct_form(ranks).traffic * (double)bytes / ranks * l->G / 2;
}

const td_collective *td_selection_default(td_operation_id operation, int ranks, int64_t bytes) {
    int n;
    const td_collective *rows = td_collectives(&n), *best = NULL;
    double best_ns = INFINITY;
    for (int i = 0; i < n; i++) {
        if (rows[i].id == operation && rows[i].fits(ranks)) {
            double ns = predict(&rows[i], ranks, bytes);
            best = ns < best_ns ? &rows[i] : best;
            best_ns = ns < best_ns ? ns : best_ns;
        }
    }
    return best;
}

/* Below the smallest size that was measured its algorithm serves too. */
const td_collective *td_selection_find(const td_selection *table, td_operation_id operation,
                                       const td_layout *layout, int64_t bytes) {
    int ranks = layout->ranks;
    const td_selection_entry *found = NULL;
    for (int i = 0; table != NULL && i < table->n; i++) {
        const td_selection_entry *e = &table->entries[i];
        if (e->operation != operation || e->kind != layout->kind || e->ranks != ranks ||
            e->workers != layout->workers) {
            continue;
        }
        bool closer =
            found == NULL || (e->bytes <= bytes ? found->bytes > bytes || e->bytes > found->bytes
                                                : found->bytes > bytes && e->bytes < found->bytes);
        found = closer ? e : found;
    }
    return found != NULL && found->row->fits(ranks) ? found->row
                                                    : td_selection_default(operation, ranks, bytes);
}
