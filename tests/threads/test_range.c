/* SPDX-License-Identifier: Apache-2.0
 * Ranges of tiles, and loops whose tiles workers take over from each other.
 */
#include <criterion/criterion.h>
#include <sched.h>

#include "threads/range.h"
#include "threads/team.h"

enum { TILES = 70 };

/* An owner and a helper in turns, which must meet: every tile is taken once, an owner's portion
 * ends where what was prepared for it ends. */
static void check_range(const td_portions *of) {
    int hits[TILES] = {0};
    td_range range = 0;
    int64_t first, last, end = of->tiles;
    cr_assert_not(td_range_take(&range, of, false, &first, &last), "zero is empty");
    td_range_deal(&range, 0, of->tiles);
    for (int turn = 0; td_range_take(&range, of, turn % 3 == 1, &first, &last); turn++) {
        cr_assert(0 <= first && first < last && last <= end);
        if (turn % 3 == 1) {
            cr_assert_eq(last, end);
            end = first;
        } else if (of->grain > 1) {
            cr_assert(last == end || last % of->grain == 0);
            cr_assert_leq(last - first, of->grain);
        }
        for (int64_t t = first; t < last; t++) {
            hits[t]++;
        }
    }
    for (int64_t t = 0; t < of->tiles; t++) {
        cr_assert_eq(hits[t], 1, "tile %ld of %ld, grain %ld: %d times", (long)t, (long)of->tiles,
                     (long)of->grain, hits[t]);
    }
}

Test(range, owner_and_helper_take_every_tile_once) {
    for (int64_t tiles = 0; tiles < TILES; tiles++) {
        for (int64_t grain = 1; grain < 9; grain++) {
            check_range(&(td_portions){.tiles = tiles, .grain = grain, .workers = 2});
        }
    }
}

typedef struct loop {
    int64_t tiles, grain;
    _Atomic int hits[TILES];
    _Atomic int64_t done;
    _Atomic bool begun; /* by worker 0 */
    bool late;          /* the first portion of worker 0 lasts until all other tiles are done */
} loop;

static void run_tiles(void *arg, int64_t first, int64_t last, td_worker *worker) {
    loop *l = arg;
    if (worker->id == 0) {
        l->begun = true;
    }
    while (l->late && worker->id == 0 && first == 0 && l->done < l->tiles - last) {
        sched_yield();
    }
    for (int64_t t = first; t < last; t++) {
        l->hits[t]++;
    }
    l->done += last - first;
}

static void run_loop(void *arg, td_worker *worker) {
    loop *l = arg;
    /* A worker's tiles can be taken once it has begun. */
    while (l->late && worker->id != 0 && l->tiles >= worker->count && !l->begun) {
        sched_yield();
    }
    td_worker_tiles(worker, l->tiles, l->grain, run_tiles, l);
    td_team_barrier(worker);
    td_worker_tiles(worker, l->tiles, l->grain, run_tiles, l);
}

static void check_loops(int workers, bool late) {
    td_team *team = NULL;
    td_team_options options = {.workers = workers, .shares_cpus = true};
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    for (int64_t tiles = 0; tiles < TILES; tiles += 3) {
        for (int64_t grain = 1; grain < 9; grain += 3) {
            loop l = {.tiles = tiles, .grain = grain, .late = late};
            td_team_run(team, run_loop, &l);
            for (int64_t t = 0; t < TILES; t++) {
                cr_assert_eq(l.hits[t], t < tiles ? 2 : 0, "%d workers, tile %ld of %ld: %d times",
                             workers, (long)t, (long)tiles, l.hits[t]);
            }
        }
    }
    td_team_destroy(team);
}

Test(range, loops_run_every_tile_once) {
    for (int workers = 1; workers <= 7; workers++) {
        check_loops(workers, false);
    }
}

/* Would never end if nobody took what worker 0 leaves. */
Test(range, others_take_what_a_late_worker_leaves, .timeout = 60) {
    check_loops(2, true);
    check_loops(5, true);
}
