/* SPDX-License-Identifier: Apache-2.0
 * A team: the workers of one rank, created once and pinned. A region is one function run by every
 * worker (SPMD); inside it workers meet at barriers and share work as tiles. Results never depend
 * on who runs which tile.
 *
 * Waiting is bounded spin, then yield, then futex, so a team may have more workers than CPUs.
 */
#ifndef TD_THREADS_TEAM_H
#define TD_THREADS_TEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct td_team td_team; /* opaque */

/* What a worker knows of itself; passed to every region. */
typedef struct td_worker {
    int id, count; /* 0 <= id < count; worker 0 is the thread that calls td_team_run */
    td_team *team;
    void *scratch; /* scratch_bytes bytes, 64-byte aligned, first touched by this worker */
    int64_t scratch_bytes;
} td_worker;

typedef void td_region_fn(void *arg, td_worker *worker);

typedef struct td_team_options {
    int workers;
    const int *pu;         /* PU of each worker, or NULL: not bound (recorded as such) */
    int64_t scratch_bytes; /* of each worker */
    bool shares_cpus;      /* more runnable workers than CPUs, over all ranks: do not spin long */
} td_team_options;

/* Workers bind themselves, and the binding is read back; td_team_bound tells how many match. A
 * refused binding is not an error: td_team_note says which and why, or is NULL. A thread that
 * cannot be created ends those that were. One thread creates, runs and destroys a team: it is
 * worker 0, and has its own affinity back after destroy. */
td_status td_team_create(const td_team_options *options, td_team **out);
void td_team_destroy(td_team *team);
int td_team_bound(const td_team *team);
const char *td_team_note(const td_team *team); /* owned by the team */

/* The PU of each worker as the system tells now: somebody may have changed it since. -1 for a
 * worker that may run on several. */
void td_team_bindings(const td_team *team, int *pu);

int td_team_size(const td_team *team);

/* Runs fn(arg, worker) once on every worker and returns when all have. Not reentrant. Rounding and
 * the treatment of denormals are the caller's in every worker, in all kinds of region. */
void td_team_run(td_team *team, td_region_fn *fn, void *arg);

/* All workers of the region meet. */
void td_team_barrier(td_worker *worker);

/* A region whose workers can fail. It fails as its lowest worker that did, with its message, and is
 * cancelled then: the others are told at the next meeting, all at the same one, and must return.
 * Of failures before one meeting the answer is always the same. In such a region workers meet by
 * td_worker_meet and nothing else; false: return, with whatever status. Who looks at
 * td_worker_cancelled in a loop between two meetings may return at once too, but then which failure
 * is told may depend on who was faster. */
typedef td_status td_try_fn(void *arg, td_worker *worker);
td_status td_team_try(td_team *team, td_try_fn *fn, void *arg);
bool td_worker_meet(td_worker *worker);
bool td_worker_cancelled(const td_worker *worker);

/* Cancels the region that runs, of td_team_try or td_team_tiles, from any thread or a signal
 * handler: it fails with TD_EINTERRUPTED unless a worker or a tile had failed. The next one is not
 * affected. */
void td_team_cancel(td_team *team);

/* This worker's share of n tiles, the same for every run: [first, last). Sizes differ by at most
 * one. */
static inline void td_worker_share(const td_worker *worker, int64_t n, int64_t *first,
                                   int64_t *last) {
    *first = n * worker->id / worker->count;
    *last = n * (worker->id + 1) / worker->count;
}

/* Inside a region, by every worker: runs the tiles of its share, then what others have left of
 * theirs, so that a worker whose CPU is taken away does not hold up the rest; but one that has not
 * begun when the others are through runs its share alone. Tiles must be independent. Between two of
 * these is a barrier or the end of a region. grain: tiles from a multiple of it to the next share
 * what is prepared for one of them; 1: nothing is. */
typedef void td_share_fn(void *arg, int64_t first, int64_t last, td_worker *worker);
void td_worker_tiles(td_worker *worker, int64_t tiles, int64_t grain, td_share_fn *fn, void *arg);

/* Claimed tiles: a shared ticket, reset by one worker before a barrier, then taken in chunks until
 * none is left. for (int64_t first, last; td_ticket_take(&ticket, n, chunk, &first, &last);)
 * work(first, last); */
typedef struct td_ticket {
    _Alignas(64) _Atomic int64_t next;
} td_ticket;
void td_ticket_reset(td_ticket *ticket);
bool td_ticket_take(td_ticket *ticket, int64_t n, int64_t chunk, int64_t *first, int64_t *last);

/* Regions of tiles with open join: the caller and whoever is awake take chunks of [0, tiles);
 * workers that come late miss it, and nobody waits for a worker that has not started. So it may be
 * used for short work and beside other programs. Sleeping workers are woken when the work is worth
 * it, which is learned at the call site. Inside a region of the same team, in a forked copy of the
 * process, and for a team of one, the caller runs all tiles itself.
 * fn returns TD_OK, or fails: then no further tiles are handed out, and the failure of the lowest
 * failed tile, always the same one, is returned with its message. */
typedef td_status td_tile_fn(void *arg, int64_t first, int64_t last, td_worker *worker);
typedef struct td_site { /* zero to start, one for each call in the program */
    double tile_ns;
    int64_t runs;
} td_site;
td_status td_team_tiles(td_team *team, td_site *site, int64_t tiles, int64_t chunk, td_tile_fn *fn,
                        void *arg);

/* Combines count partial results of `bytes` each in one fixed binary tree over their index, into
 * the first: with a partial result a tile, a sum has the same bits whoever ran which tile. */
typedef void td_merge_fn(void *into, const void *from);
void td_tree_combine(void *partials, int64_t count, size_t bytes, td_merge_fn *combine);

/* Per-worker statistics since creation or the last reset. */
typedef struct td_worker_stats {
    int64_t regions, barriers, parks, yields;
    int64_t foreign;       /* waits cut short because strangers use this CPU */
    int64_t tiles, joined; /* tiles run, regions of tiles joined */
    int64_t wait_ns; /* inside barriers and between regions while a region was open */
    int64_t busy_ns; /* inside regions, less wait */
    int cpu;         /* where it last ran */
    bool bound;
} td_worker_stats;
void td_team_stats(td_team *team, td_worker_stats *out, bool reset); /* out: td_team_size entries */

#endif
