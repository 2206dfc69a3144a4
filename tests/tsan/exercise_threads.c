/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "tests/tsan/exercises.h"
#include "threads/group.h"
#include "threads/team.h"

enum { WORKERS = 4, ROUNDS = 200, TILES = 257 };

static td_status make_team(int64_t scratch_bytes, td_team **out) {
    td_team_options options = {
        .workers = WORKERS, .scratch_bytes = scratch_bytes, .shares_cpus = true};
    return td_team_create(&options, out);
}

/* Plain memory everywhere: only barriers, joins and tickets may order it. */
typedef struct board {
    int written[WORKERS], errors[WORKERS];
    td_ticket ticket;
    int tiles[TILES];
} board;

static void write_and_read(void *arg, td_worker *worker) {
    board *b = arg;
    for (int round = 1; round <= ROUNDS; round++) {
        b->written[worker->id] = round;
        td_team_barrier(worker);
        for (int i = 0; i < worker->count; i++) {
            b->errors[worker->id] += b->written[i] != round;
        }
        td_team_barrier(worker);
    }
}

td_status td_exercise_team_regions(void) {
    board b = {0};
    td_team *team = NULL;
    TD_TRY(make_team(4096, &team));
    int errors = 0;
    for (int region = 0; region < 20; region++) {
        td_team_run(team, write_and_read, &b);
        for (int i = 0; i < WORKERS; i++) {
            errors += b.errors[i] + (b.written[i] != ROUNDS);
            b.written[i] = 0; /* by the caller, between regions */
        }
    }
    td_worker_stats stats[WORKERS];
    td_team_stats(team, stats, true);
    for (int i = 0; i < WORKERS; i++) {
        errors += stats[i].regions != 20 || stats[i].barriers != 20 * 2 * ROUNDS;
    }
    td_team_destroy(team);
    return errors == 0 ? TD_OK : td_fail(TD_ECHECK, "%d wrong values", errors);
}

static void claim(void *arg, td_worker *worker) {
    board *b = arg;
    for (int round = 0; round < 20; round++) {
        if (worker->id == round % worker->count) {
            td_ticket_reset(&b->ticket);
        }
        td_team_barrier(worker);
        for (int64_t first, last; td_ticket_take(&b->ticket, TILES, 3, &first, &last);) {
            for (int64_t tile = first; tile < last; tile++) {
                b->tiles[tile]++;
            }
        }
        td_team_barrier(worker);
    }
}

td_status td_exercise_team_tiles(void) {
    board b = {0};
    td_team *team = NULL;
    TD_TRY(make_team(0, &team));
    td_team_run(team, claim, &b);
    td_team_destroy(team);
    for (int tile = 0; tile < TILES; tile++) {
        if (b.tiles[tile] != 20) {
            return td_fail(TD_ECHECK, "tile %d was worked on %d times", tile, b.tiles[tile]);
        }
    }
    return TD_OK;
}

td_status td_exercise_team_churn(void) {
    for (int round = 0; round < 30; round++) {
        board b = {0};
        td_team *team = NULL;
        TD_TRY(make_team(round % 2 * 4096, &team));
        if (round % 3 != 0) {
            td_team_run(team, claim, &b);
        }
        td_team_destroy(team);
    }
    return TD_OK;
}

/* Plain memory: joining and leaving alone order it. */
static td_status square(void *arg, int64_t first, int64_t last, td_worker *worker) {
    int *squares = arg;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        squares[i] += (int)(i * i);
    }
    return TD_OK;
}

td_status td_exercise_team_open(void) {
    int squares[TILES] = {0}, rounds = 0;
    td_team *team = NULL;
    td_site site = {0};
    TD_TRY(make_team(0, &team));
    for (; rounds < 300; rounds++) {
        TD_TRY(td_team_tiles(team, &site, TILES, 1 + rounds % 40, square, squares));
        site.tile_ns = rounds % 2 * 1e6; /* with and without waking sleepers */
    }
    td_team_destroy(team);
    for (int i = 0; i < TILES; i++) {
        if (squares[i] != rounds * i * i) {
            return td_fail(TD_ECHECK, "tile %d is %d", i, squares[i]);
        }
    }
    return TD_OK;
}

/* Worker 2 fails in the middle, worker 1 sees what led to it. Plain memory: meetings order it. */
static td_status fail_in_the_middle(void *arg, td_worker *worker) {
    board *b = arg;
    for (int round = 1; round <= 20; round++) {
        if (worker->id == 2 && round == 10) {
            return td_fail(TD_EINPUT, "on purpose");
        }
        b->written[worker->id] = round;
        if (!td_worker_meet(worker)) {
            return TD_OK;
        }
        for (int i = 0; i < worker->count; i++) {
            b->errors[worker->id] += b->written[i] != round;
        }
        if (!td_worker_meet(worker)) {
            return TD_OK;
        }
    }
    return TD_OK;
}

td_status td_exercise_team_failure(void) {
    board b = {0};
    td_team *team = NULL;
    TD_TRY(make_team(0, &team));
    int errors = 0;
    for (int region = 0; region < 50; region++) {
        errors += td_team_try(team, fail_in_the_middle, &b) != TD_EINPUT;
        td_team_run(team, claim, &b);
        for (int i = 0; i < WORKERS; i++) {
            errors += b.errors[i];
        }
    }
    td_team_destroy(team);
    return errors == 0 ? TD_OK : td_fail(TD_ECHECK, "%d wrong values", errors);
}

static td_group_options options_for(int ranks) {
    td_group_options options = {.segment_bytes = 4096, .deadline_ns = INT64_C(60000000000)};
    options.layout = (td_layout){.ranks = ranks,
                                 .workers = 1,
                                 .kind = TD_RANK_THREAD,
                                 .scope = "machine",
                                 .unit = "pu",
                                 .order = "close",
                                 .smt = 1,
                                 .over = true};
    return options;
}

static td_status exchange(td_rank *rank, void *arg) {
    (void)arg;
    int *mine = (int *)rank->segment, errors = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        *mine = round + rank->rank;
        TD_TRY(td_rank_barrier(rank));
        for (int peer = 0; peer < rank->count; peer++) {
            errors += *(const int *)td_rank_peer(rank, peer, mine) != round + peer;
        }
        TD_TRY(td_rank_barrier(rank));
    }
    return errors == 0 ? TD_OK : td_fail(TD_ECHECK, "%d wrong values", errors);
}

td_status td_exercise_group_exchange(void) {
    td_group_options options = options_for(5);
    return td_group_run(&options, exchange, NULL);
}

static td_status fail_at_once(td_rank *rank, void *arg) {
    (void)arg;
    if (rank->rank == 2) {
        return td_fail(TD_EINPUT, "on purpose");
    }
    while (!td_rank_failed(rank)) {
        TD_TRY(td_rank_barrier(rank));
    }
    return td_fail(TD_ECHECK, "a barrier passed without rank 2");
}

td_status td_exercise_group_failure(void) {
    td_group_options options = options_for(4);
    for (int round = 0; round < 10; round++) {
        td_status status = td_group_run(&options, fail_at_once, NULL);
        if (status != TD_EINPUT) {
            return td_fail(TD_ECHECK, "%s instead of TD_EINPUT", td_status_name(status));
        }
    }
    return TD_OK;
}
