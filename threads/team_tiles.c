/* SPDX-License-Identifier: Apache-2.0
 * Regions of tiles: open join. The caller never depends on a worker that has not started: it takes
 * tiles itself until there are none, closes the region, and waits only for those who are inside.
 *
 * The state of a team is one word, {generation, all, closed, joined}, so that joining, which must
 * fail once the region is closed or another one was published, is one compare-and-exchange. The
 * region's description is written again only after it was closed and all who joined have left.
 */
#include "threads/team_state.h"

#include <sched.h>
#include <stdio.h>

#include "base/clock.h"

_Thread_local const td_team *td_team_inside;

_Atomic int td_team_fork_count;

static void count_fork(void) {
    atomic_fetch_add_explicit(&td_team_fork_count, 1, memory_order_relaxed);
}

static void install_handler(void) {
    pthread_atfork(NULL, NULL, count_fork);
}

void td_team_count_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_handler);
}

void td_ticket_reset(td_ticket *ticket) {
    atomic_store_explicit(&ticket->next, 0, memory_order_relaxed);
}

bool td_ticket_take(td_ticket *ticket, int64_t n, int64_t chunk, int64_t *first, int64_t *last) {
    /* relaxed: the ticket only divides the tiles; what they read was published by the barrier
     * before. */
    int64_t start = atomic_fetch_add_explicit(&ticket->next, chunk, memory_order_relaxed);
    if (start >= n) {
        return false;
    }
    *first = start;
    *last = n - start < chunk ? n : start + chunk;
    return true;
}

void td_worker_tiles(td_worker *worker, int64_t tiles, int64_t grain, td_share_fn *fn, void *arg) {
    td_member *members = worker->team->members;
    const td_portions of = {.tiles = tiles, .grain = grain, .workers = worker->count};
    int64_t first, last;
    td_worker_share(worker, tiles, &first, &last);
    if (worker->count == 1) {
        fn(arg, first, last, worker);
        return;
    }
    td_range_deal(&members[worker->id].range, first, last);
    for (int step = 0; step < worker->count; step++) {
        td_range *range = &members[(worker->id + step) % worker->count].range;
        while (td_range_take(range, &of, step > 0, &first, &last)) {
            fn(arg, first, last, worker);
        }
    }
}

void td_team_publish(td_team *team, uint64_t flags, bool wake) {
    uint32_t next = atomic_load_explicit(&team->door.start.value, memory_order_relaxed) + 1;
    atomic_store_explicit(&team->door.state, (uint64_t)next << 32 | flags, memory_order_release);
    if (wake) {
        td_event_advance(&team->door.start, &team->rule);
    } else {
        td_event_advance_quietly(&team->door.start);
    }
}

/* Takes tiles until none is left. The first failure stops the handing out. Tiles are handed out in
 * ascending order, so all below a failed one were handed out before and are run: the lowest failed
 * tile is the same whoever runs what. */
static void run_tiles(td_team *team, td_member *self) {
    td_tiles *t = &team->tiles;
    const td_team *outer = td_team_inside;
    td_team_inside = team;
    self->failed_tile = -1;
    td_mode_take(t->mode);
    for (int64_t first, last; !atomic_load_explicit(&team->cancelled, memory_order_relaxed) &&
                              td_ticket_take(&t->ticket, t->count, t->chunk, &first, &last);) {
        self->tiles += last - first;
        td_status status = t->fn(t->arg, first, last, &self->worker);
        if (status != TD_OK && self->failed_tile < 0) {
            self->failed_tile = first;
            self->status = status;
            snprintf(self->message, sizeof self->message, "%s", td_error());
            atomic_store_explicit(&t->ticket.next, t->count, memory_order_relaxed);
        }
    }
    td_team_inside = outer;
}

void td_team_join_tiles(td_team *team, td_member *self, uint64_t state) {
    uint64_t generation = state >> 32;
    do {
        if (state >> 32 != generation || state & (TD_TEAM_CLOSED | TD_TEAM_ALL)) {
            return;
        }
        /* acq_rel: the description is read after this, and was written before the state that it
         * replaces. */
    } while (!atomic_compare_exchange_weak_explicit(&team->door.state, &state, state + 1,
                                                    memory_order_acq_rel, memory_order_acquire));
    self->joined++;
    run_tiles(team, self);
    /* Releases the results of the tiles to the caller, which waits for every one who joined. */
    td_event_advance(&team->left, &team->rule);
}

