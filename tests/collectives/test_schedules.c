/* SPDX-License-Identifier: Apache-2.0
 * Proof of every schedule without running it: for 1 to 33, 48, 63 to 65 and 127 to 129 ranks, every
 * root, in and out of place, with partial sums as wide as the elements and wider, symbols take the
 * place of data. And the reverse: schedules that are damaged must be refused.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "collectives/comm.h"
#include "collectives/schedule.h"

enum { N_COUNTS = 40, MAX_ROWS = 128 };

static void list_ranks(int *ranks) {
    static const int further[N_COUNTS - 33] = {48, 63, 64, 65, 127, 128, 129};
    for (int i = 0; i < N_COUNTS; i++) {
        ranks[i] = i < 33 ? i + 1 : further[i - 33];
    }
}

static td_status check_one(const td_collective *row, int p, int root, int segments,
                           td_aliases aliases) {
    td_moves schedule;
    td_linked linked;
    TD_TRY(td_collective_schedule(row, p, root, segments, aliases.in_place, &schedule));
    td_status status = td_schedule_link(&schedule, aliases, -1, &linked);
    if (status == TD_OK) {
        status = td_schedule_check(&schedule, &linked, row->id, aliases);
        td_linked_destroy(&linked);
    }
    td_schedule_destroy(&schedule);
    return status;
}

/* Rounds and volume are those of the row, whatever the root. */
static void check_cost(const td_collective *row, int p, int root, int segments) {
    double rounds, volume;
    td_moves schedule;
    td_schedule_cost cost;
    cr_assert_eq(td_collective_schedule(row, p, root, segments, false, &schedule), TD_OK);
    cr_assert_eq(td_schedule_cost_of(&schedule, &cost), TD_OK);
    row->form(p, segments, &rounds, &volume);
    cr_assert_eq(cost.rounds, (int)rounds, "%s/%s p%d root %d k%d: %d rounds, not %g",
                 row->operation, row->algorithm, p, root, segments, cost.rounds, rounds);
    double vectors = (double)cost.chunks / td_chunks(&schedule);
    cr_assert(fabs(vectors - volume) <= 1e-9 * (1 + volume),
              "%s/%s p%d root %d k%d: %g vectors, not %g", row->operation, row->algorithm, p, root,
              segments, vectors, volume);
    td_schedule_destroy(&schedule);
}

/* All aliases for few ranks; for many, where a root more costs seconds, the plain case for every
 * root and the others for the first and the last. */
static void check_ranks(const td_collective *row, int p) {
    bool sums = td_operation_of(row->id)->sums, rooted = td_operation_of(row->id)->rooted;
    for (int root = 0; root < (rooted ? p : 1); root++) {
        bool all = p <= 17 || root == 0 || root == p - 1;
        for (int variant = 0; variant < (all ? 4 : 1); variant++) {
            td_aliases aliases = {.in_place = variant % 2 == 1, .wide = variant >= 2};
            if (aliases.wide && !sums) {
                continue;
            }
            for (int segments = 1; segments <= (row->segmented ? 5 : 1); segments += 2) {
                cr_assert_eq(check_one(row, p, root, segments, aliases), TD_OK, "%s/%s: %s",
                             row->operation, row->algorithm, td_error());
            }
        }
        for (int segments = 1; segments <= (row->segmented ? 5 : 1); segments++) {
            check_cost(row, p, root, segments);
        }
    }
}

ParameterizedTestParameters(schedules, every_row_is_proved) {
    static int rows[MAX_ROWS];
    int n, found = 0;
    const td_collective *table = td_collectives(&n);
    for (int i = 0; i < n; i++) {
        if (table[i].generate != NULL) {
            rows[found++] = i;
        }
    }
    return cr_make_param_array(int, rows, (size_t)found);
}

ParameterizedTest(int *number, schedules, every_row_is_proved, .timeout = 300) {
    int n, ranks[N_COUNTS], proved = 0;
    const td_collective *row = &td_collectives(&n)[*number];
    list_ranks(ranks);
    for (int i = 0; i < N_COUNTS; i++) {
        if (row->fits(ranks[i])) {
            check_ranks(row, ranks[i]);
            proved++;
        }
    }
    cr_assert_geq(proved, 8);
}

/* ---- hosts ---- */

enum { MOST_ON_HOSTS = 24, DRAWN = 6 };

/* Ways in which ranks may lie on hosts: so many a host, the last with what is left; one after the
 * other in turn; all but one for each other host on the first; drawn. False: there is no such way.
 */
