/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/coll_round.h"
#include "bench/coll_blocks.h"
#include "bench/mpi_peer.h"
#include "threads/group.h"

enum { N = 1000, CALLS = 6 };

/* Three ranks that call at 10, 20 and 30 and return at 35, 60 and 50: 30 after the last arrival,
 * and nobody is longer in the call than 40. */
Test(coll_round, time_is_the_slowest_ranks) {
    static td_coll_board board;
    static const uint64_t start[] = {10, 20, 30}, end[] = {35, 60, 50};
    for (int rank = 0; rank < 3; rank++) {
        board.rank[rank].start[0] = start[rank];
        board.rank[rank].end[0] = end[rank];
    }
    td_coll_round round = {.ranks = 3, .calls = 1, .ticks_per_ns = 0.5};
    double ns;
    for (int mode = 0; mode < TD_COLL_MODES; mode++) {
        round.mode = (td_coll_mode)mode;
        td_coll_round_times(&round, &board, &ns);
        cr_expect_eq(ns, mode == TD_COLL_STREAMING ? 80 : 60, "%s: %g",
                     td_coll_mode_name(round.mode), ns);
    }
}

Test(coll_round, writes_small_integers_of_both_types) {
    static float f32[N];
    static uint16_t bf16[N];
    td_coll_write((unsigned char *)f32, 3, 0, 500, 4);
    td_coll_write((unsigned char *)f32, 3, 500, N - 500, 4);
    td_coll_write((unsigned char *)bf16, 3, 0, N, 2);
    for (int i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)bf16[i] << 16;
        float wide;
        memcpy(&wide, &bits, sizeof wide);
        cr_assert_eq(f32[i], (float)td_coll_value(3, i), "element %d", i);
        cr_assert_eq(wide, f32[i], "element %d of bf16", i);
    }
}

Test(coll_round, rotating_buffers_exceed_a_cache) {
    cr_expect_eq(td_coll_copies(TD_COLL_HOT, 1 << 20), 1);
    cr_expect_eq(td_coll_copies(TD_COLL_ROTATING, 64), TD_COLL_ROTATED);
    cr_expect_geq(td_coll_copies(TD_COLL_ROTATING, 4 << 20) * td_coll_stride(4 << 20), 112 << 20);
    cr_expect_eq(td_coll_copies(TD_COLL_ROTATING, INT64_C(256) << 20), 2);
}

/* ---- two ranks ---- */

enum { SEGMENT = 1 << 20, LOOKS = 100 };

typedef struct player {
    td_coll_round round;
    td_rank *rank;
    int64_t calls, not_written, elsewhere, too_early;
    const unsigned char *last;
    _Atomic int64_t *done; /* calls, at the same place in every rank */
} player;

/* Rank 1 stays in the call after rank 0 has left it, and sees it prepare the next one. */
static void look_at_first(player *p, const float *numbers) {
    const float *theirs = td_rank_peer(p->rank, 0, (void *)(uintptr_t)numbers);
    _Atomic int64_t *done = td_rank_peer(p->rank, 0, p->done);
    while (atomic_load(done) <= p->calls) {
        sched_yield();
    }
    for (int i = 0; i < LOOKS; i++) {
        sched_yield();
        p->too_early += atomic_load((const _Atomic uint32_t *)(const void *)&theirs[7]) != 0;
    }
}

static void count_call(void *arg, int worker, void *in, void *out) {
    player *p = arg;
    float *numbers = in;
    (void)worker, (void)out;
    p->not_written += numbers[7] != (float)td_coll_value(p->round.rank, 7);
    p->elsewhere += p->last != in;
    p->last = in;
    memset(numbers, 0, N * sizeof *numbers);
    if (p->round.rank == 1 && p->round.mode != TD_COLL_STREAMING) {
        look_at_first(p, numbers);
    }
    p->calls++;
    atomic_store(p->done, p->calls);
}

static bool has_failed(void *arg) {
    return td_rank_failed(((player *)arg)->rank);
}

typedef struct play {
    td_coll_mode mode;
    td_coll_state state;
    bool shares_cpus;
} play;

/* Ranks that share CPUs: when they call is when they were to, however late they got a CPU. */
static void check_planned(const play *how, const td_coll_board *board, int64_t call) {
    uint64_t first = board->rank[0].start[call], second = board->rank[1].start[call];
    uint64_t apart = first < second ? second - first : first - second;
    cr_expect_eq(apart, how->mode == TD_COLL_SKEWED ? TD_COLL_SKEW_NS : 0, "%s",
                 td_coll_mode_name(how->mode));
}

