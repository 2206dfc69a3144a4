/* SPDX-License-Identifier: Apache-2.0
 * Sums in pieces: the bits of one allreduce, whoever is early.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "collectives/overlap.h"

enum { COUNT = 30011, PIECES = 5, CALLS = 12 };

/* Empty, one element, not aligned to a line; not in the order of addresses. */
static int64_t pieces[PIECES][2] = {{17000, COUNT}, {5, 6}, {6, 6}, {1000, 17000}, {6, 1000}};

typedef struct session {
    td_comm *comm;
    td_rank *rank;
    td_overlap *overlap;
    float *buffer, *expected;
    int call;
    bool together, mismatch; /* all ranks offer before anybody sums; one makes another call */
    td_status status;
    char text[512];
} session;

static void fill(float *to, int rank, int call) {
    td_rng rng = td_rng_make(7, TD_PURPOSE_TEST, (uint64_t)(call * 64 + rank));
    for (int64_t i = 0; i < COUNT; i++) {
        to[i] = (float)td_rng_normal(&rng);
    }
}

static void idle(td_rng *rng) {
    for (int64_t i = (int64_t)td_rng_below(rng, 20000); i > 0; i--) {
        __builtin_ia32_pause();
    }
}

static td_status one_call(session *s, td_worker *worker, td_rng *rng) {
    TD_TRY(td_overlap_begin(s->overlap, worker));
    for (int i = 0; i < PIECES; i++) {
        idle(rng);
        td_team_barrier(worker);
        if (worker->id == 0) {
            int64_t first = pieces[i][0], n = pieces[i][1] - first; /* not there any earlier */
            memcpy(s->buffer + first, s->expected + first, (size_t)n * sizeof(float));
            td_overlap_offer(s->overlap);
        }
        if (!s->together && td_rng_below(rng, 3) != 0) {
            TD_TRY(td_overlap_progress(s->overlap, worker));
        }
    }
    if (s->together) {
        if (worker->id == 0) {
            (void)td_rank_barrier(s->rank);
        }
        td_team_barrier(worker);
        TD_TRY(td_overlap_progress(s->overlap, worker));
    }
    return td_overlap_finish(s->overlap, worker);
}

static void region(void *arg, td_worker *worker) {
    session *s = arg;
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST,
                             (uint64_t)(s->call * 4096 + s->rank->rank * 64 + worker->id));
    td_status status;
    if (s->mismatch && s->rank->rank == 1) {
        status = td_collective_in_place(td_collective_find("allreduce", "ring"), s->comm, worker,
                                        s->buffer, COUNT, TD_F32);
    } else {
        status = one_call(s, worker, &rng);
    }
    if (worker->id == 0) {
        s->status = status;
        snprintf(s->text, sizeof s->text, "%s", status == TD_OK ? "" : td_error());
    }
}

static void plain_region(void *arg, td_worker *worker) {
    session *s = arg;
    td_status status = td_collective_in_place(td_collective_find("allreduce", "tree"), s->comm,
                                              worker, s->expected, COUNT, TD_F32);
    if (worker->id == 0) {
        s->status = status;
    }
}

static td_status run_calls(session *s, td_team *team) {
    for (s->call = 0; s->call < CALLS; s->call++) {
        fill(s->expected, s->rank->rank, s->call);
        memset(s->buffer, 0xFF, COUNT * sizeof(float));
        memcpy(s->buffer, s->expected, 5 * sizeof(float));
        td_team_run(team, region, s);
        if (s->status != TD_OK) {
            return td_fail(s->status, "%s", s->text);
        }
        td_team_run(team, plain_region, s);
        if (s->status != TD_OK) {
            return td_fail(s->status, "allreduce/tree");
        }
        /* Elements 0 to 4 belong to no piece. */
        float own[5];
        memcpy(own, s->buffer, sizeof own);
        if (memcmp(s->buffer + 5, s->expected + 5, (COUNT - 5) * sizeof(float)) != 0) {
            return td_fail(TD_ECHECK, "call %d: other bits than allreduce/tree", s->call);
        }
        fill(s->expected, s->rank->rank, s->call);
        if (memcmp(own, s->expected, sizeof own) != 0) {
            return td_fail(TD_ECHECK, "call %d: an element of no piece was changed", s->call);
        }
    }
    int64_t early, all;
    td_overlap_elements(s->overlap, &early, &all);
    return !s->together || early == all
               ? TD_OK
               : td_fail(TD_ECHECK, "%lld of %lld elements early, though all were offered",
                         (long long)early, (long long)all);
}

static td_status in_rank(td_rank *rank, void *arg) {
    session s = *(session *)arg;
    td_plan plan = {.base = rank->segment};
    int64_t staging = td_comm_bytes(rank->count, COUNT, TD_F32);
    void *comm = td_plan_take(&plan, (size_t)staging);
    s.buffer = TD_PLAN_ARRAY(&plan, float, COUNT);
    s.expected = TD_PLAN_ARRAY(&plan, float, COUNT);
    s.rank = rank;
    td_team *team;
    td_team_options options = {
        .workers = rank->workers, .pu = rank->pu, .shares_cpus = rank->shares_cpus};
    TD_TRY(td_comm_create(rank, comm, staging, &s.comm));
    TD_TRY(td_overlap_create(s.comm, s.buffer, COUNT, pieces, PIECES, &s.overlap));
    TD_TRY(td_team_create(&options, &team));
    td_status status = run_calls(&s, team);
    td_team_destroy(team);
    td_overlap_destroy(s.overlap);
    td_comm_destroy(s.comm);
    return status;
}

static td_status run(const char *layout, session like) {
    td_group_options options = {.segment_bytes = 4 << 20, .deadline_ns = INT64_C(20000000000)};
    TD_TRY(td_layout_parse(layout, &options.layout));
    options.layout.over = true;
    return td_group_run(&options, in_rank, &like);
}

static const char *const layouts[] = {"p1xt1",         "p2xt1:thread", "p2xt1:process",
                                      "p3xt2:process", "p4xt1:thread", "p2xt3:thread"};

Test(overlap, sums_have_the_bits_of_one_allreduce) {
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        cr_expect_eq(run(layouts[i], (session){.call = 0}), TD_OK, "%s: %s", layouts[i],
                     td_error());
    }
}

Test(overlap, what_all_have_offered_is_summed_without_waiting) {
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        cr_expect_eq(run(layouts[i], (session){.together = true}), TD_OK, "%s: %s", layouts[i],
                     td_error());
    }
}

Test(overlap, another_call_of_one_rank_fails_all) {
    cr_expect_eq(run("p3xt1:process", (session){.mismatch = true}), TD_EPEER);
    cr_expect_not_null(strstr(td_error(), "allreduce/ring"), "%s", td_error());
    cr_expect_not_null(strstr(td_error(), "allreduce/tree"), "%s", td_error());
}