static bool put_on_hosts(int p, int way, int number, int *hosts) {
    uint32_t drawn = (uint32_t)(p * 64 + number);
    int named[MOST_ON_HOSTS], n_named = 0, alone = p - number + 1;
    memset(named, -1, sizeof named);
    for (int rank = 0; rank < p; rank++) {
        drawn = drawn * 1664525u + 1013904223u;
        const int by_way[] = {rank / number, rank % number, rank < alone ? 0 : rank - alone + 1,
                              (int)(drawn >> 16) % (number + 1)};
        int host = by_way[way];
        named[host] = named[host] < 0 ? n_named++ : named[host];
        hosts[rank] = named[host];
    }
    return way < 3 || number <= DRAWN;
}

static void check_on_hosts(const td_collective *row, int p, const int *hosts, td_aliases aliases) {
    int sizes[MOST_ON_HOSTS] = {0}, most = 0, count = 0;
    char where[MOST_ON_HOSTS * 3 + 1] = "";
    for (int rank = 0; rank < p; rank++) {
        sizes[hosts[rank]]++;
        most = sizes[hosts[rank]] > most ? sizes[hosts[rank]] : most;
        count = hosts[rank] >= count ? hosts[rank] + 1 : count;
        snprintf(where + strlen(where), sizeof where - strlen(where), " %d", hosts[rank]);
    }
    td_schedule_options options = {
        .ranks = p, .segments = 1, .nodes = hosts, .in_place = aliases.in_place};
    td_moves schedule;
    td_linked linked;
    td_schedule_cost cost;
    bool power = (count & (count - 1)) == 0;
    cr_assert_eq(td_collective_moves(row, &options, &schedule), TD_OK);
    cr_assert_eq(td_schedule_cost_of(&schedule, &cost), TD_OK);
    cr_expect_eq(cost.rounds, 2 * (most - 1) + td_log2_down(count) + (power ? 0 : 2),
                 "hosts%s: %d rounds", where, cost.rounds);
    cr_assert_eq(td_schedule_link(&schedule, aliases, -1, &linked), TD_OK, "hosts%s: %s", where,
                 td_error());
    cr_expect_eq(td_schedule_check(&schedule, &linked, row->id, aliases), TD_OK, "hosts%s: %s",
                 where, td_error());
    td_linked_destroy(&linked);
    td_schedule_destroy(&schedule);
}

/* The nodes are those hosts, even or not, and not what the number of ranks suggests. */
Test(schedules, the_hierarchical_row_follows_the_hosts, .timeout = 300) {
    const td_collective *row = td_collective_find("allreduce", "hierarchical");
    int hosts[MOST_ON_HOSTS], proved = 0;
    for (int p = 2; p <= MOST_ON_HOSTS; p++) {
        for (int way = 0; way < 4; way++) {
            for (int number = 1; number <= p; number++) {
                for (int variant = 0; variant < 4; variant++) {
                    if (put_on_hosts(p, way, number, hosts)) {
                        check_on_hosts(
                            row, p, hosts,
                            (td_aliases){.in_place = variant % 2 == 1, .wide = variant >= 2});
                        proved++;
                    }
                }
            }
        }
    }
    cr_expect_gt(proved, 3000);
}

/* Chunks that go from rank to rank, and rounds. */
static void count_moves(const td_collective *row, int p, const int *hosts, int *chunks,
                        int *rounds) {
    td_moves schedule;
    td_schedule_cost cost;
    td_schedule_options options = {.ranks = p, .segments = 1, .nodes = hosts};
    cr_assert_eq(td_collective_moves(row, &options, &schedule), TD_OK);
    cr_assert_eq(td_schedule_cost_of(&schedule, &cost), TD_OK);
    *rounds = cost.rounds;
    *chunks = 0;
    for (int i = 0; i < schedule.n_moves; i++) {
        const td_move *move = &schedule.moves[i];
        *chunks += move->rank != move->peer ? move->chunks : 0;
    }
    *chunks /= td_chunks(&schedule); /* whole vectors */
    td_schedule_destroy(&schedule);
}