static td_status play_rank(td_rank *rank, void *arg) {
    const play *how = arg;
    td_coll_board *board = td_rank_peer(rank, 0, rank->segment);
    unsigned char *in = rank->segment + sizeof(td_coll_board);
    player p = {.rank = rank,
                .done = (void *)(rank->segment + SEGMENT - sizeof(int64_t)),
                .round = {.rank = rank->rank,
                          .ranks = rank->count,
                          .workers = 1,
                          .shares_cpus = how->shares_cpus,
                          .mode = how->mode,
                          .state = how->state,
                          .calls = CALLS,
                          .in = in,
                          .out = in,
                          .bytes = N * sizeof(float),
                          .element_bytes = sizeof(float),
                          .ticks_per_ns = 1,
                          .call = count_call,
                          .given_up = has_failed}};
    double ns[CALLS];
    p.round.arg = &p;
    cr_assert(td_coll_round_run(&p.round, board, 0));
    td_coll_round_times(&p.round, board, ns);
    cr_expect_eq(p.calls, CALLS + TD_COLL_WARM);
    cr_expect_eq(p.too_early, 0, "%s: the next call was prepared during this one",
                 td_coll_mode_name(how->mode));
    for (int i = 0; i < CALLS; i++) {
        cr_expect(ns[i] >= 0 && board->rank[rank->rank].end[i] > board->rank[rank->rank].start[i]);
        /* Isolated calls start together: not before every rank has ended the call before. */
        for (int peer = 0; i > 0 && how->mode != TD_COLL_STREAMING && peer < rank->count; peer++) {
            cr_expect(board->rank[rank->rank].start[i] > board->rank[peer].end[i - 1]);
        }
        if (how->shares_cpus && how->mode != TD_COLL_STREAMING) {
            check_planned(how, board, i);
        }
    }
    cr_expect_eq(p.not_written, how->state == TD_COLL_WRITTEN ? 0 : CALLS + TD_COLL_WARM);
    cr_expect_eq(p.elsewhere, how->state == TD_COLL_ROTATING ? CALLS + TD_COLL_WARM : 1);
    return TD_OK;
}

Test(coll_round, ranks_go_through_it_together) {
    for (int mode = 0; mode < TD_COLL_MODES; mode++) {
        for (int state = 0; state < 2 * TD_COLL_STATES; state++) {
            play how = {(td_coll_mode)mode, (td_coll_state)(state / 2), state % 2 == 1};
            td_group_options options = {.segment_bytes = SEGMENT};
            cr_assert_eq(td_layout_parse("p2xt1:thread", &options.layout), TD_OK);
            cr_assert_eq(td_group_run(&options, play_rank, &how), TD_OK, "%s", td_error());
        }
    }
}

/* ---- libraries ---- */

static void make_library(char *home, const char *script) {
    char path[256];
    cr_assert_not_null(mkdtemp(home));
    snprintf(path, sizeof path, "%s/quitter", home);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/quitter/launch", home);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(script, file);
    fclose(file);
    cr_assert_eq(chmod(path, 0700), 0);
}

static void remove_library(const char *home) {
    char path[256];
    snprintf(path, sizeof path, "%s/quitter/launch", home);
    unlink(path);
    snprintf(path, sizeof path, "%s/quitter", home);
    rmdir(path);
    rmdir(home);
}

Test(mpi_peer, a_directory_without_libraries_is_refused) {
    char home[] = "/tmp/tandem_mpi_XXXXXX", names[TD_MPI_PEERS][TD_MPI_NAME];
    int count;
    cr_assert_not_null(mkdtemp(home));
    cr_expect_eq(td_mpi_peers(home, names, &count), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), home));
    rmdir(home);
    cr_expect_eq(td_mpi_peers(home, names, &count), TD_EUSAGE, "not even a directory");
}

/* In a rank: its group tells how many to start and where. */
static td_status start_quitter(td_rank *rank, void *arg) {
    td_mpi_peer *peer = NULL;
    return td_mpi_peer_start(arg, "quitter", rank, &peer);
}

Test(mpi_peer, one_that_ends_is_skipped_with_its_last_words) {
    char home[] = "/tmp/tandem_mpi_XXXXXX", names[TD_MPI_PEERS][TD_MPI_NAME];
    int count;
    make_library(home, "#!/bin/sh\necho first >&2\necho \"no such network: $1 $2\" >&2\nexit 1\n");
    cr_assert_eq(td_mpi_peers(home, names, &count), TD_OK);
    cr_assert_eq(count, 1);
    cr_assert_str_eq(names[0], "quitter");
    td_group_options options = {.segment_bytes = 4096};
    cr_assert_eq(td_layout_parse("p1xt1", &options.layout), TD_OK);
    cr_expect_eq(td_group_run(&options, start_quitter, home), TD_ESKIP);
    cr_expect_not_null(strstr(td_error(), "it ended: no such network: 1 1"), "%s", td_error());
    remove_library(home);
}

/* What a rank has for another is what comes back, so that a library can exchange it in place. */
Test(coll_blocks, fill_the_vector_and_are_alike_in_both_directions) {
    for (int ranks = 2; ranks <= 9; ranks++) {
        int64_t n = td_coll_uneven_elements(1000, ranks), least = td_coll_uneven_least(ranks);
        cr_expect(n > 1000 - least && n <= 1000);
        cr_expect_eq(td_coll_uneven_elements(least - 1, ranks), 0);
        for (int from = 0; from < ranks; from++) {
            cr_expect_eq(td_coll_uneven_first(n, ranks, false, from, ranks), n);
            cr_expect_eq(td_coll_uneven_first(n, ranks, true, from, ranks), n);
            for (int to = 0; to < ranks; to++) {
                int64_t block = td_coll_uneven_block(n, ranks, true, from, to);
                cr_expect_gt(block, 0);
                cr_expect_eq(block, td_coll_uneven_block(n, ranks, true, to, from));
                cr_expect(to == 0 || block != td_coll_uneven_block(n, ranks, true, from, to - 1));
            }
        }
    }
}

Test(mpi_peer, operations_have_their_names) {
    cr_expect_eq(td_mpi_operation_find("allreduce"), TD_MPI_allreduce);
    cr_expect_eq(td_mpi_operation_find("shift"), TD_MPI_shift);
    cr_expect_eq(td_mpi_operation_find("exchange"), TD_MPI_OPERATIONS);
}