static void nothing(void *arg, td_worker *worker) {
    (void)arg;
    (void)worker;
}

/* The median of some empty regions, in ns: of workers that sleep, so a wake-up is in it, or of
 * workers that spin. */
static double measure_empty(td_team *team, bool asleep) {
    enum { ROUNDS = 7, SETTLE_NS = 50000, LIMIT_NS = 2000000 };
    int64_t took[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int64_t limit = td_now_ns() + LIMIT_NS;
        while (asleep &&
               (int)atomic_load_explicit(&team->door.start.parked, memory_order_relaxed) <
                   team->count - 1 &&
               td_now_ns() < limit) {
            sched_yield();
        }
        /* Who is counted as parked is still on the way to sleep, and cheap to call back. */
        for (int64_t end = td_now_ns() + SETTLE_NS; asleep && td_now_ns() < end;) {
        }
        int64_t start = td_now_ns();
        td_team_run(team, nothing, NULL);
        took[round] = td_now_ns() - start;
    }
    for (int i = 0; i < team->count; i++) {
        team->members[i].regions -= ROUNDS; /* nobody asked for these */
    }
    return (double)td_wait_median(took, ROUNDS);
}

/* Waking pays when the work is worth several wake-ups. Without it there must be somebody awake, and
 * half the work, which is the most that can be saved on two CPUs, must be worth an empty region and
 * the way of the ticket to the other CPU, once a chunk: sixteen tiles of 30 ns took two workers
 * 2 us, and one 0.5. */
td_way td_team_way(const td_team_costs *costs, double work_ns, int64_t chunks, bool awake) {
    if (work_ns > 3 * costs->wake) {
        return TD_WAY_ALL;
    }
    double meeting = costs->meet + (double)chunks * costs->ticket;
    return !awake || work_ns < 2 * meeting ? TD_WAY_CALLER : TD_WAY_AWAKE;
}

/* A new call site is tried with those who are awake. */
static td_way choose_way(td_team *team, const td_site *site, int64_t tiles, int64_t chunk) {
    if (site->runs == 0) {
        return TD_WAY_AWAKE;
    }
    if (team->costs.wake == 0) {
        team->costs.wake = measure_empty(team, true);
        team->costs.meet = measure_empty(team, false);
        team->costs.ticket = (double)td_wait_calibrated().line_ns / 2;
    }
    int parked = (int)atomic_load_explicit(&team->door.start.parked, memory_order_relaxed);
    return td_team_way(&team->costs, site->tile_ns * (double)tiles, (tiles + chunk - 1) / chunk,
                       parked < team->count - 1);
}

static td_status first_failure(td_team *team) {
    const td_member *lowest = NULL;
    for (int i = 0; i < team->count; i++) {
        td_member *self = &team->members[i];
        if (self->failed_tile >= 0 && (lowest == NULL || self->failed_tile < lowest->failed_tile)) {
            lowest = self;
        }
    }
    return lowest == NULL ? TD_OK
                          : td_fail(lowest->status, "tile %lld: %s", (long long)lowest->failed_tile,
                                    lowest->message);
}

static td_status outcome(td_team *team) {
    td_status status = first_failure(team);
    return status != TD_OK || !atomic_load_explicit(&team->cancelled, memory_order_relaxed)
               ? status
               : td_fail(TD_EINTERRUPTED, "the region was cancelled");
}

/* In the calling thread alone, as `worker`. Touches little: after a pause every line of memory is
 * far away. */