/* Hosts of a rank each have nothing to do within. */
Test(schedules, the_hierarchical_row_doubles_across_hosts_of_a_rank) {
    const td_collective *row = td_collective_find("allreduce", "hierarchical");
    const td_collective *doubling = td_collective_find("allreduce", "recursive_doubling");
    int hosts[MOST_ON_HOSTS];
    for (int p = 2; p <= MOST_ON_HOSTS; p++) {
        hosts[p - 1] = p - 1;
        hosts[p - 2] = p - 2;
        int chunks, rounds, expected_chunks, expected_rounds;
        count_moves(row, p, hosts, &chunks, &rounds);
        count_moves(doubling, p, NULL, &expected_chunks, &expected_rounds);
        cr_expect_eq(chunks, expected_chunks, "%d ranks: %d", p, chunks);
        cr_expect_eq(rounds, expected_rounds, "%d ranks: %d", p, rounds);
    }
}

/* Between hosts every part goes once a step, however many ranks a host has. */
Test(schedules, the_hierarchical_row_sends_little_between_hosts) {
    const td_collective *row = td_collective_find("allreduce", "hierarchical");
    static const int hosts[] = {0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3};
    enum { RANKS = sizeof hosts / sizeof hosts[0], HOSTS = 4, STEPS = 2 };
    int between = 0;
    td_moves schedule;
    td_schedule_options options = {.ranks = RANKS, .segments = 1, .nodes = hosts};
    cr_assert_eq(td_collective_moves(row, &options, &schedule), TD_OK);
    for (int i = 0; i < schedule.n_moves; i++) {
        const td_move *move = &schedule.moves[i];
        between += hosts[move->rank] != hosts[move->peer] ? move->chunks : 0;
    }
    cr_expect_eq(between, HOSTS * STEPS * td_chunks(&schedule), "%d chunks", between);
    td_schedule_destroy(&schedule);
}

/* ---- damage ---- */

static const char *const victims[][2] = {
    {"allreduce", "ring"},      {"allreduce", "recursive_doubling"},
    {"allreduce", "circulant"}, {"broadcast", "binomial"},
    {"reduce", "binomial"},     {"scan", "recursive_doubling"},
    {"alltoall", "bruck"},      {"barrier", "dissemination"},
    {"allgather", "bruck"},
};
enum { N_VICTIMS = sizeof victims / sizeof victims[0], P = 7 };

typedef struct subject {
    td_moves schedule;
    td_linked linked;
    td_operation_id id;
    td_aliases aliases;
} subject;

static void build(int victim, subject *out) {
    const td_collective *row = td_collective_find(victims[victim][0], victims[victim][1]);
    *out = (subject){.id = row->id, .aliases = {.in_place = true}};
    cr_assert_eq(td_collective_schedule(row, P, 0, 1, true, &out->schedule), TD_OK);
    cr_assert_eq(td_schedule_link(&out->schedule, out->aliases, -1, &out->linked), TD_OK);
    cr_assert_eq(td_schedule_check(&out->schedule, &out->linked, out->id, out->aliases), TD_OK);
}

static void destroy(subject *s) {
    td_linked_destroy(&s->linked);
    td_schedule_destroy(&s->schedule);
}

static td_status judge(const subject *s) {
    return td_schedule_check(&s->schedule, &s->linked, s->id, s->aliases);
}

/* Every single wait is needed by somebody: without it the check must fail. Waits that are implied
 * by others, through a third rank, are not; they are counted and may be few. */
Test(schedules, a_wait_that_is_missing_is_noticed) {
    for (int victim = 0; victim < N_VICTIMS; victim++) {
        subject s;
        build(victim, &s);
        int waits = 0, noticed = 0;
        for (int rank = 0; rank < P; rank++) {
            for (int i = 0; i < s.linked.n_steps[rank]; i++) {
                td_step *step = &s.linked.steps[rank][i], kept = *step;
                if (step->kind != TD_STEP_WAIT) {
                    continue;
                }
                *step = (td_step){.kind = TD_STEP_WAIT, .round = TD_ROUND_ENTERED, .peer = rank};
                waits++;
                noticed += judge(&s) == TD_ECHECK;
                *step = kept;
            }
        }
        cr_assert_gt(waits, 0);
        cr_assert_gt(2 * noticed, waits, "%s/%s: %d of %d missing waits noticed",
                     victims[victim][0], victims[victim][1], noticed, waits);
        destroy(&s);
    }
}

/* A move that is left out, which is harmless when it brings a block back to its place; or that
 * turns to another rank, which is right when that rank has the same. */
Test(schedules, a_wrong_move_is_noticed) {
    for (int victim = 0; victim < N_VICTIMS; victim++) {
        subject s;
        int tried = 0, noticed = 0;
        build(victim, &s);
        for (int rank = 0; rank < P; rank++) {
            for (int i = 0; i < s.linked.n_steps[rank]; i++) {
                td_step *step = &s.linked.steps[rank][i], kept = *step;
                bool moves = step->kind == TD_STEP_MOVE && step->move.kind != TD_MOVE_MEET;
                if (!moves || (step->move.peer == rank && step->move.kind == TD_MOVE_FINISH)) {
                    continue; /* a finish in place changes no symbol */
                }
                *step = (td_step){.kind = TD_STEP_WAIT, .round = TD_ROUND_ENTERED, .peer = rank};
                tried++;
                noticed += judge(&s) == TD_ECHECK;
                *step = kept;
                step->move.peer = (step->move.peer + 1) % P;
                tried++;
                noticed += judge(&s) == TD_ECHECK;
                *step = kept;
            }
        }
        cr_assert_geq(10 * noticed, 9 * tried, "%s/%s: %d of %d", victims[victim][0],
                      victims[victim][1], noticed, tried);
        destroy(&s);
    }
}

Test(schedules, a_signal_that_never_comes_is_a_deadlock) {
    subject s;
    build(0, &s);
    for (int i = 0; i < s.linked.n_steps[3]; i++) {
        if (s.linked.steps[3][i].kind == TD_STEP_WAIT) {
            s.linked.steps[3][i].round = s.linked.rounds;
            break;
        }
    }
    cr_assert_eq(judge(&s), TD_ECHECK);
    cr_assert_not_null(strstr(td_error(), "never comes"), "%s", td_error());
    destroy(&s);
}

/* ---- what the linker refuses ---- */

static void read_while_written(td_moves *s) {
    for (int rank = 0; rank < 2; rank++) {
        td_add_blocks(s, 0, rank, TD_BUFFER_PARTIAL, s->in, 1 - rank, s->in, 0, 1);
    }
}

static void read_nothing(td_moves *s) {
    td_copy_blocks(s, 0, 0, TD_BUFFER_OUT, 1, TD_BUFFER_T0, 0, 1);
}

static td_status link_it(td_generate_fn *generate, bool in_place) {
    td_schedule_options options = {.ranks = 2, .blocks = 1, .segments = 1, .in_place = in_place};
    td_moves schedule;
    td_linked linked;
    TD_TRY(td_schedule_create(&options, generate, &schedule));
    td_status status = td_schedule_link(&schedule, (td_aliases){.in_place = in_place}, -1, &linked);
    td_schedule_destroy(&schedule);
    if (status == TD_OK) {
        td_linked_destroy(&linked);
    }
    return status;
}

Test(schedules, the_linker_refuses_races) {
    cr_assert_eq(link_it(read_while_written, false), TD_OK);
    cr_assert_eq(link_it(read_while_written, true), TD_EINPUT);
    cr_assert_not_null(strstr(td_error(), "in the same round"), "%s", td_error());
    cr_assert_eq(link_it(read_nothing, false), TD_EINPUT);
    cr_assert_not_null(strstr(td_error(), "nobody wrote"), "%s", td_error());
}

/* The ring allreduce is the concatenation of two other rows: its moves are theirs. */
Test(schedules, ring_allreduce_is_reduce_scatter_then_allgather) {
    td_moves all, first, second;
    cr_assert_eq(
        td_collective_schedule(td_collective_find("allreduce", "ring"), 5, 0, 1, false, &all),
        TD_OK);
    cr_assert_eq(td_collective_schedule(td_collective_find("reduce_scatter", "ring"), 5, 0, 1,
                                        false, &first),
                 TD_OK);
    cr_assert_eq(
        td_collective_schedule(td_collective_find("allgather", "ring"), 5, 0, 1, false, &second),
        TD_OK);
    cr_assert_gt(first.n_moves, 0);
    for (int i = 0; i < first.n_moves; i++) {
        cr_assert_arr_eq(&all.moves[i], &first.moves[i], sizeof(td_move));
    }
    int at = first.n_moves;
    for (int i = 0; i < second.n_moves; i++) {
        td_move want = second.moves[i];
        if (want.peer == want.rank) {
            continue; /* its own block is in place already */
        }
        want.round += first.rounds;
        want.from.buffer = TD_BUFFER_OUT;
        cr_assert_arr_eq(&all.moves[at], &want, sizeof(td_move), "move %d", at);
        at++;
    }
    cr_assert_eq(at, all.n_moves);
    td_schedule_destroy(&all);
    td_schedule_destroy(&first);
    td_schedule_destroy(&second);
}