static td_status run_inline(td_team *team, td_worker *worker, int64_t tiles, int64_t chunk,
                            td_tile_fn *fn, void *arg) {
    const td_team *outer = td_team_inside;
    td_status status = TD_OK;
    /* An inner region is cancelled with the outer one. */
    if (outer != team && atomic_load_explicit(&team->cancelled, memory_order_relaxed)) {
        atomic_store_explicit(&team->cancelled, 0, memory_order_relaxed);
    }
    td_team_inside = team;
    for (int64_t first = 0; first < tiles && status == TD_OK; first += chunk) {
        int64_t last = tiles - first < chunk ? tiles : first + chunk;
        if (atomic_load_explicit(&team->cancelled, memory_order_relaxed)) {
            status = td_fail(TD_EINTERRUPTED, "the region was cancelled");
        } else if ((status = fn(arg, first, last, worker)) != TD_OK) {
            char message[256];
            snprintf(message, sizeof message, "%s", td_error());
            status = td_fail(status, "tile %lld: %s", (long long)first, message);
        }
    }
    td_team_inside = outer;
    return status;
}

/* A nested call, a forked copy, or a team of one. */
static td_status run_nested(td_team *team, int64_t tiles, int64_t chunk, td_tile_fn *fn,
                            void *arg) {
    td_worker alone = {.count = 1, .team = team};
    return run_inline(team, &alone, tiles, chunk, fn, arg);
}

static void learn(td_site *site, int64_t tiles, int64_t busy_ns) {
    double now = (double)busy_ns / (double)tiles;
    site->tile_ns = site->runs == 0 ? now : 0.75 * site->tile_ns + 0.25 * now;
    site->runs++;
}

static td_status run_by_caller(td_team *team, td_site *site, int64_t tiles, int64_t chunk,
                               td_tile_fn *fn, void *arg) {
    td_member *self = &team->members[0];
    int64_t start = td_now_ns();
    team->running = true;
    td_status status = run_inline(team, &self->worker, tiles, chunk, fn, arg);
    team->running = false;
    if (status == TD_OK) {
        self->tiles += tiles;
        learn(site, tiles, td_now_ns() - start);
    }
    return status;
}

/* Lets nobody join any more and waits for those who did. left: of the team, before the region. */
static void close_region(td_team *team, uint32_t left) {
    /* acq_rel: whoever joins after this sees it closed. */
    uint64_t state =
        atomic_fetch_or_explicit(&team->door.state, TD_TEAM_CLOSED, memory_order_acq_rel);
    uint32_t joined = (uint32_t)(state & TD_TEAM_JOINED);
    if (joined > 0) {
        td_event_wait(&team->left, left + joined, &team->rule, 0, &team->members[0].waits);
    }
}

td_status td_team_tiles(td_team *team, td_site *site, int64_t tiles, int64_t chunk, td_tile_fn *fn,
                        void *arg) {
    TD_ASSERT(tiles >= 0 && chunk > 0);
    if (team->count == 1 || tiles <= chunk || td_team_inside == team ||
        team->forks != td_team_forks()) {
        return run_nested(team, tiles, chunk, fn, arg);
    }
    TD_ASSERT(!team->running);
    td_way how = choose_way(team, site, tiles, chunk);
    if (how == TD_WAY_CALLER) {
        return run_by_caller(team, site, tiles, chunk, fn, arg);
    }
    team->running = true;
    for (int i = 0; i < team->count; i++) {
        team->members[i].failed_tile = -1;
    }
    team->tiles =
        (td_tiles){.fn = fn, .arg = arg, .count = tiles, .chunk = chunk, .mode = td_mode_now()};
    atomic_store_explicit(&team->cancelled, 0, memory_order_relaxed);
    uint32_t left = atomic_load_explicit(&team->left.value, memory_order_relaxed);
    td_member *self = &team->members[0];
    int64_t ran = self->tiles, start = td_now_ns();
    td_team_publish(team, 0, how == TD_WAY_ALL);
    run_tiles(team, self);
    ran = self->tiles - ran;
    if (ran > 0) {
        learn(site, ran, td_now_ns() - start);
    }
    close_region(team, left);
    team->running = false;
    return outcome(team);
}

void td_tree_combine(void *partials, int64_t count, size_t bytes, td_merge_fn *combine) {
    unsigned char *at = partials;
    for (int64_t step = 1; step < count; step *= 2) {
        for (int64_t i = 0; i + step < count; i += 2 * step) {
            combine(at + (size_t)i * bytes, at + (size_t)(i + step) * bytes);
        }
    }
}
